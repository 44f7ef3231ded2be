/** What every cluster has from its first minute. */
import { namespaceKind } from '../api/namespace.ts'
import { isCode } from '../base/errors.ts'
import type { Resources, WriteOptions } from './resources.ts'

export const BUILTIN_NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'] as const

/** Idempotent; safe on several servers at once. */
export async function ensureBuiltins(resources: Resources, options: WriteOptions = {}): Promise<void> {
  for (const name of BUILTIN_NAMESPACES) {
    if (resources.get(namespaceKind, '', name) !== undefined) continue
    try {
      await resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } }, options)
    } catch (error) {
      if (!isCode(error, 'alreadyExists')) throw error
    }
  }
}
