/** Questions to other servers, and their answers. Pure. Source: RFC 1035 §4, RFC 5452 (what a true answer must match). */
import type { Answer } from './answer.ts'
import { MAX_UDP_BYTES } from './question.ts'
import { CLASS_IN, nameBytes, RCODE, type ResourceRecord, readName, readRecord, TYPE } from './wire.ts'

export interface Query {
  id: number
  name: string
  type: number
}

const HEADER_BYTES = 12
const MAX_RECORDS = 2_000

export function queryBytes({ id, name, type }: Query, withEdns: boolean): Buffer | undefined {
  const written = nameBytes(name)
  if (written === undefined) return undefined
  const header = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, withEdns ? 1 : 0])
  const tail = Buffer.from([type >> 8, type & 0xff, 0, CLASS_IN])
  const options = [0, 0, TYPE.OPT, MAX_UDP_BYTES >> 8, MAX_UDP_BYTES & 0xff, 0, 0, 0, 0, 0, 0]
  return Buffer.concat([header, written, tail, Buffer.from(withEdns ? options : [])])
}

export interface Response {
  answer: Answer
  truncated: boolean
}

/** Undefined when the packet is no whole answer to this query: it is then as if it had never come. */
export function parseResponse(packet: Uint8Array, { id, name, type }: Query): Response | undefined {
  if (packet.length < HEADER_BYTES) return undefined
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length)
  const flags = view.getUint16(2)
  if (view.getUint16(0) !== id || (flags & 0x8000) === 0 || (flags & 0x7800) !== 0) return undefined
  const rcode = flags & 15
  const questions = view.getUint16(4)
  const isError = rcode !== RCODE.noError && rcode !== RCODE.nxDomain
  const none: Answer = { rcode, authoritative: false, answers: [], authority: [], additional: [] }
  // Servers that cannot read a question may not repeat it.
  if (questions === 0 && isError) return { answer: none, truncated: false }
  const question = readName(packet, HEADER_BYTES)
  if (questions !== 1 || question === undefined || question.name !== name) return undefined
  if (question.end + 4 > packet.length || view.getUint16(question.end) !== type) return undefined
  const truncated = (flags & 0x0200) !== 0
  if (truncated || isError) return { answer: none, truncated }
  const answers = readSection(packet, question.end + 4, view.getUint16(6))
  const authority = answers && readSection(packet, answers.end, view.getUint16(8))
  if (answers === undefined || authority === undefined) return undefined
  const chain = chainOf(name, answers.records)
  const soa = authority.records.filter((record) => record.type === TYPE.SOA)
  return { answer: { ...none, answers: chain, authority: soa }, truncated }
}

function readSection(
  packet: Uint8Array,
  offset: number,
  count: number,
): { records: ResourceRecord[]; end: number } | undefined {
  if (count > MAX_RECORDS) return undefined
  const records: ResourceRecord[] = []
  let end = offset
  for (let i = 0; i < count; i++) {
    const read = readRecord(packet, end)
    if (read === undefined) return undefined
    end = read.end
    if (read.record.class === CLASS_IN && read.record.type !== TYPE.OPT) records.push(read.record)
  }
  return { records, end }
}

/** Aliases from the name on, and the records at their end: nothing that was not asked for. */
function chainOf(name: string, records: readonly ResourceRecord[]): ResourceRecord[] {
  const names = new Set([name])
  let grown = true
  while (grown) {
    grown = false
    for (const record of records) {
      if (record.type !== TYPE.CNAME || !names.has(record.name)) continue
      const target = readName(record.data, 0)?.name
      if (target === undefined || names.has(target)) continue
      names.add(target)
      grown = true
    }
  }
  return records.filter((record) => names.has(record.name))
}
