/**
 * Addresses and ranges. An address is a family and a bigint, so that IPv6 needs no second set of functions.
 * Source: RFC 4632 (CIDR), RFC 4291 §2.2 and RFC 5952 (IPv6 text).
 */
import { isIPv4, isIPv6 } from 'node:net'
import { DroverError } from './errors.ts'

export interface Address {
  family: 4 | 6
  value: bigint
}

export interface Cidr {
  family: 4 | 6
  /** The first address of the range. */
  base: bigint
  prefixLength: number
}

const BITS = { 4: 32, 6: 128 } as const

export function parseAddress(text: string): Address {
  if (isIPv4(text)) {
    let value = 0n
    for (const part of text.split('.')) value = (value << 8n) | BigInt(part)
    return { family: 4, value }
  }
  if (isIPv6(text) && !text.includes('%')) return { family: 6, value: parseIpv6(text) }
  throw new DroverError('invalid', `"${text}" is not an IP address`)
}

function parseIpv6(text: string): bigint {
  const [head = '', tail] = text.split('::')
  const groups = (part: string): bigint[] => {
    if (part === '') return []
    return part.split(':').flatMap((group) => {
      if (!group.includes('.')) return [BigInt(`0x${group}`)]
      const v4 = parseAddress(group).value
      return [v4 >> 16n, v4 & 0xffffn]
    })
  }
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const missing = 8 - left.length - right.length
  const all = [...left, ...Array<bigint>(missing).fill(0n), ...right]
  return all.reduce((value, group) => (value << 16n) | group, 0n)
}

export function formatAddress(address: Address): string {
  if (address.family === 4) {
    return [24n, 16n, 8n, 0n].map((shift) => String((address.value >> shift) & 0xffn)).join('.')
  }
  const groups: string[] = []
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(((address.value >> shift) & 0xffffn).toString(16))
  return compressIpv6(groups)
}

/** RFC 5952 §4.2: the longest run of two or more zero groups becomes `::`; the first wins a tie. */
function compressIpv6(groups: string[]): string {
  let best = { start: -1, length: 1 }
  for (let i = 0; i < groups.length; i++) {
    let length = 0
    while (groups[i + length] === '0') length++
    if (length > best.length) best = { start: i, length }
  }
  if (best.start < 0) return groups.join(':')
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`
}

export function parseCidr(text: string): Cidr {
  const [host = '', length = '', ...rest] = text.split('/')
  const address = parseAddress(host)
  const bits = BITS[address.family]
  const prefixLength = Number(length)
  if (rest.length > 0 || !/^\d{1,3}$/.test(length) || prefixLength > bits) {
    throw new DroverError('invalid', `"${text}" is not a CIDR range; write for example 10.244.0.0/16`)
  }
  const hostBits = BigInt(bits - prefixLength)
  return { family: address.family, base: (address.value >> hostBits) << hostBits, prefixLength }
}

export function formatCidr(cidr: Cidr): string {
  return `${formatAddress({ family: cidr.family, value: cidr.base })}/${cidr.prefixLength}`
}

/** How many addresses the range holds. */
export function cidrSize(cidr: Cidr): bigint {
  return 1n << BigInt(BITS[cidr.family] - cidr.prefixLength)
}

/** The address at `index` from the start of the range. Throws `invalid` past its end. */
export function cidrAddress(cidr: Cidr, index: bigint | number): Address {
  const offset = BigInt(index)
  if (offset < 0n || offset >= cidrSize(cidr)) {
    throw new DroverError('invalid', `${formatCidr(cidr)} has no address number ${offset}`)
  }
  return { family: cidr.family, value: cidr.base + offset }
}

export function cidrContains(cidr: Cidr, address: Address): boolean {
  return cidr.family === address.family && address.value >= cidr.base && address.value < cidr.base + cidrSize(cidr)
}

export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  if (a.family !== b.family) return false
  return a.base < b.base + cidrSize(b) && b.base < a.base + cidrSize(a)
}

/** The `index`-th range of `prefixLength` inside `cidr`, or undefined past the end. */
export function subnet(cidr: Cidr, prefixLength: number, index: number): Cidr | undefined {
  if (prefixLength < cidr.prefixLength || prefixLength > BITS[cidr.family]) return undefined
  const count = 1n << BigInt(prefixLength - cidr.prefixLength)
  if (BigInt(index) >= count) return undefined
  const size = 1n << BigInt(BITS[cidr.family] - prefixLength)
  return { family: cidr.family, base: cidr.base + BigInt(index) * size, prefixLength }
}
