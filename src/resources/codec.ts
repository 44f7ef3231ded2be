/**
 * Objects as they are stored: JSON without `metadata.resourceVersion`, which is the key's revision. What comes out is
 * frozen, because the cache shares it with everyone.
 */
import type { KubeObject, Stored } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import { deepFreeze, isObject } from '../base/json.ts'

/** etcd refuses requests past 1.5 MiB; the rest of a batch and the key need room too. */
export const MAX_OBJECT_BYTES = 1_300_000

export function encodeStored(object: KubeObject): string {
  const { resourceVersion: _revision, ...metadata } = object.metadata
  const text = JSON.stringify({ ...object, metadata })
  if (Buffer.byteLength(text) > MAX_OBJECT_BYTES) {
    throw new DroverError(
      'tooLarge',
      `${object.kind} "${object.metadata.name}" takes ${Buffer.byteLength(text)} bytes; at most ${MAX_OBJECT_BYTES} can be stored`,
    )
  }
  return text
}

export function decodeStored(text: string, revision: number): Stored<KubeObject> {
  const object: unknown = JSON.parse(text)
  if (!isObject(object) || !isObject(object.metadata)) {
    throw new DroverError('internal', `the store holds something that is no object: ${text.slice(0, 80)}`)
  }
  object.metadata.resourceVersion = String(revision)
  return deepFreeze(object) as unknown as Stored<KubeObject>
}

/** The same object as of another revision; shares everything but the metadata. */
export function atRevision<T extends KubeObject>(object: T, revision: number): Stored<T> {
  return deepFreeze({ ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } }) as Stored<T>
}

/**
 * A private copy without nulls and undefined members: Kubernetes clients send `creationTimestamp: null` where they mean
 * nothing. Nulls inside lists stay, and fail validation.
 */
export function cleanCopy<T>(value: T): T {
  if (Array.isArray(value)) return value.map((item) => cleanCopy(item)) as T
  if (typeof value !== 'object' || value === null) return value
  const copy: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value)) {
    if (item === null || item === undefined) continue
    // A plain assignment to this key would change the prototype instead of adding a member.
    if (key === '__proto__') continue
    copy[key] = cleanCopy(item as unknown)
  }
  return copy as T
}
