/** From a packet to the packet that answers it. Knows nothing of sockets. */
import { absence, aged } from './answer.ts'
import type { QuestionCounts } from './metrics.ts'
import { type Question, QuestionReader } from './question.ts'
import { composeAnswer, composeRefusal, HEADER_BYTES, serverFailure } from './reply.ts'
import { ReplyTable, type Resolution } from './reply_table.ts'
import type { Resolver } from './resolver.ts'
import { RCODE, readName } from './wire.ts'

export interface ResponderOptions {
  resolver: Resolver
  counts: QuestionCounts
  maxReplies: number
  nowMs(): number
  /** Whether names that search lists made are completed. */
  complete: boolean
}

export type Transport = 'udp' | 'tcp'

const MAX_TCP_BYTES = 65_535

export class Responder {
  readonly #options: ResponderOptions
  readonly #reader = new QuestionReader()
  readonly #replies: ReplyTable

  constructor(options: ResponderOptions) {
    this.#options = options
    this.#replies = new ReplyTable(options.maxReplies, options.nowMs)
  }

  get remembered(): number {
    return this.#replies.size
  }

  /** The service table has changed. */
  forget(): void {
    this.#replies.generation++
  }

  /** The answer, or its promise when somebody else must be asked; undefined for what deserves none. */
  respond(packet: Uint8Array, transport: Transport): Buffer | Promise<Buffer> | undefined {
    const { counts } = this.#options
    const verdict = this.#reader.read(packet)
    if (verdict !== 'question') {
      counts.refused++
      return verdict === 'ignore' ? undefined : composeRefusal(packet, this.#reader.rcode)
    }
    const limitBytes = transport === 'tcp' ? MAX_TCP_BYTES : this.#reader.udpBytes
    const known = this.#replies.find(packet, this.#reader, limitBytes)
    if (known !== undefined) {
      counts.known++
      return known
    }
    counts.resolved++
    return this.#resolve(packet, this.#reader.copy(), limitBytes)
  }

  #resolve(packet: Uint8Array, question: Question, limitBytes: number): Buffer | Promise<Buffer> {
    const read = readName(packet, HEADER_BYTES)
    if (read === undefined) return composeRefusal(packet, RCODE.formErr)
    const { resolver, complete, nowMs } = this.#options
    const generation = this.#replies.generation
    const finish = (resolution: Resolution): Buffer => {
      this.#replies.store(packet, question, { resolution, questionName: read.name, generation })
      const answer = aged(resolution.answer, Math.floor((nowMs() - resolution.storedMs) / 1000))
      return composeAnswer(packet, question, { answer, questionName: read.name, limitBytes })
    }
    const resolution = resolver.resolve(read.name, question.type, complete)
    if (!(resolution instanceof Promise)) return finish(resolution)
    return resolution.then(finish, () => serverFailure(packet))
  }

  /** To somebody whom this server does not serve. */
  refuse(packet: Uint8Array): Buffer | undefined {
    this.#options.counts.refused++
    const verdict = this.#reader.read(packet)
    if (verdict === 'ignore') return undefined
    const answer = { ...absence(RCODE.refused, undefined) }
    if (verdict === 'refuse') return composeRefusal(packet, RCODE.refused)
    const questionName = readName(packet, HEADER_BYTES)?.name ?? ''
    return composeAnswer(packet, this.#reader, { answer, questionName, limitBytes: MAX_TCP_BYTES })
  }
}
