/** Protobuf's wire format, as far as it is needed here. Source: protobuf.dev/programming-guides/encoding. */
import { DroverError } from '../base/errors.ts'

const VARINT = 0
const BYTES = 2

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest > 0x7f) {
    bytes.push((rest % 0x80) + 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}

export class ProtoWriter {
  readonly #chunks: Buffer[] = []
  #size = 0

  string(number: number, value: string): this {
    return this.bytes(number, Buffer.from(value))
  }

  message(number: number, value: ProtoWriter): this {
    this.#push(varint(number * 8 + BYTES), varint(value.#size))
    // Chunks are joined once, at the end.
    this.#push(...value.#chunks)
    return this
  }

  bytes(number: number, value: Buffer): this {
    this.#push(varint(number * 8 + BYTES), varint(value.length), value)
    return this
  }

  bool(number: number, value: boolean): this {
    this.#push(varint(number * 8 + VARINT), varint(value ? 1 : 0))
    return this
  }

  finish(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  #push(...chunks: Buffer[]): void {
    for (const chunk of chunks) {
      this.#chunks.push(chunk)
      this.#size += chunk.length
    }
  }
}

/** One field of a message: a number, or the bytes of what is nested in it. */
export type ProtoField = { number: number; value: bigint } | { number: number; bytes: Buffer }

/** Fields in order. Throws `invalid` for what is no protobuf. */
export function* readFields(message: Buffer): Generator<ProtoField> {
  let at = 0
  const readVarint = (): bigint => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at++]
      if (byte === undefined) break
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, value)
    }
    throw malformed()
  }
  while (at < message.length) {
    const key = Number(readVarint())
    const number = Math.floor(key / 8)
    const type = key % 8
    if (type === VARINT) {
      yield { number, value: readVarint() }
      continue
    }
    const size = type === BYTES ? Number(readVarint()) : type === 1 ? 8 : type === 5 ? 4 : undefined
    if (size === undefined || at + size > message.length) throw malformed()
    yield { number, bytes: message.subarray(at, at + size) }
    at += size
  }
}

function malformed(): DroverError {
  return new DroverError('invalid', 'the body is not valid protobuf')
}
