/** A log's bytes cut into lines. The bytes stay as they are: a program may write what is no UTF-8. */

/** A longer line is given on in pieces of about this size, each a line of its own: 100 logs are read side by side. */
export const MAX_LINE_BYTES = 256 << 10

export interface CutLine {
  bytes: Buffer
  /** It goes on with the line that the one before it began. */
  continues: boolean
}

const NEWLINE = 0x0a

export class LineCutter {
  /** Of the line that has not ended. */
  #parts: Buffer[] = []
  #bytes = 0
  #continues = false

  /** The lines that the bytes complete. */
  push(chunk: Buffer): CutLine[] {
    const lines: CutLine[] = []
    for (let start = 0; start < chunk.length; ) {
      const newline = chunk.indexOf(NEWLINE, start)
      const end = newline < 0 ? chunk.length : newline
      this.#parts.push(chunk.subarray(start, end))
      this.#bytes += end - start
      while (this.#bytes > MAX_LINE_BYTES) lines.push(this.#cut())
      if (newline >= 0) lines.push(this.#take(false))
      start = end + 1
    }
    return lines
  }

  /** What is left of a log that does not end with a newline. */
  end(): CutLine[] {
    return this.#bytes > 0 ? [this.#take(false)] : []
  }

  #cut(): CutLine {
    const all = Buffer.concat(this.#parts)
    const end = characterEnd(all, MAX_LINE_BYTES)
    this.#parts = [all.subarray(0, end)]
    const line = this.#take(true)
    this.#parts = [all.subarray(end)]
    this.#bytes = all.length - end
    return line
  }

  #take(goesOn: boolean): CutLine {
    const [only, ...more] = this.#parts
    const bytes = only !== undefined && more.length === 0 ? only : Buffer.concat(this.#parts)
    const line = { bytes, continues: this.#continues }
    this.#parts = []
    this.#bytes = 0
    this.#continues = goesOn
    return line
  }
}

/** Where to cut at or before `end`, so that no character of UTF-8 is cut; it has four bytes at most. */
function characterEnd(bytes: Buffer, end: number): number {
  for (let at = end; at > end - 4; at--) if (((bytes[at] ?? 0) & 0xc0) !== 0x80) return at
  return end
}
