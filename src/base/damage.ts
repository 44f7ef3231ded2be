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

/** The same damage in two looks: what passes by itself (a pod that is just being made) shows in one only. */
export function inBoth(first: readonly Damage[], second: readonly Damage[]): Damage[] {
  const keys = new Set(first.map(damageKey))
  return second.filter((damage) => keys.has(damageKey(damage)))
}

export function damageKey({ part, subject, problem }: Damage): string {
  return `${part}\0${subject}\0${problem}`
}
