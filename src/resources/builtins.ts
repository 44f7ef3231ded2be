/** What every cluster has from its first minute. */
import { namespaceKind } from '../api/namespace.ts'
import { BUILTIN_CLASSES, priorityClassKind } from '../api/priorityclass.ts'
import { BUILTIN_HANDLERS, builtinClass, runtimeClassKind } from '../api/runtimeclass.ts'
import { isCode } from '../base/errors.ts'
import type { Resources, WriteOptions } from './resources.ts'

export const BUILTIN_NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'] as const

/** Idempotent; safe on several servers at once. */
export async function ensureBuiltins(resources: Resources, options: WriteOptions = {}): Promise<void> {
  for (const name of BUILTIN_NAMESPACES) {
    if (resources.get(namespaceKind, '', name) !== undefined) continue
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } } as const
    await unlessThere(resources.create(namespaceKind, namespace, options))
  }
  for (const handler of BUILTIN_HANDLERS) {
    if (resources.get(runtimeClassKind, '', handler) !== undefined) continue
    await unlessThere(resources.create(runtimeClassKind, builtinClass(handler), options))
  }
  for (const priorityClass of BUILTIN_CLASSES) {
    if (resources.get(priorityClassKind, '', priorityClass.metadata.name ?? '') !== undefined) continue
    await unlessThere(resources.create(priorityClassKind, priorityClass, options))
  }
}

async function unlessThere(making: Promise<unknown>): Promise<void> {
  await making.catch((error: unknown) => {
    if (!isCode(error, 'alreadyExists')) throw error
  })
}
