/**
 * Answers as bytes, by question: the path of nearly every packet. A hit costs one walk over the name, one map look-up
 * and one copy; nothing is parsed into objects. Bounded: the oldest reply makes room for a new one.
 *
 * Replies are stamped with the service table's generation, not tied to names: a reply can hang on names that do not
 * exist yet (a completed search path), and making one anew costs microseconds.
 */
import { type Answer, aged, encodeSections } from './answer.ts'
import type { Question } from './question.ts'
import { composeFrom, composeReply, HEADER_BYTES, OPT_BYTES } from './reply.ts'
import { TYPE } from './wire.ts'

export interface Resolution {
  answer: Answer
  /** When the TTLs were as they stand in `answer`, on the monotonic clock. */
  storedMs: number
  /** Infinity for what changes with the service table alone. */
  expiresMs: number
}

export interface Remembered {
  resolution: Resolution
  questionName: string
  /** The service table's when the resolution began. */
  generation: number
}

/** What a hit touches stands in this object and in one array: following pointers through memory is what costs. */
interface Reply extends Remembered {
  type: number
  /** A whole reply to the question in lower case, with id 0 and without EDNS. */
  packet: Uint8Array
  nameEnd: number
  expiresMs: number
  isTruncated: boolean
  /** The same answer, beginning with another of several addresses each; empty when there is but one order. */
  turns: readonly Uint8Array[]
  turn: number
  /** Whole seconds since `storedMs` that the TTLs in `packet` have counted down. */
  agedSeconds: number
  next: Reply | undefined
}

/** The sections of an answer must leave room for header and question in 64 KiB. */
const MAX_SECTION_BYTES = 65_000
const MAX_TURNS = 8

/** Clients take the first address: it takes turns. Only where the order has no other meaning. */
function countTurns({ answers }: Answer): number {
  const [first] = answers
  const isAddress = first?.type === TYPE.A || first?.type === TYPE.AAAA
  const alike = isAddress && answers.every(({ type, name }) => type === first.type && name === first.name)
  return alike ? Math.min(MAX_TURNS, answers.length) : 1
}

function encode(question: Uint8Array, reply: Remembered & { nameEnd: number }, seconds: number) {
  const answer = aged(reply.resolution.answer, seconds)
  const { rcode, authoritative } = answer
  const shape = { nameEnd: reply.nameEnd, hasEdns: false }
  const count = countTurns(answer)
  let isTruncated = false
  const turns = Array.from({ length: count }, (_, turn) => {
    const first = Math.floor((turn * answer.answers.length) / count)
    const limitBytes = MAX_SECTION_BYTES
    const encoded = encodeSections(answer, { questionName: reply.questionName, limitBytes, first })
    isTruncated ||= encoded.truncated
    return composeReply(question, shape, { ...encoded, rcode, authoritative })
  })
  return { packet: turns[0] ?? question, turns: count > 1 ? turns : [], turn: 0, isTruncated, agedSeconds: seconds }
}

/** Whether the name in the packet is the reply's, whatever the case of its letters; 2 when it is so byte for byte. */
function matchName(packet: Uint8Array, nameEnd: number, reply: Reply): 0 | 1 | 2 {
  if (nameEnd !== reply.nameEnd) return 0
  const known = reply.packet
  let match: 1 | 2 = 2
  for (let i = HEADER_BYTES; i < nameEnd; i++) {
    const byte = packet[i] ?? 0
    if (byte === known[i]) continue
    if (byte < 65 || byte > 90 || (byte | 32) !== known[i]) return 0
    match = 1
  }
  return match
}

export class ReplyTable {
  /** Bumped when the service table changes: every older reply is made anew. */
  generation = 0
  readonly #replies = new Map<number, Reply>()
  readonly #maxReplies: number
  readonly #nowMs: () => number

  constructor(maxReplies: number, nowMs: () => number) {
    this.#maxReplies = maxReplies
    this.#nowMs = nowMs
  }

  get size(): number {
    return this.#replies.size
  }

  /** The reply if it is known and fits into `limitBytes`. */
  find(packet: Uint8Array, question: Question, limitBytes: number): Buffer | undefined {
    let reply = this.#replies.get(question.hash)
    while (reply !== undefined) {
      const match = reply.type === question.type ? matchName(packet, question.nameEnd, reply) : 0
      if (match !== 0) return this.#take(reply, packet, { question, limitBytes, isExact: match === 2 })
      reply = reply.next
    }
    return undefined
  }

  #take(
    reply: Reply,
    packet: Uint8Array,
    asked: { question: Question; limitBytes: number; isExact: boolean },
  ): Buffer | undefined {
    const { question, limitBytes, isExact } = asked
    if (reply.generation !== this.generation || reply.isTruncated) return undefined
    if (reply.expiresMs !== Number.POSITIVE_INFINITY && !this.#refresh(reply)) return undefined
    const size = reply.packet.length + (question.hasEdns ? OPT_BYTES : 0)
    if (size > limitBytes) return undefined
    const composed = composeFrom(reply.packet, packet, question, isExact)
    if (reply.turns.length > 0) {
      reply.turn = reply.turn + 1 < reply.turns.length ? reply.turn + 1 : 0
      reply.packet = reply.turns[reply.turn] ?? reply.packet
    }
    return composed
  }

  /** Keeps the resolution as bytes for the next who ask, if it may be kept. */
  store(packet: Uint8Array, { hash, type, nameEnd }: Question, remembered: Remembered): void {
    const { resolution, generation } = remembered
    if (resolution.expiresMs <= this.#nowMs() || generation !== this.generation) return
    const known = this.#replies.get(hash)
    if (known === undefined && this.#replies.size >= this.#maxReplies) {
      const oldest = this.#replies.keys().next()
      if (!oldest.done) this.#replies.delete(oldest.value)
    }
    const question = Uint8Array.from(packet.subarray(0, nameEnd + 4))
    question.fill(0, 0, HEADER_BYTES)
    question[5] = 1
    for (let i = HEADER_BYTES; i < nameEnd; i++) {
      const byte = question[i] ?? 0
      if (byte >= 65 && byte <= 90) question[i] = byte | 32
    }
    const isOther = known !== undefined && !(known.type === type && matchName(question, nameEnd, known) !== 0)
    this.#replies.set(hash, {
      ...remembered,
      ...encode(question, { ...remembered, nameEnd }, 0),
      type,
      nameEnd,
      expiresMs: resolution.expiresMs,
      // Two questions of one hash are rare; of more, the oldest goes.
      next: isOther ? { ...known, next: undefined } : undefined,
    })
  }

  /** TTLs count down once a second. False when the reply has expired. */
  #refresh(reply: Reply): boolean {
    const nowMs = this.#nowMs()
    if (nowMs >= reply.expiresMs) return false
    const seconds = Math.floor((nowMs - reply.resolution.storedMs) / 1000)
    if (seconds > reply.agedSeconds) {
      Object.assign(reply, encode(reply.packet.subarray(0, reply.nameEnd + 4), reply, seconds))
    }
    return true
  }
}
