/**
 * Templates as they once stood, for controllers that own their pods themselves. What `rollout undo` needs is stored as
 * ControllerRevisions; the present template's revision is the one with the highest number. What reads and writes stands last; the rest is pure.
 */
import { createHash } from 'node:crypto'
import { type ControllerRevision, controllerRevisionKind } from '../../api/controllerrevision.ts'
import type { KindDefinition } from '../../api/kind.ts'
import type { KubeObject, LabelSelector, Stored } from '../../api/meta.ts'
import { ANNOTATION } from '../../api/names.ts'
import type { PodTemplateSpec } from '../../api/pod.ts'
import { REVISION_HASH_LABEL } from '../../api/statefulset.ts'
import { isCode } from '../../base/errors.ts'
import { canonicalJson, jsonEqual } from '../../base/json.ts'
import { type CountsCollisions, countCollision } from './collisions.ts'
import type { ControllerContext } from './context.ts'
import { controllerOf, controllerReference } from './owners.ts'
import { changeObject, deleteObject } from './writes.ts'

type StoredRevision = Stored<ControllerRevision>

/** Kubernetes' alphabet for generated names: no vowels, nothing that looks like another. */
const ALPHABET = 'bcdfghjklmnpqrstvwxz2456789'
const HASH_LENGTH = 10
const DEFAULT_HISTORY = 10

export interface RevisionOwner extends CountsCollisions {
  spec: { template: PodTemplateSpec; selector: LabelSelector; revisionHistoryLimit?: number }
}

/** A strategic merge patch of the owner: applied as it is, it brings the template back. */
function revisionData(template: PodTemplateSpec): unknown {
  return { spec: { template: { ...template, $patch: 'replace' } } }
}

/** The template that a revision holds; undefined when it holds something else. */
export function templateOf(revision: ControllerRevision): PodTemplateSpec | undefined {
  const data = revision.data as { spec?: { template?: PodTemplateSpec & { $patch?: string } } } | undefined
  const held = data?.spec?.template
  if (held === undefined) return undefined
  const { $patch: _directive, ...template } = held
  return template
}

export interface RevisionPlan {
  /** Name of the present template's revision, and the hash that is part of it. */
  name: string
  hash: string
  /** To be made, when the template is new. */
  create?: ControllerRevision
  /** The template came back: its revision becomes the newest again. */
  renumber?: { revision: StoredRevision; number: number }
}

function hashOf(template: PodTemplateSpec, collisionCount: number): string {
  const digest = createHash('sha256')
    .update(`${collisionCount}\n${canonicalJson(template)}`)
    .digest()
  return Array.from(digest.subarray(0, HASH_LENGTH), (byte) => ALPHABET[byte % ALPHABET.length]).join('')
}

export function planRevision<T extends RevisionOwner>(
  kind: KindDefinition<T>,
  owner: Stored<T>,
  revisions: readonly StoredRevision[],
): RevisionPlan {
  const data = revisionData(owner.spec.template)
  const highest = Math.max(0, ...revisions.map(({ revision }) => revision))
  const known = revisions
    .filter((revision) => jsonEqual(revision.data, data))
    .sort((a, b) => b.revision - a.revision)[0]
  if (known !== undefined) {
    const hash = known.metadata.labels?.[REVISION_HASH_LABEL] ?? known.metadata.name
    const plan = { name: known.metadata.name, hash }
    return known.revision === highest ? plan : { ...plan, renumber: { revision: known, number: highest + 1 } }
  }
  const hash = hashOf(owner.spec.template, owner.status?.collisionCount ?? 0)
  const name = `${owner.metadata.name}-${hash}`
  const cause = owner.metadata.annotations?.[ANNOTATION.changeCause]
  const create: ControllerRevision = {
    apiVersion: 'apps/v1',
    kind: 'ControllerRevision',
    metadata: {
      name,
      namespace: owner.metadata.namespace ?? '',
      labels: { ...owner.spec.template.metadata?.labels, [REVISION_HASH_LABEL]: hash },
      ...(cause !== undefined && { annotations: { [ANNOTATION.changeCause]: cause } }),
      ownerReferences: [controllerReference(kind as KindDefinition, owner)],
    },
    data,
    revision: highest + 1,
  }
  return { name, hash, create }
}

/** Revisions beyond the limit that nothing uses any more, oldest first. */
export function planHistory(
  revisions: readonly StoredRevision[],
  inUse: ReadonlySet<string>,
  limit: number,
): StoredRevision[] {
  const old = revisions.filter(({ metadata }) => !inUse.has(metadata.name)).sort((a, b) => a.revision - b.revision)
  return old.slice(0, Math.max(0, old.length - limit))
}

/** The owner's revisions, oldest first. */
export function revisionsOf(context: ControllerContext, owner: Stored<KubeObject>): StoredRevision[] {
  return context.resources
    .ownedBy(controllerRevisionKind, owner.metadata.uid)
    .filter((revision) => controllerOf(revision)?.uid === owner.metadata.uid)
    .sort((a, b) => a.revision - b.revision)
}

/** Makes the present template's revision stand as planned. A name that another template took is counted and refused. */
async function keepRevision<T extends RevisionOwner>(
  context: ControllerContext,
  kind: KindDefinition<T>,
  owner: Stored<T>,
  plan: RevisionPlan,
): Promise<void> {
  if (plan.renumber !== undefined) {
    const { revision, number } = plan.renumber
    await changeObject(context, controllerRevisionKind, revision, {
      part: 'main',
      change: (current) => ({ ...current, revision: number }),
    })
  }
  if (plan.create === undefined) return
  try {
    await context.resources.create(controllerRevisionKind, plan.create, { fence: context.fence })
  } catch (error) {
    if (!isCode(error, 'alreadyExists')) throw error
    const existing = context.resources.get(controllerRevisionKind, owner.metadata.namespace ?? '', plan.name)
    const ours = existing !== undefined && controllerOf(existing)?.uid === owner.metadata.uid
    if (ours && jsonEqual(existing.data, plan.create.data)) return
    await countCollision(context, kind, owner, { name: plan.name, takenBy: 'revision' })
  }
}

/** The present template's revision, made to stand if it did not yet. */
export async function ensureRevision<T extends RevisionOwner>(
  context: ControllerContext,
  kind: KindDefinition<T>,
  owner: Stored<T>,
): Promise<{ name: string; hash: string }> {
  const plan = planRevision(kind, owner, revisionsOf(context, owner))
  await keepRevision(context, kind, owner, plan)
  return plan
}

/** Drops revisions beyond the owner's limit that are not in use. */
export async function trimHistory(
  context: ControllerContext,
  owner: Stored<RevisionOwner>,
  isInUse: (revision: StoredRevision) => boolean,
): Promise<void> {
  const revisions = revisionsOf(context, owner)
  const inUse = new Set(revisions.filter(isInUse).map(({ metadata }) => metadata.name))
  const dropped = planHistory(revisions, inUse, owner.spec.revisionHistoryLimit ?? DEFAULT_HISTORY)
  await Promise.all(dropped.map((revision) => deleteObject(context, controllerRevisionKind, revision)))
}
