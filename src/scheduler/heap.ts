/** A binary heap of rows. Only the top may change its worth, which is all that placing needs. */
export class RowHeap {
  readonly #rows: number[]
  readonly #compare: (a: number, b: number) => number

  constructor(rows: number[], compare: (a: number, b: number) => number) {
    this.#rows = rows
    this.#compare = compare
    for (let i = (rows.length >> 1) - 1; i >= 0; i--) this.#sink(i)
  }

  get top(): number | undefined {
    return this.#rows[0]
  }

  /** The top is worth less than before. */
  sinkTop(): void {
    this.#sink(0)
  }

  dropTop(): void {
    const last = this.#rows.pop()
    if (last === undefined || this.#rows.length === 0) return
    this.#rows[0] = last
    this.#sink(0)
  }

  #sink(start: number): void {
    const rows = this.#rows
    let at = start
    for (;;) {
      let best = at
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < rows.length && this.#compare(rows[child] as number, rows[best] as number) < 0) best = child
      }
      if (best === at) return
      const row = rows[at] as number
      rows[at] = rows[best] as number
      rows[best] = row
      at = best
    }
  }
}
