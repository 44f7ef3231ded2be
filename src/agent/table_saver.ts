/**
 * Saves tables that have changed. Changes that come close together share one write, and a table rests after each write
 * for a multiple of the time that it took: however fast a large table changes, saving it takes a tenth of one core.
 */
import type { Clock } from '../base/clock.ts'
import { jsonEqual } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import { WorkQueue } from '../base/queue.ts'
import type { Random } from '../base/random.ts'
import { TABLES, type TableName } from '../rpc/messages.ts'
import type { ClusterConfig } from '../rpc/tables.ts'
import type { Desired } from './desired.ts'
import type { TableStore } from './table_store.ts'

export interface TableSaverOptions {
  store: TableStore
  desired: Desired
  clock: Clock
  random: Random
  log: Logger
}

const DELAY_MS = 200
const REST_FACTOR = 10
const CLUSTER = 'cluster'

export class TableSaver {
  readonly #options: TableSaverOptions
  readonly #queue: WorkQueue
  readonly #saved = new Map<TableName, number>()
  readonly #restUntilMs = new Map<string, number>()
  #cluster: ClusterConfig | undefined

  constructor(options: TableSaverOptions) {
    this.#options = options
    const { clock, random, log } = options
    const backoff = { initialMs: 500, maxMs: 60_000, factor: 2, jitter: 0.2 }
    this.#queue = new WorkQueue({ name: 'tables', clock, random, log, concurrency: 1, backoff }, async (name) => {
      await this.#save(name)
      return undefined
    })
  }

  /** What is on disk already. */
  loaded(cluster: ClusterConfig, tables: Iterable<TableName>): void {
    this.#cluster = cluster
    for (const table of tables) this.#saved.set(table, this.#options.desired.version(table))
  }

  clusterChanged(cluster: ClusterConfig): void {
    if (jsonEqual(cluster, this.#cluster)) return
    this.#cluster = cluster
    this.#queue.add(CLUSTER)
  }

  changed(table: TableName): void {
    const restMs = (this.#restUntilMs.get(table) ?? 0) - this.#options.clock.monotonicMs()
    this.#queue.addAfter(table, Math.max(DELAY_MS, restMs))
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#queue.run(signal)
    // What waited when the agent was told to stop.
    for (const name of [CLUSTER, ...TABLES]) {
      await this.#save(name).catch((error: unknown) =>
        this.#options.log.warn({ err: error, table: name }, 'a table could not be saved at the end'),
      )
    }
  }

  async #save(name: string): Promise<void> {
    const { store, desired, clock } = this.#options
    if (name === CLUSTER) {
      if (this.#cluster !== undefined) await store.saveCluster(this.#cluster)
      return
    }
    const table = name as TableName
    const version = desired.version(table)
    if (!desired.known(table) || this.#saved.get(table) === version) return
    const startedMs = clock.monotonicMs()
    await store.saveTable(table, desired.rows(table))
    this.#saved.set(table, version)
    const nowMs = clock.monotonicMs()
    this.#restUntilMs.set(table, nowMs + REST_FACTOR * (nowMs - startedMs))
  }
}
