/** The three patches of the Kubernetes API. Pure: the object is not changed. */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { applyJsonPatch } from './json_patch.ts'
import type { PatchType } from './resources.ts'
import { applyStrategicPatch } from './strategic_patch.ts'

/** Throws `invalid` when the patch is malformed or does not fit the object. */
export function applyPatch<T extends KubeObject>(
  kind: KindDefinition,
  object: T,
  patchType: PatchType,
  patch: unknown,
): T {
  const patched = patchedDocument(kind, object, patchType, patch)
  if (!isObject(patched) || !isObject(patched.metadata)) {
    throw new DroverError('invalid', 'the patch leaves something that is no object')
  }
  if (patched.metadata.name !== object.metadata.name) {
    throw new DroverError('invalid', 'metadata.name: Invalid value: a patch cannot give an object another name')
  }
  return patched as unknown as T
}

function patchedDocument(kind: KindDefinition, object: KubeObject, patchType: PatchType, patch: unknown): unknown {
  if (patchType === 'json') return applyJsonPatch(object, patch)
  if (!isObject(patch)) throw new DroverError('invalid', 'the patch must be an object')
  const document: Record<string, unknown> = { ...object }
  return patchType === 'merge' ? mergePatch(document, patch) : applyStrategicPatch(document, patch, kind.schema)
}

/** Source: RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const result: Record<string, unknown> = isObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__') continue
    if (value === null) delete result[key]
    else result[key] = mergePatch(result[key], value)
  }
  return result
}

/** The `resourceVersion` that a merge patch insists on. A JSON patch says it with a test. */
export function patchRevision(patchType: PatchType, patch: unknown): string | undefined {
  if (patchType === 'json' || !isObject(patch) || !isObject(patch.metadata)) return undefined
  const { resourceVersion } = patch.metadata
  return typeof resourceVersion === 'string' && resourceVersion !== '' ? resourceVersion : undefined
}
