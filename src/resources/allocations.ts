/**
 * Keeps reservations and services in step: sweeps reservations whose service is gone, and makes those that are missing
 * (after a restore, or a sweep that was wrong). Runs on the leader; safe beside everything else, because every change
 * is a compare-and-swap and young reservations are left alone.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { serviceKind } from '../api/service.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { isCode } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import type { Fence, Store, StoredItem } from '../store/store.ts'
import {
  ALLOCATION_PREFIX,
  Allocator,
  allocationKey,
  parseAllocationKey,
  parseReservation,
  RESERVATION_GRACE_MS,
} from './allocator.ts'
import type { Resources } from './resources.ts'
import { holdingsOf } from './service_holdings.ts'

export interface AllocationRepairOptions {
  store: Store
  resources: Resources
  clock: Clock
  log: Logger
  fence?: Fence
}

export interface RepairPlan {
  /** Reservations that nobody stands behind. */
  stale: StoredItem[]
  missing: { key: string; service: Stored<KubeObject> }[]
  /** One thing that two services hold; the reservation is the second's. */
  disputed: { key: string; service: Stored<KubeObject> }[]
}

/** Pure. `services` must be no older than `reservations`. */
export function planRepair(
  reservations: readonly StoredItem[],
  services: readonly Stored<KubeObject>[],
  nowMs: number,
): RepairPlan {
  const plan: RepairPlan = { stale: [], missing: [], disputed: [] }
  const holders = new Map<string, Set<string>>()
  const owners = new Map(reservations.map((item) => [item.key, parseReservation(item)]))
  for (const service of services) {
    for (const holding of holdingsOf(service)) {
      const key = allocationKey(holding)
      const uids = holders.get(key) ?? new Set()
      holders.set(key, uids.add(service.metadata.uid))
    }
  }
  for (const item of reservations) {
    const owner = owners.get(item.key)
    if (owner === undefined || parseAllocationKey(item.key) === undefined) continue
    const isHeld = holders.get(item.key)?.has(owner.uid) === true
    if (!isHeld && nowMs - owner.atMs >= RESERVATION_GRACE_MS) plan.stale.push(item)
  }
  const stale = new Set(plan.stale.map(({ key }) => key))
  for (const service of services) {
    for (const holding of holdingsOf(service)) {
      const key = allocationKey(holding)
      const owner = owners.get(key)
      if (owner === undefined || stale.has(key)) plan.missing.push({ key, service })
      else if (owner.uid !== service.metadata.uid) plan.disputed.push({ key, service })
    }
  }
  return plan
}

const FRESH_TIMEOUT_MS = 15_000
const INTERVAL_MS = 10 * 60_000
const PAGE = 500

export async function repairAllocations(options: AllocationRepairOptions): Promise<RepairPlan> {
  const { store, resources, clock, log, fence } = options
  const reservations: StoredItem[] = []
  let page = await store.list(ALLOCATION_PREFIX, { limit: PAGE })
  reservations.push(...page.items)
  for (let last = page.items.at(-1); page.more && last !== undefined; last = page.items.at(-1)) {
    page = await store.list(ALLOCATION_PREFIX, { limit: PAGE, after: last.key })
    reservations.push(...page.items)
  }
  await resources.waitForRevision(await resources.currentRevision(), FRESH_TIMEOUT_MS)
  const plan = planRepair(reservations, resources.list(serviceKind as KindDefinition), clock.now())
  for (const { key, modRevision } of plan.stale) {
    await store.write({ type: 'delete', key, expect: { modRevision } }, fence)
    log.info({ key }, 'swept a reservation whose service is gone')
  }
  const allocator = new Allocator({ store, clock, log })
  for (const { key, service } of plan.missing) {
    const holding = parseAllocationKey(key)
    const { namespace = '', name, uid } = service.metadata
    if (holding !== undefined) await allocator.reserve(holding, { namespace, name, uid }, fence)
  }
  for (const { key, service } of plan.disputed) {
    log.error({ key, service: service.metadata.name }, 'two services hold the same address or port: replace one')
  }
  return plan
}

export function createAllocationRepair(options: AllocationRepairOptions): Service {
  return {
    id: 'allocation-repair',
    async run(signal) {
      while (!signal.aborted) {
        try {
          await repairAllocations(options)
          await sleep(options.clock, INTERVAL_MS, signal)
        } catch (error) {
          if (signal.aborted && isCode(error, 'cancelled')) return
          throw error
        }
      }
    },
  }
}
