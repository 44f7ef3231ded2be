/**
 * Rolls for a changed configuration: where a deployment asks for it, a hash of all that its pods read of ConfigMaps and
 * Secrets is part of its template, so that a change makes a new revision like any other. Pure.
 *
 * Each object's uid is part of the hash: it salts it, for a hash of a Secret's data alone could be guessed at by those
 * who may read ReplicaSets but not Secrets.
 */
import { createHash } from 'node:crypto'
import type { Deployment } from '../../api/deployment.ts'
import type { KubeObject, Stored } from '../../api/meta.ts'
import { ANNOTATION } from '../../api/names.ts'
import type { PodTemplateSpec } from '../../api/pod.ts'
import { podReferences } from '../../api/pod_references.ts'
import { canonicalJson } from '../../base/json.ts'
import { sameTemplate } from './hash.ts'
import { revisionOf, type StoredSet } from './sets.ts'

const HASH_LENGTH = 16

export type ConfigObject = KubeObject & { data?: unknown; binaryData?: unknown }

export function rollsOnConfigChange(deployment: Deployment): boolean {
  return deployment.metadata.annotations?.[ANNOTATION.rollOnConfigChange] === 'true'
}

/** `configmap/NS/NAME` and `secret/NS/NAME` that decide; what pulls images does not. */
export function configReferences({ metadata, spec }: Deployment): string[] {
  const { imagePullSecrets: _pull, ...podSpec } = spec.template.spec
  return [...podReferences({ metadata: { namespace: metadata.namespace ?? '' }, spec: podSpec })].sort()
}

/**
 * The deployment with the hash in its template. While an object is missing, the hash of the present set stays: a
 * ConfigMap that is deleted makes no pods anew that could not start.
 */
export function withConfigHash(
  deployment: Stored<Deployment>,
  sets: readonly StoredSet[],
  find: (reference: string) => ConfigObject | undefined,
): Stored<Deployment> {
  if (!rollsOnConfigChange(deployment)) return deployment
  const objects = configReferences(deployment).map((reference) => ({ reference, object: find(reference) }))
  if (objects.length === 0) return deployment
  const isMissing = objects.some(({ object }) => object === undefined)
  const hash = (isMissing ? presentHash(deployment, sets) : undefined) ?? hashOf(objects)
  return { ...deployment, spec: { ...deployment.spec, template: withHash(deployment.spec.template, hash) } }
}

function hashOf(objects: readonly { reference: string; object: ConfigObject | undefined }[]): string {
  const content = objects.map(({ reference, object }) => [
    reference,
    object?.metadata.uid ?? '',
    object?.data ?? {},
    object?.binaryData ?? {},
  ])
  return createHash('sha256').update(canonicalJson(content)).digest('hex').slice(0, HASH_LENGTH)
}

function presentHash({ spec }: Deployment, sets: readonly StoredSet[]): string | undefined {
  const wanted = withHash(spec.template, '')
  const [newest] = sets
    .filter((set) => sameTemplate(withHash(set.spec.template, ''), wanted))
    .sort((a, b) => revisionOf(b) - revisionOf(a))
  return newest?.spec.template.metadata?.annotations?.[ANNOTATION.configHash]
}

function withHash(template: PodTemplateSpec, hash: string): PodTemplateSpec {
  const annotations = { ...template.metadata?.annotations, [ANNOTATION.configHash]: hash }
  return { ...template, metadata: { ...template.metadata, annotations } }
}
