/**
 * The time of a simulated world: a heap of events, run one at a time. After each event all promise jobs run to their
 * end before the next begins: Node drains them before it turns to another macrotask, so one `setImmediate` is a sound
 * barrier for as long as nothing in the world does real I/O. That nothing does is checked (`assertNoRealWork`), for
 * then the order of events is a function of the seed alone.
 */
import type { Timer } from '../../src/base/clock.ts'

interface Entry {
  dueMs: number
  /** Events of one moment run in the order of their making. */
  order: number
  run: (() => void) | undefined
}

const barrier = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function isBefore(a: Entry, b: Entry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order)
}

/** Kinds of handles that mean that code under simulation went to the real machine. */
const REAL_WORK = /^(FSReq|TCP|UDP|Pipe|Process|GetAddrInfo|Timeout|HTTP)/

export class VirtualTime {
  #nowMs = 0
  #made = 0
  #steps = 0
  readonly #heap: Entry[] = []
  #foreign = new Set<string>()

  /** Since the world's beginning. */
  get nowMs(): number {
    return this.#nowMs
  }

  get steps(): number {
    return this.#steps
  }

  schedule(delayMs: number, run: () => void): Timer {
    const entry: Entry = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#made++, run }
    this.#push(entry)
    return {
      cancel: () => {
        entry.run = undefined
      },
    }
  }

  /** Runs the next event and all that follows from it at once. False when nothing is left to happen. */
  async step(): Promise<boolean> {
    for (;;) {
      const entry = this.#pop()
      if (entry === undefined) return false
      const { run } = entry
      if (run === undefined) continue
      this.#nowMs = entry.dueMs
      this.#steps++
      run()
      await barrier()
      return true
    }
  }

  settle(): Promise<void> {
    return barrier()
  }

  /** What the test runner itself keeps open is not the world's doing. */
  rememberForeignWork(): void {
    this.#foreign = new Set(process.getActiveResourcesInfo())
  }

  assertNoRealWork(): void {
    const found = process.getActiveResourcesInfo().find((name) => REAL_WORK.test(name) && !this.#foreign.has(name))
    if (found !== undefined) throw new Error(`the simulated world does real work (${found}): a seam is missing`)
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let index = heap.push(entry) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !isBefore(entry, above)) break
      heap[index] = above
      index = parent
    }
    heap[index] = entry
  }

  #pop(): Entry | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      const left = heap[child]
      if (left === undefined) break
      const right = heap[child + 1]
      let below = left
      if (right !== undefined && isBefore(right, left)) {
        child++
        below = right
      }
      if (!isBefore(below, last)) break
      heap[index] = below
      index = child
    }
    heap[index] = last
    return first
  }
}
