/**
 * Messages to the kernel over netlink, as bytes. Pure. They say what `ip` and `nft` would say, without a program that has to be
 * started for it: three programs of a pod's start are one process without a program (base/kernel_calls.ts).
 *
 * Only what happens for each pod is said so. All else stays with the programs, which can be repeated by hand by whoever looks
 * for a fault; and so does each of these when the kernel refuses it.
 *
 * Source: netlink(7), rtnetlink(7), the kernel's linux/netlink.h, if_link.h, rtnetlink.h and netfilter/nf_tables.h.
 */
import { endianness } from 'node:os'
import { parseAddress } from '../../base/cidr.ts'

/** Values are the processor's own way round. */
const LITTLE = endianness() === 'LE'
const HEADER_BYTES = 16

/** Flags of a message. Every one asks for an answer. */
export const ASK = { request: 0x1, answer: 0x4, exclusive: 0x200, create: 0x400 } as const
const NESTED = 0x8000

export function u8(value: number): Buffer {
  return Buffer.from([value])
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  if (LITTLE) bytes.writeUInt16LE(value)
  else bytes.writeUInt16BE(value)
  return bytes
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  if (LITTLE) bytes.writeUInt32LE(value)
  else bytes.writeUInt32BE(value)
  return bytes
}

/** With the NUL byte at its end. */
export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`)
}

/** Six bytes. */
export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex')
}

/** Four bytes, as on the wire. */
export function ipv4Bytes(address: string): Buffer {
  return Buffer.from(parseAddress(address).value.toString(16).padStart(8, '0'), 'hex')
}

export function attribute(type: number, value: Uint8Array): Buffer {
  const length = 4 + value.length
  return Buffer.concat([u16(length), u16(type), value, Buffer.alloc(-length & 3)])
}

export function nest(type: number, ...parts: readonly Uint8Array[]): Buffer {
  return attribute(type | NESTED, Buffer.concat(parts))
}

/** `parts`: the fixed structure, then attributes. */
export function message(type: number, flags: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const head = [u32(HEADER_BYTES + body.length), u16(type), u16(ASK.request | flags), u32(1), u32(0)]
  return Buffer.concat([...head, body])
}
