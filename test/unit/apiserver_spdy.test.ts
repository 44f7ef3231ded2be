/** SPDY frames: the bytes of a Go client however they are cut, and what no client should send. */
import { createDeflate, constants as zlib } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  dataFrame,
  FrameReader,
  HeaderReader,
  headerDictionary,
  pingFrame,
  ReplyWriter,
  resetFrame,
  type SpdyFrame,
} from '../../src/apiserver/streams/spdy_frames.ts'
import { isCode } from '../../src/base/errors.ts'

const number = (value: number): Buffer => {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32BE(value)
  return buffer
}
const text = (value: string): Buffer => Buffer.concat([number(value.length), Buffer.from(value)])

/** A client's half of the headers' zlib stream: a block and a flush for each call. */
function headerWriter() {
  const deflate = createDeflate({ dictionary: headerDictionary() })
  const write = (raw: Buffer): Promise<Buffer> =>
    new Promise((resolve) => {
      deflate.write(raw)
      deflate.flush(zlib.Z_SYNC_FLUSH, () => resolve(deflate.read() as Buffer))
    })
  return {
    raw: write,
    headers: (entries: Record<string, string>) =>
      write(
        Buffer.concat([
          number(Object.keys(entries).length),
          ...Object.entries(entries).flatMap(([k, v]) => [text(k), text(v)]),
        ]),
      ),
  }
}

/** What the first SYN_STREAM of a Go client looks like on the wire. */
const FROM_GO = Buffer.from(
  '80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff',
  'hex',
)

describe('frames', () => {
  it('are the same however the bytes are cut', () => {
    const bytes = Buffer.concat([FROM_GO, dataFrame(1, Buffer.from('hello'), true), pingFrame(7), resetFrame(1)])
    const whole = new FrameReader().push(bytes)
    expect(whole.map(({ type }) => type)).toEqual(['synStream', 'data', 'ping', 'reset'])
    expect(whole[1]).toMatchObject({ streamId: 1, fin: true, data: Buffer.from('hello') })
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: bytes.length })), (cuts) => {
        const reader = new FrameReader()
        const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length]
        const frames: SpdyFrame[] = edges
          .slice(1)
          .flatMap((edge, i) => reader.push(Buffer.from(bytes.subarray(edges[i], edge))))
        expect(frames).toEqual(whole)
      }),
    )
  })

  it('that are none are refused, never thrown out of bounds', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          new FrameReader().push(Buffer.from(bytes))
        } catch (error) {
          expect(isCode(error, 'invalid')).toBe(true)
        }
      }),
      { numRuns: 2000 },
    )
    const huge = Buffer.concat([number(1), number(0x00ffffff)])
    expect(() => new FrameReader().push(huge)).toThrow('a frame of 16777215 bytes')
    expect(() => new FrameReader().push(Buffer.concat([number(0x80020001), number(10), Buffer.alloc(10)]))).toThrow(
      'version 2',
    )
  })
})

describe('headers', () => {
  it('begin with the dictionary whose checksum the protocol names', () => {
    let [a, b] = [1, 0]
    for (const byte of headerDictionary()) {
      a = (a + byte) % 65_521
      b = (b + a) % 65_521
    }
    expect(headerDictionary()).toHaveLength(1423)
    expect((b * 65_536 + a) >>> 0).toBe(0xe3c6a7c2)
  })

  it('of a Go client are read, and those behind them in the same zlib stream', async () => {
    const [frame] = new FrameReader().push(FROM_GO)
    const block = frame?.type === 'synStream' ? frame.headerBlock : Buffer.alloc(0)
    expect([...(await new HeaderReader().read(block))]).toEqual([['streamtype', 'error']])
    const [writer, reader] = [headerWriter(), new HeaderReader()]
    for (const port of ['80', '81', '8080']) {
      const given = { streamType: 'data', port, requestID: '0' }
      const read = await reader.read(await writer.headers(given))
      expect([...read]).toEqual([
        ['streamtype', 'data'],
        ['port', port],
        ['requestid', '0'],
      ])
    }
  })

  it('of our answers are what a client inflates', async () => {
    const replies = new ReplyWriter()
    const reader = new HeaderReader()
    for (const id of [1, 3, 5]) {
      const [frame] = new FrameReader().push(replies.synReply(id))
      expect(frame).toMatchObject({ type: 'headers', streamId: id })
      expect([...(await reader.read(frame?.type === 'headers' ? frame.headerBlock : Buffer.alloc(0)))]).toEqual([])
    }
  })

  it('that lie or swell are refused', async () => {
    const bad: Buffer[] = [
      Buffer.concat([number(1), number(1000), Buffer.from('short')]),
      Buffer.concat([number(2), text('a'), text('b')]),
      Buffer.alloc(4 << 20),
    ]
    for (const raw of bad) {
      await expect(new HeaderReader().read(await headerWriter().raw(raw))).rejects.toMatchObject({ code: 'invalid' })
    }
    await expect(new HeaderReader().read(Buffer.from('no zlib at all'))).rejects.toMatchObject({ code: 'invalid' })
  })
})
