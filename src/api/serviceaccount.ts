/** ServiceAccount: who a pod is to the API. Source: Kubernetes v1. */
import type { Static } from 'typebox'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { bool, listByKey, object, opt, text } from './schema.ts'

export const ServiceAccount = object({
  ...typeMeta('v1', 'ServiceAccount'),
  secrets: opt(
    listByKey(
      object({
        name: opt(text),
        kind: opt(text),
        namespace: opt(text),
        uid: opt(text),
        apiVersion: opt(text),
        resourceVersion: opt(text),
        fieldPath: opt(text),
      }),
      'name',
    ),
  ),
  imagePullSecrets: opt(listByKey(object({ name: opt(text) }), 'name')),
  automountServiceAccountToken: opt(bool),
})
export type ServiceAccount = Static<typeof ServiceAccount>

const PREFIX = 'system:serviceaccount:'
export const SERVICE_ACCOUNTS_GROUP = 'system:serviceaccounts'

/** The user name of a service account, as roles are bound to it. */
export function serviceAccountUser(namespace: string, name: string): string {
  return `${PREFIX}${namespace}:${name}`
}

/** Every service account's groups: all of them, and those of its namespace. */
export function serviceAccountGroups(namespace: string): string[] {
  return [SERVICE_ACCOUNTS_GROUP, `${SERVICE_ACCOUNTS_GROUP}:${namespace}`]
}

export function parseServiceAccountUser(user: string): { namespace: string; name: string } | undefined {
  const [namespace = '', name = '', ...rest] = user.startsWith(PREFIX) ? user.slice(PREFIX.length).split(':') : []
  return namespace === '' || name === '' || rest.length > 0 ? undefined : { namespace, name }
}

export const serviceAccountKind = defineKind<ServiceAccount>({
  group: '',
  version: 'v1',
  kind: 'ServiceAccount',
  plural: 'serviceaccounts',
  singular: 'serviceaccount',
  shortNames: ['sa'],
  namespaced: true,
  schema: ServiceAccount,
  validate: ({ metadata }) =>
    isDnsSubdomain(metadata.name ?? '')
      ? []
      : [{ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' }],
  columns: [
    {
      name: 'Secrets',
      type: 'integer',
      description: 'Number of secrets that it names',
      value: ({ secrets }) => secrets?.length ?? 0,
    },
  ],
})
