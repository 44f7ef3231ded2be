/** RuntimeClass: by what pods are run, and what that costs. Source: Kubernetes node.k8s.io/v1, "Runtime Class", "Pod Overhead". */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { handlerLabel, isDnsLabel, isDnsSubdomain } from './names.ts'
import { Toleration } from './pod.ts'
import { overheadErrors, validateLabels } from './pod_rules.ts'
import { object, opt, quantityMap, stringMap, text } from './schema.ts'

/** The handlers that nodes look for by themselves; of each a class of the same name stands in every cluster. */
export const BUILTIN_HANDLERS = ['runc', 'crun'] as const

export const RuntimeClass = object({
  ...typeMeta('node.k8s.io/v1', 'RuntimeClass'),
  handler: text,
  overhead: opt(object({ podFixed: opt(quantityMap) })),
  scheduling: opt(object({ nodeSelector: opt(stringMap), tolerations: opt(Type.Array(Toleration)) })),
})
export type RuntimeClass = Static<typeof RuntimeClass>

/** Runs pods on nodes that have the handler. */
export function builtinClass(handler: string): RuntimeClass {
  return {
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata: { name: handler },
    handler,
    scheduling: { nodeSelector: { [handlerLabel(handler)]: 'true' } },
  }
}

export const runtimeClassKind = defineKind<RuntimeClass>({
  group: 'node.k8s.io',
  version: 'v1',
  kind: 'RuntimeClass',
  plural: 'runtimeclasses',
  singular: 'runtimeclass',
  namespaced: false,
  schema: RuntimeClass,
  validate({ metadata, handler, overhead, scheduling }) {
    const errors: FieldError[] = []
    if (!isDnsSubdomain(metadata.name ?? '')) {
      errors.push({ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' })
    }
    if (!isDnsLabel(handler)) {
      errors.push({ path: 'handler', reason: 'Invalid', message: `"${handler}" must be a DNS label, such as runc` })
    }
    errors.push(...overheadErrors(overhead?.podFixed ?? {}, 'overhead.podFixed'))
    errors.push(...validateLabels(scheduling?.nodeSelector, 'scheduling.nodeSelector'))
    return errors
  },
  validateUpdate: (changed, old) =>
    changed.handler === old.handler
      ? []
      : [{ path: 'handler', reason: 'Invalid', message: 'field is immutable: make a new class instead' }],
  columns: [
    { name: 'Handler', type: 'string', description: 'What of a node runs the pods', value: ({ handler }) => handler },
  ],
})
