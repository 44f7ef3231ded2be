/** Secret. Source: Kubernetes v1. `stringData` is write-only and moves into `data` when stored. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { validateConfigKeys } from './pod_rules.ts'
import { base64, bool, object, opt, stringMap, text } from './schema.ts'

export const Secret = object({
  ...typeMeta('v1', 'Secret'),
  data: opt(Type.Record(text, base64)),
  stringData: opt(stringMap),
  type: opt(text),
  immutable: opt(bool),
})
export type Secret = Static<typeof Secret>

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
  ],
  validateUpdate(secret, old) {
    if (secret.type !== old.type) return [{ path: 'type', reason: 'Forbidden', message: 'is fixed' }]
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
