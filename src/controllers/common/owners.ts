/** Owner references: who controls an object, and which objects a selector claims. */
import { apiVersionOf, type KindDefinition, keyOf } from '../../api/kind.ts'
import type { KubeObject, LabelSelector, OwnerReference, Stored } from '../../api/meta.ts'
import { matchesSelector } from '../../api/selector.ts'
import type { Resources } from '../../resources/resources.ts'

export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((reference) => reference.controller === true)
}

export function controllerReference(kind: KindDefinition, owner: Stored<KubeObject>): OwnerReference {
  return {
    apiVersion: apiVersionOf(kind),
    kind: kind.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
  }
}

/** The object without this owner, a change for `modify`; undefined when it names no such owner. */
export function withoutOwner<T extends KubeObject>(object: T, ownerUid: string): T | undefined {
  const references = object.metadata.ownerReferences ?? []
  const kept = references.filter((reference) => reference.uid !== ownerUid)
  if (kept.length === references.length) return undefined
  if (kept.length > 0) object.metadata.ownerReferences = kept
  else delete object.metadata.ownerReferences
  return object
}

/** The object with this controller, a change for `modify`; undefined when it has one already. */
export function withController<T extends KubeObject>(object: T, reference: OwnerReference): T | undefined {
  if (controllerOf(object) !== undefined || object.metadata.deletionTimestamp !== undefined) return undefined
  const others = (object.metadata.ownerReferences ?? []).filter(({ uid }) => uid !== reference.uid)
  object.metadata.ownerReferences = [...others, reference]
  return object
}

export interface Claim<T> {
  /** Controlled by the owner, selector or not matching ones left out. */
  mine: T[]
  /** Match, and nobody controls them. */
  adopt: T[]
  /** Are controlled by the owner, but no longer match. */
  release: T[]
}

/** Sorts what an owner controls and what it might: pure. */
export function planClaim<T extends KubeObject>(options: {
  owner: Stored<KubeObject>
  selector: LabelSelector
  owned: readonly T[]
  orphans: readonly T[]
}): Claim<T> {
  const { owner, selector, owned, orphans } = options
  const claim: Claim<T> = { mine: [], adopt: [], release: [] }
  for (const object of owned) {
    if (controllerOf(object)?.uid !== owner.metadata.uid) continue
    const leaves = object.metadata.deletionTimestamp === undefined && !matchesSelector(selector, object.metadata.labels)
    claim[leaves ? 'release' : 'mine'].push(object)
  }
  if (owner.metadata.deletionTimestamp !== undefined) return claim
  for (const object of orphans) {
    if (object.metadata.deletionTimestamp !== undefined || controllerOf(object) !== undefined) continue
    if (matchesSelector(selector, object.metadata.labels)) claim.adopt.push(object)
  }
  return claim
}

/**
 * Objects of a kind that nobody controls, by namespace: kept from the cache's changes, so that looking for something to
 * adopt does not walk every object of the namespace at each reconcile.
 */
export class OrphanIndex<T extends KubeObject> {
  readonly #byNamespace = new Map<string, Map<string, Stored<T>>>()

  /** Fills the index and keeps it; returns how to stop. */
  watch(resources: Resources, kind: KindDefinition<T>): () => void {
    this.#byNamespace.clear()
    const stop = resources.subscribe(kind, (event) => {
      if (event.type === 'DELETED') this.#remove(event.object)
      else this.#put(event.object)
    })
    for (const object of resources.list(kind)) this.#put(object)
    return stop
  }

  in(namespace: string): Stored<T>[] {
    return [...(this.#byNamespace.get(namespace)?.values() ?? [])]
  }

  #put(object: Stored<T>): void {
    if (controllerOf(object) !== undefined) {
      this.#remove(object)
      return
    }
    const namespace = object.metadata.namespace ?? ''
    let objects = this.#byNamespace.get(namespace)
    if (objects === undefined) {
      objects = new Map()
      this.#byNamespace.set(namespace, objects)
    }
    objects.set(keyOf(object), object)
  }

  #remove(object: Stored<T>): void {
    const namespace = object.metadata.namespace ?? ''
    const objects = this.#byNamespace.get(namespace)
    if (objects?.delete(keyOf(object)) === true && objects.size === 0) this.#byNamespace.delete(namespace)
  }
}
