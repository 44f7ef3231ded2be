/** Namespace. Source: Kubernetes v1. `spec.finalizers` holds it until its content is gone. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { Condition, typeMeta } from './meta.ts'
import { isDnsLabel, LABEL } from './names.ts'
import { listByKey, object, oneOf, opt, text } from './schema.ts'

export const Namespace = object({
  ...typeMeta('v1', 'Namespace'),
  spec: opt(object({ finalizers: opt(Type.Array(text)) })),
  status: opt(object({ phase: opt(oneOf('Active', 'Terminating')), conditions: opt(listByKey(Condition, 'type')) })),
})
export type Namespace = Static<typeof Namespace>

export const NAMESPACE_FINALIZER = 'kubernetes'

export const namespaceKind = defineKind<Namespace>({
  group: '',
  version: 'v1',
  kind: 'Namespace',
  plural: 'namespaces',
  singular: 'namespace',
  shortNames: ['ns'],
  namespaced: false,
  schema: Namespace,
  hasStatus: true,
  applyDefaults(namespace) {
    namespace.status ??= {}
    namespace.status.phase ??= 'Active'
    if (namespace.metadata.name !== undefined) {
      namespace.metadata.labels = { ...namespace.metadata.labels, [LABEL.namespaceName]: namespace.metadata.name }
    }
  },
  validate: ({ metadata }) =>
    isDnsLabel(metadata.name ?? '')
      ? []
      : [{ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS label: lower case, digits, "-"' }],
  columns: [
    { name: 'Status', type: 'string', description: 'Active or Terminating', value: (ns) => ns.status?.phase ?? '' },
  ],
  selectableFields: { 'status.phase': (ns) => ns.status?.phase ?? '' },
})
