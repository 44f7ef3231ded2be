/**
 * Reservations: one key per address or port in use, made with "must not be there yet", so that two servers can never
 * give one thing to two services. A reservation is made before its service is written and given back after it is gone;
 * a server that dies in between leaves one behind, which may be taken over or swept once it is older than any write.
 */

import { serviceKind } from '../api/service.ts'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import type { Fence, Store, StoredItem } from '../store/store.ts'
import { decodeStored } from './codec.ts'
import { META_PREFIX, storeKey } from './keys.ts'
import { type Holding, holdingsOf } from './service_holdings.ts'

export const ALLOCATION_PREFIX = `${META_PREFIX}allocations/`

/** A reservation younger than this may belong to a write that is still under way. */
export const RESERVATION_GRACE_MS = 60_000

/** Each further attempt means that somebody else has just changed the same key. */
const RESERVE_ATTEMPTS = 5

export interface Owner {
  namespace: string
  name: string
  uid: string
}

export interface Reservation extends Owner {
  /** Wall time of the reservation. */
  atMs: number
}

export function allocationKey({ type, value }: Holding): string {
  return `${ALLOCATION_PREFIX}${type}/${value}`
}

export function parseAllocationKey(key: string): Holding | undefined {
  const [type, value = '', ...rest] = key.slice(ALLOCATION_PREFIX.length).split('/')
  if (!key.startsWith(ALLOCATION_PREFIX) || rest.length > 0 || value === '') return undefined
  return type === 'clusterip' || type === 'nodeport' ? { type, value } : undefined
}

export function parseReservation(item: StoredItem): Reservation {
  const value: unknown = JSON.parse(item.value)
  if (!isObject(value) || typeof value.uid !== 'string' || typeof value.atMs !== 'number') {
    throw new DroverError('internal', `${item.key} holds no reservation`)
  }
  return { namespace: String(value.namespace), name: String(value.name), uid: value.uid, atMs: value.atMs }
}

export interface AllocatorOptions {
  store: Store
  clock: Clock
  log: Logger
}

export class Allocator {
  readonly #options: AllocatorOptions

  constructor(options: AllocatorOptions) {
    this.#options = options
  }

  /** False when another service has it. */
  async reserve(holding: Holding, owner: Owner, fence?: Fence): Promise<boolean> {
    const { store, clock } = this.#options
    const key = allocationKey(holding)
    const { namespace, name, uid } = owner
    const value = JSON.stringify({ namespace, name, uid, atMs: clock.now() } satisfies Reservation)
    let expect = { modRevision: 0 }
    for (let attempt = 0; attempt < RESERVE_ATTEMPTS; attempt++) {
      const outcome = await store.write({ type: 'put', key, value, expect }, fence)
      if (outcome.ok) return true
      const { current } = outcome
      // Given back just now: ask again.
      expect = { modRevision: current?.modRevision ?? 0 }
      if (current === undefined) continue
      const other = parseReservation(current)
      const isOurs = other.uid === uid
      // Another write of the same object has it. An old one is made anew, or a sweep could take it from under us.
      if (isOurs && clock.now() - other.atMs < RESERVATION_GRACE_MS / 2) return true
      if (!isOurs && !(await this.#isStale(holding, current))) return false
    }
    return false
  }

  async isTaken(holding: Holding): Promise<boolean> {
    const item = await this.#options.store.get(allocationKey(holding))
    return item !== undefined && !(await this.#isStale(holding, item))
  }

  /** All values of one type that are reserved. */
  async taken(type: Holding['type']): Promise<Set<string>> {
    const prefix = `${ALLOCATION_PREFIX}${type}/`
    const values = new Set<string>()
    let after: string | undefined
    for (;;) {
      const page = await this.#options.store.list(prefix, after === undefined ? { limit: 500 } : { limit: 500, after })
      for (const { key } of page.items) values.add(key.slice(prefix.length))
      after = page.items.at(-1)?.key
      if (!page.more || after === undefined) return values
    }
  }

  /** Gives back what `uid` holds. A failure is logged: the sweep finds what stays behind. */
  async giveBack(holdings: readonly Holding[], uid: string, fence?: Fence): Promise<void> {
    const { store, log } = this.#options
    for (const holding of holdings) {
      const key = allocationKey(holding)
      try {
        const item = await store.get(key)
        if (item === undefined || parseReservation(item).uid !== uid) continue
        await store.write({ type: 'delete', key, expect: { modRevision: item.modRevision } }, fence)
      } catch (err) {
        log.warn({ key, err }, 'a reservation could not be given back; the sweep will')
      }
    }
  }

  async #isStale(holding: Holding, item: StoredItem): Promise<boolean> {
    const { store, clock } = this.#options
    const { namespace, name, uid, atMs } = parseReservation(item)
    if (clock.now() - atMs < RESERVATION_GRACE_MS) return false
    const owner = await store.get(storeKey(serviceKind, namespace, name))
    if (owner === undefined) return true
    const service = decodeStored(owner.value, owner.modRevision)
    if (service.metadata.uid !== uid) return true
    return !holdingsOf(service).some(({ type, value }) => type === holding.type && value === holding.value)
  }
}
