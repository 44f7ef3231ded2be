/** What is answered to one question, and its bytes. Pure. Source: RFC 1035 §4, RFC 2308, RFC 6891, RFC 8482. */
import { negativeTtlSeconds } from './records.ts'
import { nameBytes, RCODE, type ResourceRecord, readName, TYPE } from './wire.ts'
import type { Zone } from './zone.ts'

export interface Answer {
  rcode: number
  authoritative: boolean
  answers: readonly ResourceRecord[]
  authority: readonly ResourceRecord[]
  additional: readonly ResourceRecord[]
}

export function failure(rcode: number): Answer {
  return { rcode, authoritative: false, answers: [], authority: [], additional: [] }
}

/** Nothing of this type (`noError`), or no such name. The SOA says how long that may be remembered. */
export function absence(rcode: number, authority: ResourceRecord | undefined): Answer {
  const known = authority === undefined ? [] : [authority]
  return { rcode, authoritative: authority !== undefined, answers: [], authority: known, additional: [] }
}

/** The answer to a name that exists in the zone; aliases are not followed. */
export function zoneAnswer(zone: Zone, name: string, type: number, records: readonly ResourceRecord[]): Answer {
  // RFC 8482 §4.1: of ANY, one set of records is enough.
  const wanted = type === TYPE.ANY ? records[0]?.type : type
  const answers = records.filter((record) => record.type === wanted)
  if (answers.length === 0) return absence(RCODE.noError, zone.authorityOf(name))
  return { rcode: RCODE.noError, authoritative: true, answers, authority: [], additional: glue(zone, answers) }
}

/** Addresses of the targets, so that nobody needs a second question. */
function glue(zone: Zone, answers: readonly ResourceRecord[]): ResourceRecord[] {
  const found: ResourceRecord[] = []
  const seen = new Set<string>()
  for (const { type, data } of answers) {
    if (type !== TYPE.SRV && type !== TYPE.NS) continue
    const target = readName(data, type === TYPE.SRV ? 6 : 0)?.name
    if (target === undefined || seen.has(target) || zone.authorityOf(target) === undefined) continue
    seen.add(target)
    const records = zone.find(target) ?? []
    found.push(...records.filter((record) => record.type === TYPE.A || record.type === TYPE.AAAA))
  }
  return found
}

/** How long the answer may be given again. Zero: not at all. */
export function lifetimeSeconds({ rcode, answers, authority }: Answer): number {
  const ttls = answers.map(({ ttlSeconds }) => ttlSeconds)
  if (rcode === RCODE.noError && answers.some(({ type }) => type !== TYPE.CNAME)) return Math.min(...ttls)
  if (rcode !== RCODE.noError && rcode !== RCODE.nxDomain) return 0
  return Math.min(negativeTtlSeconds(authority) ?? 0, ...ttls)
}

/** The same answer some seconds later. */
export function aged(answer: Answer, seconds: number): Answer {
  if (seconds <= 0) return answer
  const older = (records: readonly ResourceRecord[]) =>
    records.map((record) => ({ ...record, ttlSeconds: Math.max(0, record.ttlSeconds - seconds) }))
  return {
    ...answer,
    answers: older(answer.answers),
    authority: older(answer.authority),
    additional: older(answer.additional),
  }
}

export interface EncodedSections {
  bytes: Buffer
  counts: { answers: number; authority: number; additional: number }
  truncated: boolean
}

export interface EncodeOptions {
  /** The question's name, which owners point back to. */
  questionName: string
  /** Bytes that may follow the question. */
  limitBytes: number
  /** Answers begin with this one: clients take the first, and take turns so. */
  first?: number
}

const HEADER_BYTES = 12
/** Compression pointers have 14 bits. */
const MAX_POINTER = 0x3fff

/**
 * The sections after the question. Whole records only: what does not fit of answers and authority is left out and
 * said (some resolvers never ask again over TCP and live on what they got); additional records are left out silently.
 */
export function encodeSections(
  answer: Answer,
  { questionName, limitBytes, first = 0 }: EncodeOptions,
): EncodedSections {
  const known = new Map<string, number>()
  noteSuffixes(known, questionName, HEADER_BYTES)
  const base = HEADER_BYTES + (nameBytes(questionName)?.length ?? 1) + 4
  const parts: Uint8Array[] = []
  let size = 0
  const write = (records: readonly ResourceRecord[]): number => {
    let count = 0
    for (const record of records) {
      const owner = ownerBytes(known, record.name)
      const length = owner.length + 10 + record.data.length
      if (size + length > limitBytes) break
      noteSuffixes(known, record.name, base + size)
      parts.push(owner, fixedBytes(record), record.data)
      size += length
      count++
    }
    return count
  }
  const { answers, authority, additional } = answer
  const rotated = first === 0 ? answers : [...answers.slice(first), ...answers.slice(0, first)]
  const counts = { answers: write(rotated), authority: 0, additional: 0 }
  let truncated = counts.answers < answers.length
  if (!truncated) {
    counts.authority = write(authority)
    truncated = counts.authority < authority.length
    if (!truncated) counts.additional = write(additional)
  }
  return { bytes: Buffer.concat(parts), counts, truncated }
}

function fixedBytes({ type, class: klass, ttlSeconds, data }: ResourceRecord): Uint8Array {
  const bytes = Buffer.allocUnsafe(10)
  bytes.writeUInt16BE(type, 0)
  bytes.writeUInt16BE(klass, 2)
  bytes.writeUInt32BE(ttlSeconds, 4)
  bytes.writeUInt16BE(data.length, 8)
  return bytes
}

/** Every label's start, as long as a pointer can reach it. Texts of names are shorter than their bytes by a known amount. */
function noteSuffixes(known: Map<string, number>, name: string, offset: number): void {
  let rest = name
  let at = offset
  while (rest !== '' && at <= MAX_POINTER) {
    // The first place is the whole name's; what stands there by pointer has been noted before.
    if (known.has(rest)) return
    known.set(rest, at)
    const dot = rest.indexOf('.')
    const label = dot < 0 ? rest : rest.slice(0, dot)
    at += (nameBytes(label)?.length ?? 2) - 1
    rest = dot < 0 ? '' : rest.slice(dot + 1)
  }
}

function ownerBytes(known: ReadonlyMap<string, number>, name: string): Uint8Array {
  const parts: Uint8Array[] = []
  let rest = name
  while (rest !== '') {
    const at = known.get(rest)
    if (at !== undefined) return Buffer.concat([...parts, Uint8Array.of(0xc0 | (at >> 8), at & 0xff)])
    const dot = rest.indexOf('.')
    const label = dot < 0 ? rest : rest.slice(0, dot)
    parts.push((nameBytes(label) ?? Uint8Array.of(0)).subarray(0, -1))
    rest = dot < 0 ? '' : rest.slice(dot + 1)
  }
  return Buffer.concat([...parts, Uint8Array.of(0)])
}
