/** What stands under a prefix of the store, told at the start and after each change. */
import { isCode } from '../base/errors.ts'
import type { Store, StoredItem } from '../store/store.ts'

/** Calls back with all that is there, by key, until the signal is raised. */
export async function watchKeys(
  store: Store,
  prefix: string,
  signal: AbortSignal,
  onChange: (items: ReadonlyMap<string, StoredItem>) => void,
): Promise<void> {
  while (!signal.aborted) {
    const { items, revision } = await store.list(prefix)
    const seen = new Map(items.map((item) => [item.key, item]))
    onChange(new Map(seen))
    try {
      for await (const { events } of store.watch(prefix, revision, signal)) {
        if (events.length === 0) continue
        for (const event of events) {
          if (event.type === 'put') seen.set(event.item.key, event.item)
          else seen.delete(event.key)
        }
        onChange(new Map(seen))
      }
    } catch (error) {
      // Compacted meanwhile: list again.
      if (!isCode(error, 'gone')) throw error
    }
  }
}
