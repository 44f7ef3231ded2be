/** The name of a template: equal templates, whatever the order of their keys, have equal hashes. */
import { createHash } from 'node:crypto'
import { LABEL } from '../../api/names.ts'
import type { PodTemplateSpec } from '../../api/pod.ts'
import { canonicalJson, jsonEqual } from '../../base/json.ts'

/** Kubernetes' alphabet for generated names: no vowels, nothing that looks like another. */
const ALPHABET = 'bcdfghjklmnpqrstvwxz2456789'
const LENGTH = 10

/** `collisionCount` makes another name when another template already took this one. */
export function templateHash(template: PodTemplateSpec, collisionCount: number): string {
  const digest = createHash('sha256')
    .update(`${collisionCount}\n${canonicalJson(template)}`)
    .digest()
  return Array.from(digest.subarray(0, LENGTH), (byte) => ALPHABET[byte % ALPHABET.length]).join('')
}

/** Equal but for the hash label, which the controller itself added to the copy. */
export function sameTemplate(a: PodTemplateSpec, b: PodTemplateSpec): boolean {
  return jsonEqual(withoutHash(a), withoutHash(b))
}

function withoutHash(template: PodTemplateSpec): unknown {
  const { [LABEL.podTemplateHash]: _hash, ...labels } = template.metadata?.labels ?? {}
  const { labels: _labels, ...metadata } = template.metadata ?? {}
  return { spec: template.spec, metadata: { ...metadata, labels } }
}
