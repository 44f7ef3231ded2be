/**
 * Names and records as bytes. Pure. A name in memory is text in lower case without the last dot; a byte that is no
 * letter, digit, `-` or `_` is written `\DDD` (RFC 1035 §5.1), so that every name has one text and every text one name.
 * Whatever does not hold is `undefined`, never an exception: packets are hostile input.
 */

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  DNSKEY: 48,
  AXFR: 252,
  ANY: 255,
} as const

export const CLASS_IN = 1
export const CLASS_ANY = 255

export const RCODE = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5, badVers: 16 } as const

/** RFC 1035 §2.3.4. */
export const MAX_NAME_BYTES = 255
const MAX_LABEL_BYTES = 63
const MAX_POINTERS = 64

export interface ResourceRecord {
  name: string
  type: number
  class: number
  ttlSeconds: number
  /** With names inside written out in full. */
  data: Uint8Array
}

function isPlain(byte: number): boolean {
  return (
    (byte >= 97 && byte <= 122) ||
    (byte >= 65 && byte <= 90) ||
    (byte >= 48 && byte <= 57) ||
    byte === 45 ||
    byte === 95
  )
}

function labelText(bytes: Uint8Array, start: number, end: number): string {
  let text = ''
  for (let i = start; i < end; i++) {
    const byte = bytes[i] ?? 0
    text += isPlain(byte) ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, '0')}`
  }
  return text.toLowerCase()
}

/** The name at `offset` and where it ends; follows compression pointers, which must point backwards. */
export function readName(bytes: Uint8Array, offset: number): { name: string; end: number } | undefined {
  const labels: string[] = []
  let at = offset
  let end = -1
  let size = 1
  let pointers = 0
  let lowest = offset
  for (;;) {
    const length = bytes[at]
    if (length === undefined) return undefined
    if (length === 0) return { name: labels.join('.'), end: end < 0 ? at + 1 : end }
    if ((length & 0xc0) === 0xc0) {
      const low = bytes[at + 1]
      if (low === undefined || ++pointers > MAX_POINTERS) return undefined
      const target = ((length & 0x3f) << 8) | low
      if (target >= lowest) return undefined
      if (end < 0) end = at + 2
      at = target
      lowest = target
      continue
    }
    if (length > MAX_LABEL_BYTES) return undefined
    size += length + 1
    if (size > MAX_NAME_BYTES || at + 1 + length > bytes.length) return undefined
    labels.push(labelText(bytes, at + 1, at + 1 + length))
    at += length + 1
  }
}

function labelBytes(label: string): Uint8Array | undefined {
  const bytes: number[] = []
  for (let i = 0; i < label.length; i++) {
    const code = label.charCodeAt(i)
    if (code !== 92) {
      if (code > 255) return undefined
      bytes.push(code)
      continue
    }
    const digits = label.slice(i + 1, i + 4)
    if (!/^[0-9]{3}$/.test(digits) || Number(digits) > 255) return undefined
    bytes.push(Number(digits))
    i += 3
  }
  return bytes.length === 0 || bytes.length > MAX_LABEL_BYTES ? undefined : Uint8Array.from(bytes)
}

/** The name without compression; undefined when it is none. */
export function nameBytes(name: string): Uint8Array | undefined {
  if (name === '') return Uint8Array.of(0)
  const parts: Uint8Array[] = []
  let size = 1
  for (const label of name.split('.')) {
    const bytes = labelBytes(label)
    if (bytes === undefined) return undefined
    size += bytes.length + 1
    parts.push(Uint8Array.of(bytes.length), bytes)
  }
  if (size > MAX_NAME_BYTES) return undefined
  return Buffer.concat([...parts, Uint8Array.of(0)])
}

/** A name that users wrote: with or without the last dot, in any case. */
export function parseName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '')
  return nameBytes(name) === undefined ? undefined : name
}

/** Whether `name` is `zone` or below it. */
export function isWithin(name: string, zone: string): boolean {
  return zone === '' || name === zone || (name.endsWith(zone) && name[name.length - zone.length - 1] === '.')
}

/** Types whose data begins with names that other servers may have compressed (RFC 3597 §4): where, and how many. */
const COMPRESSED: Readonly<Record<number, { skip: number; names: number }>> = {
  [TYPE.NS]: { skip: 0, names: 1 },
  [TYPE.CNAME]: { skip: 0, names: 1 },
  [TYPE.PTR]: { skip: 0, names: 1 },
  [TYPE.DNAME]: { skip: 0, names: 1 },
  [TYPE.SOA]: { skip: 0, names: 2 },
  [TYPE.MX]: { skip: 2, names: 1 },
  [TYPE.SRV]: { skip: 6, names: 1 },
}

function readData(bytes: Uint8Array, type: number, start: number, end: number): Uint8Array | undefined {
  const form = COMPRESSED[type]
  // A copy: `slice` of a Buffer would keep the whole packet.
  if (form === undefined) return Uint8Array.from(bytes.subarray(start, end))
  const parts: Uint8Array[] = [bytes.subarray(start, start + form.skip)]
  let at = start + form.skip
  for (let i = 0; i < form.names; i++) {
    const read = at < end ? readName(bytes, at) : undefined
    const written = read === undefined ? undefined : nameBytes(read.name)
    if (read === undefined || written === undefined || read.end > end) return undefined
    parts.push(written)
    at = read.end
  }
  return Buffer.concat([...parts, bytes.subarray(at, end)])
}

/** The record at `offset` and where it ends. */
export function readRecord(bytes: Uint8Array, offset: number): { record: ResourceRecord; end: number } | undefined {
  const read = readName(bytes, offset)
  if (read === undefined || read.end + 10 > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const start = read.end + 10
  const end = start + view.getUint16(read.end + 8)
  if (end > bytes.length) return undefined
  const type = view.getUint16(read.end)
  const data = readData(bytes, type, start, end)
  if (data === undefined) return undefined
  // RFC 2181 §8: a TTL with its highest bit set counts as zero.
  const ttl = view.getUint32(read.end + 4)
  const ttlSeconds = ttl > 0x7fffffff ? 0 : ttl
  return { record: { name: read.name, type, class: view.getUint16(read.end + 2), ttlSeconds, data }, end }
}
