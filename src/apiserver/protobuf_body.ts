/**
 * Request bodies in Kubernetes' protobuf: what `kubectl create` and typed Go clients send since 1.33. They are turned
 * into the JSON that the same client would have sent, by the table in protobuf_messages.ts. What the table does not know
 * is refused by name, never dropped: the same object sent as JSON is then judged by its schema.
 * Source: k8s.io/apimachinery/pkg/runtime `Unknown` (the envelope), gogo/protobuf (zero values are written out).
 */
import { timestamp } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { MAX_BODY_VALUES, tooManyValues } from './exchange.ts'
import { MESSAGE_ROWS } from './protobuf_messages.ts'
import { type ProtoField, readFields } from './protobuf_wire.ts'
import { unsupportedMediaType } from './status_error.ts'

export const KUBERNETES_PROTOBUF = 'application/vnd.kubernetes.protobuf'

const MAGIC = Buffer.from('k8s\0')
/** Deeper than any message in the table. */
const MAX_DEPTH = 32
/** What `Date` can hold. */
const MAX_EPOCH_SECONDS = 8.64e12
/** Server-side bookkeeping that no create needs; it may be left out. */
const SKIPPED = new Set(['managedFields'])

interface Field {
  /** `<` when the nested fields stand in the parent. */
  name: string
  type: string
  shape: 'one' | 'list' | 'map'
  keepZero: boolean
}

type Message = ReadonlyMap<number, Field>
type Decoded = Record<string, unknown>

function parseField(text: string): [number, Field] {
  const [number = '', name = '', code = ''] = text.trim().split(' ')
  const shape = code.startsWith('[]') ? 'list' : code.endsWith('{}') ? 'map' : 'one'
  const type = code.replace('[]', '').replace('{}', '').replace('*', '')
  return [Number(number), { name, type, shape, keepZero: code.endsWith('*') || shape !== 'one' }]
}

function parseRow(row: string): [string, Message] {
  const colon = row.indexOf(':')
  return [
    row.slice(0, colon),
    new Map(
      row
        .slice(colon + 1)
        .split(',')
        .map(parseField),
    ),
  ]
}

const MESSAGES: ReadonlyMap<string, Message> = new Map(MESSAGE_ROWS.map(parseRow))

class Decoder {
  /** Counted before they are made: three megabytes of empty entries are a million objects. */
  #values = 0

  message(name: string, bytes: Buffer, depth = 0): Decoded {
    const message = MESSAGES.get(name)
    if (message === undefined || depth > MAX_DEPTH) throw refusal(`a ${name}`)
    const out: Decoded = {}
    for (const read of readFields(bytes)) this.#take({ name, message, out, depth }, read)
    return out
  }

  #take(at: { name: string; message: Message; out: Decoded; depth: number }, read: ProtoField): void {
    if (++this.#values > MAX_BODY_VALUES) throw tooManyValues()
    const { name, message, out, depth } = at
    const field = message.get(read.number)
    if (field !== undefined && SKIPPED.has(field.name)) return
    if (field === undefined || field.type === 'x') {
      if ('bytes' in read && read.bytes.length === 0) return
      throw refusal(`field ${field?.name ?? `number ${read.number}`} of ${name}`)
    }
    if (field.shape === 'map') {
      const [key, value] = this.#entry(field, read, depth)
      const map = out[field.name]
      if (isObject(map)) map[key] = value
      else out[field.name] = { [key]: value }
      return
    }
    const value = this.#value(field.type, read, depth)
    if (field.shape === 'list') {
      const list = out[field.name]
      if (Array.isArray(list)) list.push(value)
      else out[field.name] = [value]
    } else if (field.name === '<') Object.assign(out, value)
    else if (value !== undefined && (field.keepZero || !isZero(value))) out[field.name] = value
  }

  #entry(field: Field, read: ProtoField, depth: number): [string, unknown] {
    let key = ''
    let value: unknown = field.type === 'q' ? '0' : ''
    for (const part of readFields(bytesOf(read))) {
      if (++this.#values > MAX_BODY_VALUES) throw tooManyValues()
      if (part.number === 1) key = bytesOf(part).toString('utf8')
      else value = this.#value(field.type, part, depth)
    }
    return [key, value]
  }

  #value(type: string, read: ProtoField, depth: number): unknown {
    switch (type) {
      case 's':
        return bytesOf(read).toString('utf8')
      case 'i':
        return integer(read)
      case 'b':
        return integer(read) !== 0
      case 'y':
        return bytesOf(read).toString('base64')
      case 't': {
        const bytes = bytesOf(read)
        return bytes.length === 0 ? undefined : timeOf(numbers(bytes)[0])
      }
      case 'u': {
        const bytes = bytesOf(read)
        const [seconds, nanos = 0] = numbers(bytes)
        if (bytes.length === 0) return undefined
        return timeOf(seconds).replace('Z', `.${String(Math.floor(nanos / 1000)).padStart(6, '0')}Z`)
      }
      case 'q':
        return firstString(bytesOf(read), 1)
      case 'o': {
        const bytes = bytesOf(read)
        // type 0 is a number, in field 2; type 1 a string, in field 3.
        return numbers(bytes)[0] === 0 ? numbers(bytes)[1] : firstString(bytes, 3)
      }
      default:
        return this.message(type, bytesOf(read), depth + 1)
    }
  }
}

function isZero(value: unknown): boolean {
  return value === '' || value === 0 || value === false
}

function bytesOf(read: ProtoField): Buffer {
  if ('bytes' in read) return read.bytes
  throw new DroverError('invalid', `the protobuf body holds a number where field ${read.number} is a message`)
}

function integer(read: ProtoField): number {
  if ('value' in read) return Number(BigInt.asIntN(64, read.value))
  throw new DroverError('invalid', `the protobuf body holds a message where field ${read.number} is a number`)
}

function timeOf(epochSeconds: number): string {
  if (Math.abs(epochSeconds) <= MAX_EPOCH_SECONDS) return timestamp(epochSeconds * 1000)
  throw new DroverError('invalid', 'the protobuf body holds a time that no calendar has')
}

/** The numbers in fields 1 and 2; 0 where absent. */
function numbers(bytes: Buffer): [number, number] {
  const found: [number, number] = [0, 0]
  for (const read of readFields(bytes)) {
    if ('value' in read && read.number === 1) found[0] = integer(read)
    if ('value' in read && read.number === 2) found[1] = integer(read)
  }
  return found
}

function firstString(bytes: Buffer, number: number): string {
  for (const read of readFields(bytes)) if (read.number === number) return bytesOf(read).toString('utf8')
  return ''
}

function refusal(what: string): DroverError {
  return unsupportedMediaType(`${what} cannot be read from protobuf here; send the object as JSON or YAML ("apply -f")`)
}

/** The envelope's object as JSON would have it. */
export function decodeKubernetesProtobuf(body: Buffer): Decoded {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new DroverError('invalid', 'the body is not Kubernetes protobuf: it does not begin with k8s\\0')
  }
  let [apiVersion, kind] = ['', '']
  let raw: Buffer = Buffer.alloc(0)
  for (const read of readFields(body.subarray(MAGIC.length))) {
    if (read.number === 1) {
      apiVersion = firstString(bytesOf(read), 1)
      kind = firstString(bytesOf(read), 2)
    } else if (read.number === 2) raw = bytesOf(read)
  }
  if (!MESSAGES.has(kind)) throw refusal(`${apiVersion} ${kind}`)
  return { apiVersion, kind, ...new Decoder().message(kind, raw) }
}
