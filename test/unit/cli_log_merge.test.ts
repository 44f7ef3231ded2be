import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReadMark } from '../../src/cli/log_follow.ts'
import { type CutLine, LineCutter, MAX_LINE_BYTES } from '../../src/cli/log_lines.ts'
import { type LogLine, MAX_AHEAD_BYTES, mergeByTime, splitTime } from '../../src/cli/log_merge.ts'
import { createManualClock } from '../support/manual_clock.ts'

async function* of(lines: readonly LogLine[]): AsyncGenerator<LogLine> {
  yield* lines
}

const at = (second: number, text = ''): LogLine => ({
  time: `2026-01-01T00:00:${String(second).padStart(2, '0')}Z`,
  text: Buffer.from(text),
})

const split = (line: string): LogLine => splitTime(Buffer.from(line))

describe('lines of several logs', () => {
  it('have their time cut off, in a form that sorts', () => {
    expect(split('2026-01-01T00:00:00.5Z hello  world')).toEqual({
      time: '2026-01-01T00:00:00.500000000Z',
      text: Buffer.from('hello  world'),
    })
    expect(split('2026-01-01T02:00:00.123456789+02:00 x').time).toBe('2026-01-01T00:00:00.123456789Z')
    expect(split('2026-01-01T00:00:00Z ')).toEqual({ time: '2026-01-01T00:00:00.000000000Z', text: Buffer.from('') })
    expect(split('no time at all')).toEqual({ time: '', text: Buffer.from('no time at all') })
    expect(split('2026-01-01T00:00:09Z a').time < split('2026-01-01T00:00:09.1Z b').time).toBe(true)
  })

  it('come in the order of their times, all of them', async () => {
    const anyLog = fc.array(fc.nat(59)).map((seconds) => seconds.sort((a, b) => a - b).map((second) => at(second)))
    await fc.assert(
      fc.asyncProperty(fc.array(anyLog, { maxLength: 5 }), async (logs) => {
        const seen: string[] = []
        const options = { clock: createManualClock(), patienceMs: Number.POSITIVE_INFINITY }
        const sources = new Map(logs.map((log, i) => [i, of(log)]))
        for await (const { time } of mergeByTime(sources, options, () => undefined)) seen.push(time)
        expect(seen).toEqual(
          logs
            .flat()
            .map(({ time }) => time)
            .sort(),
        )
      }),
    )
  })

  it('come in that order however late each log is heard of', async () => {
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
    async function* late(lines: readonly LogLine[], turns: number): AsyncGenerator<LogLine> {
      for (let i = 0; i < turns; i++) await turn()
      yield* lines
    }
    const anyLog = fc.record({
      seconds: fc.array(fc.nat(59), { maxLength: 6 }).map((seconds) => seconds.sort((a, b) => a - b)),
      turns: fc.nat(20),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(anyLog, { minLength: 2, maxLength: 4 }), async (logs) => {
        const options = { clock: createManualClock(), patienceMs: Number.POSITIVE_INFINITY }
        const lines = logs.map(({ seconds }) => seconds.map((second) => at(second)))
        const sources = new Map(logs.map(({ turns }, i) => [i, late(lines[i] ?? [], turns)]))
        const seen: string[] = []
        for await (const { time } of mergeByTime(sources, options, () => undefined)) seen.push(time)
        expect(seen).toEqual([...seen].sort())
        expect(seen).toHaveLength(lines.flat().length)
      }),
    )
  })

  it('of a silent log hold nobody back for long', async () => {
    const clock = createManualClock()
    const never = (async function* (): AsyncGenerator<LogLine> {
      await new Promise(() => undefined)
      yield at(0)
    })()
    const merged = mergeByTime(
      new Map([
        ['loud', of([at(1, 'a'), at(2, 'b')])],
        ['silent', never],
      ]),
      { clock, patienceMs: 200 },
      () => undefined,
    )
    for (const text of ['a', 'b']) {
      const next = merged.next()
      await clock.advance(200)
      expect((await next).value).toMatchObject({ of: 'loud', text: Buffer.from(text) })
    }
  })

  it('that came together are held back together, however many, and a log that is far ahead is not read on', async () => {
    const clock = createManualClock()
    let given = 0
    async function* endless(): AsyncGenerator<LogLine> {
      for (;;) yield at(0, String(given++))
    }
    async function* silent(): AsyncGenerator<LogLine> {
      await new Promise(() => undefined)
    }
    const logs = new Map([
      ['loud', endless()],
      ['other', of(Array.from({ length: 300 }, (_, i) => at(i % 60)).sort((a, b) => (a.time < b.time ? -1 : 1)))],
      ['silent', silent()],
    ])
    const merged = mergeByTime(logs, { clock, patienceMs: 200 }, () => undefined)
    const first = merged.next()
    await clock.advance(199)
    expect(given).toBe(1_000)
    await clock.advance(1)
    expect((await first).value).toMatchObject({ of: 'loud', text: Buffer.from('0') })
    for (let i = 1; i < 500; i++)
      expect((await merged.next()).value).toMatchObject({ of: 'loud', text: Buffer.from(String(i)) })
    expect(clock.monotonicMs()).toBe(200)
    await merged.return(undefined)
  })

  it('are read ahead by their bytes too', async () => {
    const clock = createManualClock()
    let given = 0
    async function* long(): AsyncGenerator<LogLine> {
      for (;;) {
        given++
        yield { ...at(0), text: Buffer.alloc(MAX_AHEAD_BYTES / 8) }
      }
    }
    async function* silent(): AsyncGenerator<LogLine> {
      await new Promise(() => undefined)
    }
    const logs = new Map([
      ['long', long()],
      ['silent', silent()],
    ])
    const merged = mergeByTime(logs, { clock, patienceMs: 200 }, () => undefined)
    const first = merged.next()
    await clock.advance(199)
    expect(given).toBe(8)
    await clock.advance(1)
    await first
    for (let i = 0; i < 16; i++) {
      const next = merged.next()
      await clock.advance(200)
      await next
    }
    expect(given).toBeGreaterThan(16)
    expect(given).toBeLessThanOrEqual(25)
    await merged.return(undefined)
  })

  it('of a log that fails end alone', async () => {
    const broken = (async function* (): AsyncGenerator<LogLine> {
      yield at(1, 'last words')
      throw new Error('gone')
    })()
    const failures: string[] = []
    const seen: string[] = []
    const options = { clock: createManualClock(), patienceMs: Number.POSITIVE_INFINITY }
    const logs = new Map([
      ['broken', broken],
      ['whole', of([at(0, 'x'), at(2, 'y')])],
    ])
    for await (const { text } of mergeByTime(logs, options, (name, error) =>
      failures.push(`${name}: ${String(error)}`),
    ))
      seen.push(text.toString())
    expect(seen).toEqual(['x', 'last words', 'y'])
    expect(failures).toEqual(['broken: Error: gone'])
  })
})

describe('a log cut into lines', () => {
  const cut = (chunks: readonly Buffer[]): CutLine[] => {
    const cutter = new LineCutter()
    return [...chunks.flatMap((chunk) => cutter.push(chunk)), ...cutter.end()]
  }

  it('has the same lines and bytes wherever its chunks end, whatever they are', () => {
    const anyBytes = fc.oneof(
      fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
      fc.uint8Array().map((bytes) => Buffer.from(bytes)),
      fc.constant(Buffer.from('\n')),
    )
    fc.assert(
      fc.property(fc.array(anyBytes), fc.array(fc.nat(200)), (parts, cuts) => {
        const all = Buffer.concat(parts)
        const at = [0, ...cuts.map((each) => Math.min(each, all.length)).sort((a, b) => a - b), all.length]
        const lines = cut(at.map((start, index) => all.subarray(start, at[index + 1] ?? all.length)))
        const expected = all.toString('latin1').split('\n')
        if (expected.at(-1) === '') expected.pop()
        expect(lines.map(({ bytes }) => bytes.toString('latin1'))).toEqual(expected)
      }),
    )
  })

  it('gives a line that is too long in pieces, between characters', () => {
    const euro = Buffer.from('€'.repeat(MAX_LINE_BYTES))
    const chunks = Array.from({ length: Math.ceil(euro.length / 1_000) }, (_, i) =>
      euro.subarray(i * 1_000, (i + 1) * 1_000),
    )
    const lines = cut([Buffer.from('a\n'), ...chunks, Buffer.from('\nb\n')])
    expect(lines.map(({ continues }) => continues)).toEqual([false, false, true, true, true, false])
    const pieces = lines.slice(1, -1).map(({ bytes }) => bytes)
    for (const piece of pieces) {
      expect(piece.length).toBeLessThanOrEqual(MAX_LINE_BYTES)
      expect(piece.toString()).not.toContain('\ufffd')
    }
    expect(Buffer.concat(pieces).equals(euro)).toBe(true)
  })

  it('cuts what is no text anywhere', () => {
    const lines = cut([Buffer.alloc(MAX_LINE_BYTES + 10, 0x80)])
    expect(lines.map(({ bytes }) => bytes.length)).toEqual([MAX_LINE_BYTES, 10])
  })
})

describe('a log that is opened again', () => {
  it('gives each line once, wherever it broke off and however many lines have one time', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { maxLength: 20 }), fc.array(fc.nat(20), { maxLength: 4 }), (seconds, breaks) => {
        const lines = seconds.sort((a, b) => a - b).map((second, index) => at(second, String(index)))
        const mark = new ReadMark()
        const seen: string[] = []
        for (const end of [...breaks, lines.length]) {
          // The server gives what is not older than the last line.
          const since = lines.filter(({ time }) => time >= mark.time)
          mark.rewind()
          for (const line of since.slice(0, end)) if (mark.isNew(line)) seen.push(line.text.toString())
        }
        expect(seen).toEqual(lines.map((_, index) => String(index)))
      }),
    )
  })
})
