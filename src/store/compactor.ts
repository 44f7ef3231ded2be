/**
 * Forgets history on a schedule, so that the database does not grow without end: every interval up to where the store
 * stood one interval ago. Several servers may do so at once; compacting twice is nothing.
 */
import { type Clock, sleep } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import type { Store } from './store.ts'

export interface CompactorOptions {
  store: Store
  clock: Clock
  log: Logger
  /** How much history watches can count on when they resume. Default 5 minutes. */
  intervalMs?: number
}

export function createCompactor(options: CompactorOptions): Service {
  const { store, clock, log, intervalMs = 300_000 } = options
  return {
    id: 'compactor',
    async run(signal) {
      let revision = await currentRevision(store)
      while (!signal.aborted) {
        await sleep(clock, intervalMs, signal).catch(() => undefined)
        if (signal.aborted) return
        await store.compact(revision)
        log.debug({ revision }, 'compacted the store')
        revision = await currentRevision(store)
      }
    },
  }
}

/** Not from `health`, which rejects when the database is full: just then history must go. */
async function currentRevision(store: Store): Promise<number> {
  return (await store.list('/drover-meta/', { limit: 1 })).revision
}
