/** Secret. Source: Kubernetes v1. `stringData` is write-only and moves into `data` when stored. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { dataBytes, validateConfigKeys, validateDataSize } from './pod_rules.ts'
import { base64, bool, object, opt, stringMap, text } from './schema.ts'

export const Secret = object({
  ...typeMeta('v1', 'Secret'),
  data: opt(Type.Record(text, base64)),
  stringData: opt(stringMap),
  type: opt(text),
  immutable: opt(bool),
})
export type Secret = Static<typeof Secret>

/** Types whose data has a form that others rely on. */
export const SERVICE_ACCOUNT_TOKEN_TYPE = 'kubernetes.io/service-account-token'
/** On a Secret of that type: whose token it is to hold; the second is filled in with the token. */
export const ACCOUNT_NAME_ANNOTATION = 'kubernetes.io/service-account.name'
export const ACCOUNT_UID_ANNOTATION = 'kubernetes.io/service-account.uid'

const required = (path: string): FieldError => ({ path, reason: 'Required', message: 'is required for this type' })

function missingKeys(secret: Secret, keys: readonly string[]): FieldError[] {
  return keys.filter((key) => secret.data?.[key] === undefined).map((key) => required(`data[${key}]`))
}

function jsonKey(secret: Secret, key: string): FieldError[] {
  const value = secret.data?.[key]
  if (value === undefined) return [required(`data[${key}]`)]
  try {
    JSON.parse(Buffer.from(value, 'base64').toString())
    return []
  } catch {
    // The value is a secret: it is not repeated.
    return [{ path: `data[${key}]`, reason: 'Invalid', message: 'must be JSON' }]
  }
}

/** What each of Kubernetes' own types must hold. */
function validateType(secret: Secret): FieldError[] {
  const { data = {}, metadata } = secret
  switch (secret.type) {
    case SERVICE_ACCOUNT_TOKEN_TYPE:
      return metadata.annotations?.[ACCOUNT_NAME_ANNOTATION]
        ? []
        : [required(`metadata.annotations[${ACCOUNT_NAME_ANNOTATION}]`)]
    case 'kubernetes.io/dockercfg':
      return jsonKey(secret, '.dockercfg')
    case 'kubernetes.io/dockerconfigjson':
      return jsonKey(secret, '.dockerconfigjson')
    case 'kubernetes.io/basic-auth':
      return data.username === undefined && data.password === undefined
        ? missingKeys(secret, ['username', 'password'])
        : []
    case 'kubernetes.io/ssh-auth':
      return data['ssh-privatekey'] ? [] : [required('data[ssh-privatekey]')]
    case 'kubernetes.io/tls':
      return missingKeys(secret, ['tls.crt', 'tls.key'])
    default:
      return []
  }
}

export const secretKind = defineKind<Secret>({
  group: '',
  version: 'v1',
  kind: 'Secret',
  plural: 'secrets',
  singular: 'secret',
  namespaced: true,
  schema: Secret,
  applyDefaults(secret) {
    secret.type ??= 'Opaque'
    if (secret.stringData === undefined) return
    secret.data ??= {}
    for (const [key, value] of Object.entries(secret.stringData)) {
      secret.data[key] = Buffer.from(value, 'utf8').toString('base64')
    }
    delete secret.stringData
  },
  validate: (secret) => [
    ...(isDnsSubdomain(secret.metadata.name ?? '')
      ? []
      : [{ path: 'metadata.name', reason: 'Invalid' as const, message: 'must be a DNS subdomain' }]),
    ...validateConfigKeys(Object.keys(secret.data ?? {}), 'data'),
    ...validateDataSize(dataBytes({ base64: secret.data })),
    ...validateType(secret),
  ],
  validateUpdate(secret, old) {
    if (secret.type !== old.type) return [{ path: 'type', reason: 'Forbidden', message: 'is fixed' }]
    if (old.immutable === true && secret.immutable !== true) {
      return [{ path: 'immutable', reason: 'Forbidden', message: 'cannot be taken back; make another Secret' }]
    }
    if (old.immutable === true && JSON.stringify(secret.data) !== JSON.stringify(old.data)) {
      return [{ path: 'data', reason: 'Forbidden', message: 'the Secret is immutable' }]
    }
    return []
  },
  columns: [
    { name: 'Type', type: 'string', description: 'What the data means', value: (secret) => secret.type ?? 'Opaque' },
    {
      name: 'Data',
      type: 'integer',
      description: 'Number of keys',
      value: (secret) => Object.keys(secret.data ?? {}).length,
    },
  ],
  selectableFields: { type: (secret) => secret.type ?? '' },
})
