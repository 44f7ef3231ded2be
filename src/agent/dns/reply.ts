/** Whole packets of answers: the header and question as they were asked, the sections, our own OPT record. Pure. */
import { type Answer, type EncodedSections, encodeSections } from './answer.ts'
import { MAX_UDP_BYTES, type Question } from './question.ts'
import { RCODE, TYPE } from './wire.ts'

export const HEADER_BYTES = 12
const CLASS_AND_TYPE_BYTES = 4

const FLAG = { answer: 0x80, authoritative: 0x04, truncated: 0x02, recursionDesired: 0x01, recursionAvailable: 0x80 }

/** The root's name, the size that we take, no options. */
const OPT_RECORD = Uint8Array.from([0, 0, TYPE.OPT, MAX_UDP_BYTES >> 8, MAX_UDP_BYTES & 0xff, 0, 0, 0, 0, 0, 0])
const OPT_EXTENDED_RCODE = 5
export const OPT_BYTES = OPT_RECORD.length

export interface Sections extends EncodedSections {
  rcode: number
  authoritative: boolean
}

type Shape = Pick<Question, 'nameEnd' | 'hasEdns'>

/** The question is echoed byte by byte, so that the case of its letters stays (DNS 0x20). */
export function composeReply(packet: Uint8Array, question: Shape, sections: Sections): Buffer {
  const { bytes, counts, rcode, authoritative, truncated } = sections
  const end = question.nameEnd + CLASS_AND_TYPE_BYTES
  const reply = Buffer.allocUnsafe(end + bytes.length + (question.hasEdns ? OPT_BYTES : 0))
  for (let i = 0; i < end; i++) reply[i] = packet[i] ?? 0
  const flags = FLAG.answer | (authoritative ? FLAG.authoritative : 0) | (truncated ? FLAG.truncated : 0)
  reply[2] = flags | ((packet[2] ?? 0) & FLAG.recursionDesired)
  reply[3] = FLAG.recursionAvailable | rcode
  const additional = counts.additional + (question.hasEdns ? 1 : 0)
  reply[6] = counts.answers >> 8
  reply[7] = counts.answers & 0xff
  reply[8] = counts.authority >> 8
  reply[9] = counts.authority & 0xff
  reply[10] = additional >> 8
  reply[11] = additional & 0xff
  reply.set(bytes, end)
  if (question.hasEdns) reply.set(OPT_RECORD, end + bytes.length)
  return reply
}

/** A reply that was made before, to somebody who asks the same now. `isExact`: in the same letters, too. */
export function composeFrom(known: Uint8Array, packet: Uint8Array, question: Shape, isExact: boolean): Buffer {
  const size = known.length
  const reply = Buffer.allocUnsafe(question.hasEdns ? size + OPT_BYTES : size)
  reply.set(known)
  reply[0] = packet[0] ?? 0
  reply[1] = packet[1] ?? 0
  reply[2] = (known[2] ?? 0) | ((packet[2] ?? 0) & FLAG.recursionDesired)
  if (!isExact) for (let i = HEADER_BYTES; i < question.nameEnd; i++) reply[i] = packet[i] ?? 0
  // In class ANY, too, the question stands as it was asked.
  reply[question.nameEnd + 3] = packet[question.nameEnd + 3] ?? 0
  if (question.hasEdns) {
    const additional = (((known[10] ?? 0) << 8) | (known[11] ?? 0)) + 1
    reply[10] = additional >> 8
    reply[11] = additional & 0xff
    reply.set(OPT_RECORD, size)
  }
  return reply
}

/** The answer with as many records as fit. */
export function composeAnswer(
  packet: Uint8Array,
  question: Question,
  made: { answer: Answer; questionName: string; limitBytes: number },
): Buffer {
  const { answer, questionName, limitBytes } = made
  const taken = question.nameEnd + CLASS_AND_TYPE_BYTES + (question.hasEdns ? OPT_BYTES : 0)
  const encoded = encodeSections(answer, { questionName, limitBytes: limitBytes - taken })
  return composeReply(packet, question, { ...encoded, rcode: answer.rcode, authoritative: answer.authoritative })
}

/** To a question that is not to be read to its end: its header alone. */
export function composeRefusal(packet: Uint8Array, rcode: number): Buffer {
  const isExtended = rcode > 15
  const reply = Buffer.alloc(HEADER_BYTES + (isExtended ? OPT_RECORD.length : 0))
  for (let i = 0; i < 3; i++) reply[i] = packet[i] ?? 0
  reply[2] = FLAG.answer | ((packet[2] ?? 0) & (0x78 | FLAG.recursionDesired))
  reply[3] = FLAG.recursionAvailable | (rcode & 15)
  if (isExtended) {
    reply[11] = 1
    reply.set(OPT_RECORD, HEADER_BYTES)
    reply[HEADER_BYTES + OPT_EXTENDED_RCODE] = rcode >> 4
  }
  return reply
}

export function serverFailure(packet: Uint8Array): Buffer {
  return composeRefusal(packet, RCODE.servFail)
}
