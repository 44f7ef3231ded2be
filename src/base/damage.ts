/** Something on a machine that is not as it should be, found by looking, and the way to mend it. */

export type DamagePart =
  | 'containers'
  | 'processes'
  | 'mounts'
  | 'namespaces'
  | 'addresses'
  | 'cgroups'
  | 'network'
  | 'files'

export interface Damage {
  part: DamagePart
  /** What is damaged: a path, an id, a pod. */
  subject: string
  problem: string
  /** Idempotent; rejects when it cannot. */
  mend(): Promise<void>
}

/** The same damage in two looks: what passes by itself (a pod that is just being made) shows in one only, or changes. */
export function inBoth(first: readonly Damage[], second: readonly Damage[]): Damage[] {
  const keyOf = (damage: Damage): string => `${placeOf(damage)}\0${damage.problem}`
  const keys = new Set(first.map(keyOf))
  return second.filter((damage) => keys.has(keyOf(damage)))
}

/** Where something is damaged in both looks, whatever is wrong there: what was mended in part has another problem. */
export function placesInBoth(first: readonly Damage[], second: readonly Damage[]): Set<string> {
  const places = new Set(first.map(placeOf))
  return new Set(second.map(placeOf).filter((place) => places.has(place)))
}

export function placeOf({ part, subject }: Damage): string {
  return `${part}\0${subject}`
}
