/** A store whose watch is held back until the test lets batches through, one at a time. */
import type { Store, WatchBatch } from '../../src/store/store.ts'

export interface DelayedStore {
  store: Store
  /** Lets this many more batches through. */
  release(count: number): void
  /** From now on nothing is held back. */
  open(): void
  /** From now on everything is, but for what is under way. */
  hold(): void
}

export function delayWatch(inner: Store): DelayedStore {
  let credit = 0
  let wake: (() => void) | undefined

  async function* watch(prefix: string, after: number, signal: AbortSignal): AsyncIterable<WatchBatch> {
    for await (const batch of inner.watch(prefix, after, signal)) {
      while (credit <= 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve
          signal.addEventListener('abort', () => resolve(), { once: true })
        })
      }
      if (signal.aborted) return
      credit--
      yield batch
    }
  }

  const release = (count: number): void => {
    credit += count
    wake?.()
  }
  const store: Store = {
    get: (key) => inner.get(key),
    list: (prefix, options) => inner.list(prefix, options),
    write: (write, fence) => inner.write(write, fence),
    watch,
    campaign: (key, id, signal) => inner.campaign(key, id, signal),
    compact: (revision) => inner.compact(revision),
    health: () => inner.health(),
    close: () => inner.close(),
  }
  const hold = (): void => {
    credit = 0
  }
  return { store, release, open: () => release(Number.POSITIVE_INFINITY), hold }
}
