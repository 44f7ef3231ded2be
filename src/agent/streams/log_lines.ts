/**
 * The CRI log format, read in pieces of any size: `2016-10-06T00:17:09.669794202Z stdout F line`, with P for a part of
 * a line that goes on. Source: kubernetes/design-proposals-archive, "CRI: Log management for container stdout/stderr".
 */
export interface LogSelection {
  timestamps: boolean
  /** RFC 3339. */
  sinceTime: string | undefined
  limitBytes: number | undefined
}

export interface LogOutput {
  stderr: boolean
  data: Buffer
}

const NEWLINE = 0x0a
const SPACE = 0x20

export class LogLines {
  readonly #selection: LogSelection
  readonly #sinceMs: number
  #rest: Buffer = Buffer.alloc(0)
  #leftBytes: number
  /** Whether the next record of a stream continues its line. */
  readonly #continues = { stdout: false, stderr: false }

  constructor(selection: LogSelection) {
    this.#selection = selection
    this.#sinceMs = selection.sinceTime === undefined ? Number.NEGATIVE_INFINITY : Date.parse(selection.sinceTime)
    this.#leftBytes = selection.limitBytes ?? Number.POSITIVE_INFINITY
  }

  /** Nothing more will be let through. */
  get full(): boolean {
    return this.#leftBytes <= 0
  }

  /** What the bytes complete; neighbours of one stream are joined. */
  push(bytes: Uint8Array): LogOutput[] {
    const data = Buffer.concat([this.#rest, bytes])
    const outputs: { stderr: boolean; parts: Buffer[] }[] = []
    let start = 0
    for (let end = data.indexOf(NEWLINE); end >= 0 && !this.full; end = data.indexOf(NEWLINE, start)) {
      const record = this.#record(data.subarray(start, end))
      start = end + 1
      if (record === undefined) continue
      const last = outputs.at(-1)
      if (last?.stderr === record.stderr) last.parts.push(...record.parts)
      else outputs.push(record)
    }
    this.#rest = Buffer.from(data.subarray(start))
    return outputs.map(({ stderr, parts }) => ({ stderr, data: this.#limit(Buffer.concat(parts)) }))
  }

  #record(line: Buffer): { stderr: boolean; parts: Buffer[] } | undefined {
    const afterTime = line.indexOf(SPACE)
    const afterStream = line.indexOf(SPACE, afterTime + 1)
    const afterTag = line.indexOf(SPACE, afterStream + 1)
    if (afterTime < 0 || afterStream < 0) return undefined
    const time = line.toString('latin1', 0, afterTime)
    const stream = line.toString('latin1', afterTime + 1, afterStream)
    if (stream !== 'stdout' && stream !== 'stderr') return undefined
    const tag = line.toString('latin1', afterStream + 1, afterTag < 0 ? line.length : afterTag)
    const text = afterTag < 0 ? Buffer.alloc(0) : line.subarray(afterTag + 1)
    const partial = tag.split(':')[0] === 'P'
    const continued = this.#continues[stream]
    this.#continues[stream] = partial
    if (Date.parse(time) < this.#sinceMs) return undefined
    const head = this.#selection.timestamps && !continued ? [Buffer.from(`${time} `, 'latin1')] : []
    return { stderr: stream === 'stderr', parts: [...head, text, ...(partial ? [] : [Buffer.from('\n')])] }
  }

  #limit(data: Buffer): Buffer {
    const kept = data.length > this.#leftBytes ? data.subarray(0, this.#leftBytes) : data
    this.#leftBytes -= kept.length
    return kept
  }
}

const TAIL_CHUNK_BYTES = 64 << 10

/**
 * Where the last `lines` records of a file begin, and how many they are: fewer when the file has no more. Partial records
 * count as lines of their own.
 */
export async function tailStart(
  sizeBytes: number,
  lines: number,
  read: (position: number, length: number) => Promise<Buffer>,
): Promise<{ position: number; lines: number }> {
  if (lines <= 0 || sizeBytes === 0) return { position: sizeBytes, lines: 0 }
  let found = 0
  let end = sizeBytes
  while (end > 0) {
    const start = Math.max(0, end - TAIL_CHUNK_BYTES)
    const chunk = await read(start, end - start)
    for (let index = chunk.length - 1; index >= 0; index--) {
      // The newline that ends the file begins no further line.
      if (chunk[index] !== NEWLINE || start + index === sizeBytes - 1) continue
      found++
      if (found === lines) return { position: start + index + 1, lines }
    }
    end = start
  }
  // What stands before the first newline is a record too.
  return { position: 0, lines: found + 1 }
}
