/** Records by type. Pure. Source: RFC 1035 §3.3, RFC 3596, RFC 2782. */
import { type Address, formatAddress, parseAddress } from '../../base/cidr.ts'
import { assert } from '../../base/errors.ts'
import { CLASS_IN, nameBytes, type ResourceRecord, readName, TYPE } from './wire.ts'

/** Of everything that follows from the service table: short, for a pod must not stay with what is gone. */
export const CLUSTER_TTL_SECONDS = 5

function record(name: string, type: number, data: Uint8Array): ResourceRecord {
  return { name, type, class: CLASS_IN, ttlSeconds: CLUSTER_TTL_SECONDS, data }
}

function target(name: string): Uint8Array {
  const bytes = nameBytes(name)
  assert(bytes !== undefined, `${name} is a name`)
  return bytes
}

export function addressBytes({ family, value }: Address): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? 4 : 16)
  let rest = value
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  return bytes
}

export function addressRecord(name: string, address: Address): ResourceRecord {
  return record(name, address.family === 4 ? TYPE.A : TYPE.AAAA, addressBytes(address))
}

export function pointerRecord(name: string, to: string): ResourceRecord {
  return record(name, TYPE.PTR, target(to))
}

export function aliasRecord(name: string, to: string, ttlSeconds = CLUSTER_TTL_SECONDS): ResourceRecord {
  return { ...record(name, TYPE.CNAME, target(to)), ttlSeconds }
}

export function nameServerRecord(zone: string, server: string): ResourceRecord {
  return record(zone, TYPE.NS, target(server))
}

export function textRecord(name: string, text: string): ResourceRecord {
  const bytes = Buffer.from(text)
  return record(name, TYPE.TXT, Buffer.concat([Uint8Array.of(bytes.length), bytes]))
}

export function serviceRecord(name: string, to: string, { port, weight }: { port: number; weight: number }) {
  const head = new Uint8Array(6)
  const view = new DataView(head.buffer)
  view.setUint16(2, weight)
  view.setUint16(4, port)
  return record(name, TYPE.SRV, Buffer.concat([head, target(to)]))
}

export interface Authority {
  zone: string
  server: string
  mailbox: string
  serial: number
}

const REFRESH_SECONDS = 7_200
const RETRY_SECONDS = 1_800
const EXPIRE_SECONDS = 86_400

export function authorityRecord({ zone, server, mailbox, serial }: Authority): ResourceRecord {
  const numbers = new Uint8Array(20)
  const view = new DataView(numbers.buffer)
  const values = [serial, REFRESH_SECONDS, RETRY_SECONDS, EXPIRE_SECONDS, CLUSTER_TTL_SECONDS]
  for (const [index, value] of values.entries()) view.setUint32(index * 4, value >>> 0)
  return record(zone, TYPE.SOA, Buffer.concat([target(server), target(mailbox), numbers]))
}

/** Where a CNAME points. */
export function aliasTarget({ data }: ResourceRecord): string | undefined {
  return readName(data, 0)?.name
}

/** RFC 2308 §5: how long the absence may be remembered. */
export function negativeTtlSeconds(authority: readonly ResourceRecord[]): number | undefined {
  const soa = authority.find(({ type }) => type === TYPE.SOA)
  if (soa === undefined || soa.data.length < 20) return undefined
  const { data } = soa
  const minimum = new DataView(data.buffer, data.byteOffset, data.length).getUint32(data.length - 4)
  return Math.min(soa.ttlSeconds, minimum)
}

const V4_SUFFIX = '.in-addr.arpa'
const V6_SUFFIX = '.ip6.arpa'

/** RFC 1035 §3.5, RFC 3596 §2.5. */
export function reverseName(address: Address): string {
  const bytes = [...addressBytes(address)].reverse()
  if (address.family === 4) return `${bytes.join('.')}${V4_SUFFIX}`
  return `${bytes.map((byte) => `${(byte & 15).toString(16)}.${(byte >> 4).toString(16)}`).join('.')}${V6_SUFFIX}`
}

export interface ReversePart {
  family: 4 | 6
  /** The bits that the labels name, from the first, filled up with zeros. */
  base: bigint
  bits: number
}

/** What part of the addresses a name below in-addr.arpa or ip6.arpa stands for. */
export function parseReverse(name: string): ReversePart | undefined {
  const family = name.endsWith(V4_SUFFIX) ? 4 : name.endsWith(V6_SUFFIX) ? 6 : undefined
  if (family === undefined) return undefined
  const labels = name
    .slice(0, -(family === 4 ? V4_SUFFIX : V6_SUFFIX).length)
    .split('.')
    .reverse()
  const form = family === 4 ? /^(0|[1-9][0-9]{0,2})$/ : /^[0-9a-f]$/
  const [width, most, radix] = family === 4 ? [8, 4, 10] : [4, 32, 16]
  let base = 0n
  let count = 0
  // What stands before the address' own labels belongs to the address' zone.
  for (const label of labels.slice(0, most)) {
    const value = Number.parseInt(label, radix)
    if (!form.test(label) || value >= 2 ** width) break
    base = (base << BigInt(width)) | BigInt(value)
    count++
  }
  if (count === 0) return undefined
  return { family, base: base << BigInt(width * (most - count)), bits: width * count }
}

/** `10-244-1-3` and `fd00--3` as addresses. */
export function parseDashed(label: string): Address | undefined {
  const text = /^\d+-\d+-\d+-\d+$/.test(label) ? label.replaceAll('-', '.') : label.replaceAll('-', ':')
  try {
    const address = parseAddress(text)
    // One name an address: 010-1-2-3 and long forms of IPv6 are no names of it.
    return dashed(address) === label ? address : undefined
  } catch {
    return undefined
  }
}

export function dashed(address: Address): string {
  const text = formatAddress(address).replace(/[.:]/g, '-')
  // A label that ends with a dash is no host name (RFC 1123 §2.1).
  return text.startsWith('-') ? `0${text}` : text.endsWith('-') ? `${text}0` : text
}
