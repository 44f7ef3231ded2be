/**
 * Large answers: items go out in portions, each encoded when its turn has come, so that a list of everything neither
 * stands in memory twice nor keeps other requests from their turn; compressed when the client asks for it.
 */
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGzip, gzip } from 'node:zlib'
import type { Exchange, Headers } from './exchange.ts'

const gzipOnce = promisify(gzip)

/** What leaves in one write. */
const PORTION_BYTES = 256 << 10
/** Below this, compressing costs more time than it saves; Kubernetes' bound. */
const GZIP_FROM_BYTES = 128 << 10
/** For the network of a cluster the fastest level; a list shrinks tenfold with it. */
const GZIP_LEVEL = 1
const COMMA = Buffer.from(',')

export function takesGzip(header: string | string[] | undefined): boolean {
  return String(header ?? '')
    .split(',')
    .some((coding) => /^\s*(gzip|\*)\s*(;\s*q=(1|0\.0*[1-9])[\d.]*\s*)?$/i.test(coding))
}

/** `{…head,"items":[a,b]}` without encoding anything twice. */
export async function sendList(exchange: Exchange, head: string, items: Iterable<Buffer>): Promise<void> {
  const portions = portionsOf(`${head.slice(0, -1)},"items":[`, items)
  const first = portions.next()
  const second = first.done === true ? first : portions.next()
  const start = first.done === true ? Buffer.alloc(0) : first.value
  if (second.done === true) {
    await sendWhole(exchange, 200, start)
    return
  }
  await sendPortions(exchange, join(start, second, portions))
}

/** An answer that is at hand as a whole: compressed beside the event loop when it is large and the client takes that. */
export async function sendWhole(exchange: Exchange, status: number, body: Buffer): Promise<void> {
  if (body.length < GZIP_FROM_BYTES) {
    exchange.send(status, body, 'application/json')
    return
  }
  const compress = takesGzip(exchange.headers['accept-encoding'])
  const bytes = compress ? await gzipOnce(body, { level: GZIP_LEVEL }) : body
  exchange.send(status, bytes, 'application/json', encodingHeaders(compress))
}

export function encodingHeaders(compress: boolean): Headers {
  return { vary: 'Accept-Encoding', ...(compress ? { 'content-encoding': 'gzip' } : {}) }
}

function* join(first: Buffer, second: IteratorResult<Buffer, void>, rest: Iterable<Buffer>): Generator<Buffer, void> {
  yield first
  if (second.done !== true) yield second.value
  yield* rest
}

function* portionsOf(head: string, items: Iterable<Buffer>): Generator<Buffer, void> {
  let parts: Buffer[] = [Buffer.from(head)]
  let bytes = 0
  let isFirst = true
  for (const item of items) {
    if (!isFirst) parts.push(COMMA)
    isFirst = false
    parts.push(item)
    bytes += item.length
    if (bytes < PORTION_BYTES) continue
    yield Buffer.concat(parts)
    parts = []
    bytes = 0
  }
  parts.push(Buffer.from(']}\n'))
  yield Buffer.concat(parts)
}

async function sendPortions(exchange: Exchange, portions: Iterable<Buffer>): Promise<void> {
  const compress = takesGzip(exchange.headers['accept-encoding'])
  exchange.begin(200, 'application/json', encodingHeaders(compress))
  if (exchange.method !== 'HEAD') {
    const out = compress ? Readable.from(portions).pipe(createGzip({ level: GZIP_LEVEL })) : portions
    for await (const chunk of out) await exchange.write(chunk as Buffer)
  }
  exchange.end()
}
