/** What every cluster has from its first minute. */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { type Namespace, namespaceKind } from '../api/namespace.ts'
import { BUILTIN_CLASSES, priorityClassKind } from '../api/priorityclass.ts'
import { BUILTIN_HANDLERS, builtinClass, runtimeClassKind } from '../api/runtimeclass.ts'
import { isCode } from '../base/errors.ts'
import type { Resources, WriteOptions } from './resources.ts'

export const BUILTIN_NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'] as const

/** Idempotent; safe on several servers at once. */
export async function ensureBuiltins(resources: Resources, options: WriteOptions = {}): Promise<void> {
  const namespaces = BUILTIN_NAMESPACES.map(
    (name): Namespace => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }),
  )
  await ensureAll(resources, namespaceKind, namespaces, options)
  await ensureAll(resources, runtimeClassKind, BUILTIN_HANDLERS.map(builtinClass), options)
  await ensureAll(resources, priorityClassKind, BUILTIN_CLASSES, options)
}

async function ensureAll<T extends KubeObject>(
  resources: Resources,
  kind: KindDefinition<T>,
  objects: readonly T[],
  options: WriteOptions,
): Promise<void> {
  for (const object of objects) {
    if (resources.get(kind, '', object.metadata.name ?? '') !== undefined) continue
    await resources.create(kind, object, options).catch((error: unknown) => {
      if (!isCode(error, 'alreadyExists')) throw error
    })
  }
}
