/** Revisions of a template: a deployment's are its ReplicaSets, those of stateful and daemon sets ControllerRevisions. */
import { type ControllerRevision, controllerRevisionKind } from '../api/controllerrevision.ts'
import type { DaemonSet } from '../api/daemonset.ts'
import type { Deployment } from '../api/deployment.ts'
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { ANNOTATION, LABEL } from '../api/names.ts'
import type { PodTemplateSpec } from '../api/pod.ts'
import { type ReplicaSet, replicaSetKind } from '../api/replicaset.ts'
import type { StatefulSet } from '../api/statefulset.ts'
import { DroverError } from '../base/errors.ts'
import type { CliContext } from './context.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'

export type RolloutObject = Deployment | StatefulSet | DaemonSet

export interface Revision {
  number: number
  cause: string | undefined
  template: PodTemplateSpec
}

/** Oldest first. */
export async function revisionsOf(
  context: CliContext,
  kind: KindDefinition,
  object: RolloutObject,
): Promise<Revision[]> {
  const revisions =
    kind.kind === 'Deployment'
      ? (await owned<ReplicaSet>(context, replicaSetKind as KindDefinition, object)).map(fromSet)
      : (await owned<ControllerRevision>(context, controllerRevisionKind as KindDefinition, object)).flatMap(
          fromRevision,
        )
  return revisions.sort((a, b) => a.number - b.number)
}

async function owned<T extends KubeObject>(context: CliContext, kind: KindDefinition, owner: KubeObject): Promise<T[]> {
  const { items } = await context.client.call<ObjectList<T>>('GET', resourcePath(kind, context.namespace))
  return items.filter(({ metadata }) =>
    metadata.ownerReferences?.some(({ controller, uid }) => controller === true && uid === owner.metadata.uid),
  )
}

function fromSet({ metadata, spec }: ReplicaSet): Revision {
  const { [LABEL.podTemplateHash]: _hash, ...labels } = spec.template.metadata?.labels ?? {}
  return {
    number: Number(metadata.annotations?.[ANNOTATION.revision] ?? 0),
    cause: metadata.annotations?.[ANNOTATION.changeCause],
    template: { ...spec.template, metadata: { ...spec.template.metadata, labels } },
  }
}

function fromRevision({ metadata, data, revision }: ControllerRevision): Revision[] {
  const held = (data as { spec?: { template?: PodTemplateSpec & { $patch?: string } } } | undefined)?.spec?.template
  if (held === undefined) return []
  const { $patch: _directive, ...template } = held
  return [{ number: revision, cause: metadata.annotations?.[ANNOTATION.changeCause], template }]
}

export function findRevision(
  revisions: readonly Revision[],
  wanted: number,
  { kind, name }: { kind: KindDefinition; name: string },
): Revision {
  const found = revisions.find(({ number }) => number === wanted)
  if (found !== undefined) return found
  const known = revisions.map(({ number }) => number).join(', ')
  throw new DroverError('notFound', `${kind.singular} "${name}" has no revision ${wanted}; it has: ${known || 'none'}`)
}
