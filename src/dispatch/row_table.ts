/**
 * A table of rows that many sessions follow. Rows are kept once, as the bytes that travel; a session holds only how
 * far it has come. The log of changes is bounded in bytes: a session that falls out of it gets a COMPLETE.
 *
 * Sequences only grow. Where a revision of the store is given they keep pace with it, so that what nodes say they have
 * programmed can be compared across servers.
 */
import type { TableChange } from '../rpc/messages.ts'

/** Changes kept for sessions that are behind. */
const MAX_LOG_BYTES = 4 << 20
/** What a key and its place in the log count beside the row's bytes. */
const CHANGE_OVERHEAD_BYTES = 64
const EMPTY = new Uint8Array(0)

export function changeBytes(change: TableChange): number {
  return change.key.length + change.json.length + CHANGE_OVERHEAD_BYTES
}

export class RowTable {
  readonly #rows = new Map<string, Uint8Array>()
  /** Oldest first; each follows on the one before it. */
  #log: { base: number; sequence: number; changes: TableChange[]; bytes: number }[] = []
  #logBytes = 0
  #sequence: number
  readonly #maxLogBytes: number

  constructor(sequence = 1, maxLogBytes = MAX_LOG_BYTES) {
    this.#sequence = sequence
    this.#maxLogBytes = maxLogBytes
  }

  get sequence(): number {
    return this.#sequence
  }

  get size(): number {
    return this.#rows.size
  }

  /** Takes rows in, undefined for one that is gone. Returns whether anything is different. */
  apply(rows: Iterable<readonly [key: string, json: Uint8Array | undefined]>, revision = 0): boolean {
    const changes: TableChange[] = []
    for (const [key, json] of rows) {
      const known = this.#rows.get(key)
      if (json === undefined) {
        if (this.#rows.delete(key)) changes.push({ key, json: EMPTY })
      } else if (known === undefined || Buffer.compare(known, json) !== 0) {
        this.#rows.set(key, json)
        changes.push({ key, json })
      }
    }
    if (changes.length === 0) return false
    const base = this.#sequence
    this.#sequence = Math.max(base + 1, revision)
    const bytes = changes.reduce((sum, change) => sum + changeBytes(change), 0)
    this.#log.push({ base, sequence: this.#sequence, changes, bytes })
    this.#logBytes += bytes
    this.#trim()
    return true
  }

  /** The whole table as it is now. */
  complete(): { sequence: number; changes: TableChange[] } {
    return { sequence: this.#sequence, changes: [...this.#rows].map(([key, json]) => ({ key, json })) }
  }

  /** What has changed since `sequence`, each key once; undefined when the log does not reach back to it. */
  since(sequence: number): { sequence: number; changes: TableChange[] } | undefined {
    if (sequence === this.#sequence) return { sequence, changes: [] }
    const from = this.#log.findIndex((entry) => entry.base === sequence)
    if (from < 0) return undefined
    const latest = new Map<string, TableChange>()
    for (const entry of this.#log.slice(from)) for (const change of entry.changes) latest.set(change.key, change)
    return { sequence: this.#sequence, changes: [...latest.values()] }
  }

  #trim(): void {
    let drop = 0
    while (this.#logBytes > this.#maxLogBytes && drop < this.#log.length) {
      this.#logBytes -= this.#log[drop]?.bytes ?? 0
      drop++
    }
    if (drop > 0) this.#log = this.#log.slice(drop)
  }
}
