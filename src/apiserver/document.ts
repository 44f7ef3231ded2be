/**
 * Answers that are the same for everybody until the server ends: discovery and OpenAPI. Each is revalidated by its ETag
 * and compressed once, when the first client takes it so; a client that asks again costs neither encoding nor gzip.
 */
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Exchange, Headers } from './exchange.ts'
import { takesGzip } from './list_body.ts'

const compress = promisify(gzip)
/** Smaller ones fit in a packet or two as they are. */
const GZIP_FROM_BYTES = 1 << 10

export interface Document {
  body: Buffer
  etag: string
  packed: Promise<Buffer> | undefined
}

export function createDocument(body: Buffer): Document {
  return { body, etag: `"${createHash('sha256').update(body).digest('hex').toUpperCase()}"`, packed: undefined }
}

export function jsonDocument(value: unknown): Document {
  return createDocument(Buffer.from(JSON.stringify(value)))
}

export async function sendDocument(
  exchange: Exchange,
  document: Document,
  contentType: string,
  headers: Headers = {},
): Promise<void> {
  const { body, etag } = document
  const known = exchange.headers['if-none-match']?.split(',').map((tag) => tag.trim())
  const cached = { etag, vary: 'Accept, Accept-Encoding', ...headers }
  if (known?.includes(etag) === true) {
    exchange.begin(304, contentType, cached)
    exchange.end()
    return
  }
  if (body.length < GZIP_FROM_BYTES || !takesGzip(exchange.headers['accept-encoding'])) {
    exchange.send(200, body, contentType, cached)
    return
  }
  document.packed ??= compress(body)
  exchange.send(200, await document.packed, contentType, { ...cached, 'content-encoding': 'gzip' })
}
