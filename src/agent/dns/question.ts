/**
 * Reads a question where it lies, without making anything: one reader serves all packets of a server, one after the
 * other. Its fields hold until the next `read`. Source: RFC 1035 §4.1, RFC 6891 §6.
 */
import { CLASS_ANY, CLASS_IN, MAX_NAME_BYTES, RCODE, readRecord, TYPE } from './wire.ts'

const HEADER_BYTES = 12
const MIN_UDP_BYTES = 512
/** What every path carries in one piece (DNS flag day 2020). */
export const MAX_UDP_BYTES = 1232
const MAX_ADDITIONAL = 8
/** As 32-bit integers: beyond them every step of the hash would be one on floating-point numbers. */
const FNV_OFFSET = 0x811c9dc5 | 0
const FNV_PRIME = 0x01000193
/** RFC 6895 §3.1: 128 to 255 are questions, not data; ANY alone is answered. */
const FIRST_META_TYPE = 128

export type Verdict = 'question' | 'ignore' | 'refuse'

export interface Question {
  /** Where the name's bytes end, the last zero included; type and class follow. */
  nameEnd: number
  type: number
  /** Of the name without regard to case, and of the type. */
  hash: number
  recursionDesired: boolean
  hasEdns: boolean
  /** What the client takes over UDP. */
  udpBytes: number
}

export class QuestionReader implements Question {
  nameEnd = 0
  type = 0
  hash = 0
  recursionDesired = false
  hasEdns = false
  udpBytes = MIN_UDP_BYTES
  /** Set with `refuse`. */
  rcode: number = RCODE.noError

  /** To be kept while other packets are read. */
  copy(): Question {
    const { nameEnd, type, hash, recursionDesired, hasEdns, udpBytes } = this
    return { nameEnd, type, hash, recursionDesired, hasEdns, udpBytes }
  }

  read(packet: Uint8Array): Verdict {
    const flags = packet[2]
    const rest = packet[3]
    // Too short for a header, or an answer: answering it could start a quarrel between two servers.
    if (flags === undefined || rest === undefined || packet.length < HEADER_BYTES || (flags & 0x80) !== 0) {
      return 'ignore'
    }
    this.recursionDesired = (flags & 1) !== 0
    this.hasEdns = false
    this.udpBytes = MIN_UDP_BYTES
    this.nameEnd = 0
    if ((flags & 0x78) !== 0) return this.#refuse(RCODE.notImp)
    const isPlain = packet[4] === 0 && packet[5] === 1 && packet[6] === 0 && packet[7] === 0
    if (!isPlain || packet[8] !== 0 || packet[9] !== 0 || packet[10] !== 0) return this.#refuse(RCODE.formErr)
    this.rcode = RCODE.formErr
    if (!this.#readName(packet)) return 'refuse'
    const additional = packet[11] ?? 0
    if (additional > 0 && !this.#readAdditional(packet, additional)) return 'refuse'
    return 'question'
  }

  #refuse(rcode: number): 'refuse' {
    this.rcode = rcode
    return 'refuse'
  }

  /** FNV-1a while walking; the mask turns letters to lower case and leaves digits, dashes and lengths alone. */
  #readName(packet: Uint8Array): boolean {
    let at = HEADER_BYTES
    let hash = FNV_OFFSET
    for (;;) {
      const length = packet[at]
      if (length === undefined || length > 63) return false
      hash = Math.imul(hash ^ length, FNV_PRIME)
      at++
      if (length === 0) break
      const end = at + length
      if (end >= packet.length || end - HEADER_BYTES >= MAX_NAME_BYTES) return false
      for (; at < end; at++) {
        const byte = packet[at] ?? 0
        hash = Math.imul(hash ^ (byte >= 65 && byte <= 90 ? byte | 32 : byte), FNV_PRIME)
      }
    }
    if (at + 4 > packet.length) return false
    const type = ((packet[at] ?? 0) << 8) | (packet[at + 1] ?? 0)
    const klass = ((packet[at + 2] ?? 0) << 8) | (packet[at + 3] ?? 0)
    this.nameEnd = at
    this.type = type
    this.hash = Math.imul(hash ^ type, FNV_PRIME)
    // Chaos, Hesiod, zone transfers and other questions about questions are none of ours.
    this.rcode = RCODE.refused
    return (klass === CLASS_IN || klass === CLASS_ANY) && (type < FIRST_META_TYPE || type >= TYPE.ANY)
  }

  #readAdditional(packet: Uint8Array, count: number): boolean {
    this.rcode = RCODE.formErr
    let at = this.nameEnd + 4
    if (count === 1 && packet[at] === 0 && packet[at + 1] === 0 && packet[at + 2] === TYPE.OPT) {
      if (at + 11 + (((packet[at + 9] ?? 0) << 8) | (packet[at + 10] ?? 0)) > packet.length) return false
      return this.#takeOptions(((packet[at + 3] ?? 0) << 8) | (packet[at + 4] ?? 0), packet[at + 6] ?? 0)
    }
    if (count > MAX_ADDITIONAL) return false
    for (let i = 0; i < count; i++) {
      const read = readRecord(packet, at)
      if (read === undefined) return false
      at = read.end
      const { record } = read
      if (record.type !== TYPE.OPT) continue
      if (this.hasEdns || record.name !== '') return false
      if (!this.#takeOptions(record.class, packet[at - record.data.length - 5] ?? 0)) return false
    }
    return true
  }

  #takeOptions(udpBytes: number, version: number): boolean {
    this.hasEdns = true
    this.udpBytes = Math.min(MAX_UDP_BYTES, Math.max(MIN_UDP_BYTES, udpBytes))
    this.rcode = RCODE.badVers
    return version === 0
  }
}
