/** Questions and answers of DNS for tests: read by code of their own where the code under test is the writer. */

import { nameBytes, type ResourceRecord, readName, readRecord, TYPE } from '../../src/agent/dns/wire.ts'
import type { ClusterConfig, ServiceRow } from '../../src/rpc/tables.ts'

export const CONFIG: ClusterConfig = {
  clusterName: 'test',
  clusterCidr: '10.244.0.0/16',
  serviceCidr: '10.96.0.0/16',
  nodePortRange: { from: 30000, to: 32767 },
  clusterDomain: 'cluster.local',
}

export function row(name: string, given: Partial<ServiceRow> = {}): ServiceRow {
  return {
    namespace: 'default',
    name,
    clusterIP: '',
    externalIPs: [],
    sessionAffinitySeconds: 0,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ports: [],
    ...given,
  }
}

export function port(name: string, number: number, addresses: readonly string[] = []): ServiceRow['ports'][number] {
  const endpoints = addresses.map((address) => ({ address, port: number, ready: true }))
  return { name, protocol: 'TCP', port: number, nodePort: 0, endpoints }
}

/** A name as it stands in a packet; letters keep their case. */
function written(name: string): Buffer {
  const labels = name === '' ? [] : name.split('.')
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
    Buffer.from([0]),
  ])
}

export interface Asked {
  id?: number
  class?: number
  /** Size that the client takes, in an OPT record. */
  edns?: number
}

export function question(name: string, type: number, { id = 7, class: klass = 1, edns }: Asked = {}): Buffer {
  const header = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, edns === undefined ? 0 : 1])
  const opt = edns === undefined ? [] : [0, 0, TYPE.OPT, edns >> 8, edns & 255, 0, 0, 0, 0, 0, 0]
  return Buffer.concat([header, written(name), Buffer.from([type >> 8, type & 255, 0, klass]), Buffer.from(opt)])
}

export interface Reply {
  id: number
  rcode: number
  authoritative: boolean
  truncated: boolean
  /** The question's name, in the letters of the packet. */
  asked: string
  answers: ResourceRecord[]
  authority: ResourceRecord[]
  additional: ResourceRecord[]
}

/** Throws on a packet that is no whole reply. */
export function parseReply(packet: Uint8Array): Reply {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length)
  const flags = view.getUint16(2)
  if ((flags & 0x8000) === 0) throw new Error('not a reply')
  let at = 12
  let asked = ''
  if (view.getUint16(4) === 1) {
    const read = readName(packet, 12)
    if (read === undefined) throw new Error('no question')
    asked = Buffer.from(packet.subarray(13, read.end - 1))
      .toString('latin1')
      .replace(/[^\x21-\x7e]/g, '.')
    at = read.end + 4
  }
  const section = (count: number): ResourceRecord[] =>
    Array.from({ length: count }, () => {
      const read = readRecord(packet, at)
      if (read === undefined) throw new Error(`a record is cut off at ${at}`)
      at = read.end
      return read.record
    })
  const reply = {
    id: view.getUint16(0),
    rcode: flags & 15,
    authoritative: (flags & 0x400) !== 0,
    truncated: (flags & 0x200) !== 0,
    asked,
    answers: section(view.getUint16(6)),
    authority: section(view.getUint16(8)),
    additional: section(view.getUint16(10)),
  }
  if (at !== packet.length) throw new Error(`${packet.length - at} bytes too many`)
  return reply
}

const nameIn = (data: Uint8Array, offset: number): string => readName(data, offset)?.name ?? '?'

/** `NAME TYPE DATA`, as people write them. */
export function show({ name, type, data }: ResourceRecord): string {
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  if (type === TYPE.A) return `${name} A ${[...data].join('.')}`
  if (type === TYPE.AAAA) return `${name} AAAA ${Buffer.from(data).toString('hex')}`
  if (type === TYPE.CNAME) return `${name} CNAME ${nameIn(data, 0)}`
  if (type === TYPE.PTR) return `${name} PTR ${nameIn(data, 0)}`
  if (type === TYPE.NS) return `${name} NS ${nameIn(data, 0)}`
  if (type === TYPE.TXT) return `${name} TXT ${Buffer.from(data.subarray(1))}`
  if (type === TYPE.SOA) return `${name} SOA`
  if (type === TYPE.OPT) return 'OPT'
  if (type === TYPE.SRV) return `${name} SRV ${view.getUint16(2)} ${view.getUint16(4)} ${nameIn(data, 6)}`
  return `${name} TYPE${type}`
}

/** A reply of a server outside to what it was asked: header, question, A records. */
export function outsideReply(
  packet: Buffer,
  given: { addresses?: string[]; rcode?: number; ttl?: number; flags?: number },
) {
  const { addresses = [], rcode = 0, ttl = 60, flags = 0 } = given
  const read = readName(packet, 12)
  const end = (read?.end ?? 12) + 4
  const head = Buffer.from(packet.subarray(0, end))
  head.writeUInt16BE(0x8180 | rcode | flags, 2)
  head.writeUInt16BE(addresses.length, 6)
  head.writeUInt16BE(addresses.length === 0 ? 1 : 0, 8)
  head.writeUInt16BE(0, 10)
  const record = (type: number, data: Uint8Array): Buffer => {
    const fixed = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, data.length >> 8, data.length & 255])
    fixed.writeUInt32BE(ttl, 6)
    return Buffer.concat([fixed, data])
  }
  const soa = Buffer.concat([
    nameBytes('ns.x') ?? head,
    nameBytes('h.x') ?? head,
    Buffer.alloc(16),
    Buffer.from([0, 0, 0, 30]),
  ])
  const records =
    addresses.length === 0
      ? [record(TYPE.SOA, soa)]
      : addresses.map((address) => record(TYPE.A, Uint8Array.from(address.split('.').map(Number))))
  return Buffer.concat([head, ...records])
}
