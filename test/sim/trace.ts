/** What happened, as lines: the last are kept for people, all of them go into a hash that tells two runs apart. */
import type { VirtualTime } from './virtual_time.ts'

const KEPT = 80

export class Trace {
  readonly #time: VirtualTime
  readonly #print: ((line: string) => void) | undefined
  #last: string[] = []
  #low = 0x811c9dc5
  #high = 0x1b873593
  #lines = 0

  constructor(time: VirtualTime, print?: (line: string) => void) {
    this.#time = time
    this.#print = print
  }

  get lines(): number {
    return this.#lines
  }

  add(text: string): void {
    const line = `${(this.#time.nowMs / 1000).toFixed(3).padStart(9)} ${text}`
    this.#lines++
    for (let i = 0; i < line.length; i++) {
      const code = line.charCodeAt(i)
      this.#low = Math.imul(this.#low ^ code, 0x01000193)
      this.#high = Math.imul(this.#high ^ code, 0x5bd1e995) ^ (this.#high >>> 13)
    }
    this.#print?.(line)
    this.#last.push(line)
    if (this.#last.length > 2 * KEPT) this.#last = this.#last.slice(-KEPT)
  }

  get hash(): string {
    return (this.#low >>> 0).toString(16).padStart(8, '0') + (this.#high >>> 0).toString(16).padStart(8, '0')
  }

  tail(count = KEPT): string[] {
    return this.#last.slice(-count)
  }
}
