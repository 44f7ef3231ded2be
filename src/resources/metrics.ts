/** What the cache tells of itself. Read when scraped: the paths that serve requests count nothing. */
import { resourceName } from '../api/kind.ts'
import { Gauge, type Registry } from '../base/metrics.ts'
import type { WatchCache } from './cache.ts'

export function registerCacheMetrics(registry: Registry, cache: WatchCache): void {
  const registers = [registry]
  new Gauge({
    name: 'apiserver_storage_objects',
    help: 'Objects stored, by resource',
    labelNames: ['resource'],
    registers,
    collect() {
      for (const { table } of cache.shelves()) this.set({ resource: resourceName(table.kind) }, table.size)
    },
  })
  new Gauge({
    name: 'drover_cache_watchers',
    help: 'Watchers that the cache serves, by resource',
    labelNames: ['resource'],
    registers,
    collect() {
      for (const { table, hub } of cache.shelves()) this.set({ resource: resourceName(table.kind) }, hub.watchers)
    },
  })
  new Gauge({
    name: 'drover_cache_revision',
    help: 'Revision up to which the cache has delivered all events',
    registers,
    collect() {
      this.set(cache.revision)
    },
  })
  new Gauge({
    name: 'drover_cache_relists',
    help: 'How often the cache had to list again since it started',
    registers,
    collect() {
      this.set(cache.relists)
    },
  })
}
