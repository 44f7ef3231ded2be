/**
 * A node that runs short: of what, and whose pods pay first. Pure. The order is the kubelet's: pods that use more than they
 * asked for before those that do not; among them those of less priority; among equals those that use most beyond what they
 * asked for. A pod that keeps to what it asked for is never evicted while another does not, whatever their priorities.
 * Critical pods are never evicted. Source: Kubernetes "Node-pressure Eviction"; the kubelet's `IsCriticalPod`.
 */
import { CRITICAL_PRIORITY } from '../../api/names.ts'
import { formatBytes } from '../../base/quantity.ts'

export type Shortage = 'memory' | 'disk' | 'pids'

/** What is left, and what there is in all. */
export interface Amount {
  available: number
  total: number
}

export type Signals = Readonly<Record<Shortage, Amount>>

/** Below these the node is short. Bytes and processes. */
export type Thresholds = Readonly<Record<Shortage, number>>

/** What a threshold such as `100Mi` or `5%` is of `total`; undefined when it is neither. */
export function thresholdOf(text: string, total: number, parse: (quantity: string) => number): number | undefined {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1]
  if (percent !== undefined) return Number(percent) <= 100 ? (total * Number(percent)) / 100 : undefined
  try {
    const value = parse(text)
    return value >= 0 ? value : undefined
  } catch {
    return undefined
  }
}

/** A total of 0 is unknown and never short. */
export function shortagesOf(signals: Signals, thresholds: Thresholds): Shortage[] {
  return (['memory', 'disk', 'pids'] as const).filter(
    (what) => signals[what].total > 0 && signals[what].available < thresholds[what],
  )
}

export interface Use {
  /** Infinite: more than could be measured. */
  used: Readonly<Record<Shortage, number>>
  /** Of processes nobody asks for any. */
  requested: Readonly<Record<Shortage, number>>
}

export interface PodUse extends Use {
  uid: string
  /** 0 where the pod has none. */
  priority: number
  containers: readonly ({ name: string } & Use)[]
}

/** What the kubelet calls them in its messages. */
const RESOURCES: Readonly<Record<Shortage, string>> = { memory: 'memory', disk: 'ephemeral-storage', pids: 'pids' }

/** Kibibytes and their multiples for bytes, whole numbers for processes. */
function amountText(what: Shortage, amount: number): string {
  return what === 'pids' ? String(Math.floor(amount)) : formatBytes(Math.floor(amount / 1024) * 1024)
}

/** Why a pod was evicted, in the kubelet's words. */
export function evictionMessage(what: Shortage, left: number, wanted: number, { containers }: PodUse): string {
  const name = RESOURCES[what]
  const threshold = what === 'pids' ? String(Math.ceil(wanted)) : formatBytes(Math.ceil(wanted))
  const parts = [
    `The node was low on resource: ${name}. Threshold quantity: ${threshold}, available: ${amountText(what, left)}.`,
  ]
  for (const container of what === 'pids' ? [] : containers) {
    const [used, requested] = [container.used[what], container.requested[what]]
    if (used <= requested) continue
    const asked = requested === 0 ? 'request is 0' : `request is ${formatBytes(requested)}`
    const amount = Number.isFinite(used) ? amountText(what, used) : 'more than could be measured in time'
    parts.push(`Container ${container.name} was using ${amount}, ${asked}, has larger consumption of ${name}.`)
  }
  return parts.join(' ')
}

/** Whom to evict for a shortage, first things first. Left out are critical ones, and those that use nothing of it: it would not help. */
export function rankForEviction(pods: readonly PodUse[], what: Shortage): PodUse[] {
  const beyond = ({ used, requested }: PodUse): number => used[what] - requested[what]
  return pods
    .filter(({ used, priority }) => used[what] > 0 && priority < CRITICAL_PRIORITY)
    .toSorted((a, b) => {
      const [x, y] = [beyond(a), beyond(b)]
      if (x > 0 !== y > 0) return x > 0 ? -1 : 1
      return a.priority - b.priority || y - x || b.used[what] - a.used[what] || (a.uid < b.uid ? -1 : 1)
    })
}

/**
 * What the node says of its shortages: at once when one begins, and only after `holdMs` when it is over, so that pods do not
 * come and go with each breath of a busy node.
 */
export class Held {
  readonly #holdMs: number
  readonly #lastShortMs = new Map<Shortage, number>()

  constructor(holdMs: number) {
    this.#holdMs = holdMs
  }

  see(now: readonly Shortage[], nowMs: number): Shortage[] {
    for (const what of now) this.#lastShortMs.set(what, nowMs)
    for (const [what, lastMs] of this.#lastShortMs) if (nowMs - lastMs >= this.#holdMs) this.#lastShortMs.delete(what)
    return [...this.#lastShortMs.keys()]
  }
}
