/**
 * A Swagger 2.0 document as gnostic's protobuf, the only form in which kubectl before 1.27 takes it. Written by hand: the
 * message types needed are few, and a code generator's runtime would be the larger part.
 * Source: github.com/google/gnostic openapiv2/OpenAPIv2.proto; encoding: protobuf.dev/programming-guides/encoding.
 */
import { isObject } from '../base/json.ts'
import { ProtoWriter } from './protobuf_wire.ts'

type Fields = Record<string, unknown>
type Encode = (value: unknown) => ProtoWriter

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : [])
const fields = (value: unknown): Fields => (isObject(value) ? value : {})

/** gnostic keeps values it has no type for as YAML, of which JSON is a part. */
function any(value: unknown): ProtoWriter {
  return new ProtoWriter().string(2, JSON.stringify(value))
}

function named(name: string, value: ProtoWriter): ProtoWriter {
  return new ProtoWriter().string(1, name).message(2, value)
}

function extensions(out: ProtoWriter, number: number, value: Fields): void {
  for (const [key, extension] of Object.entries(value)) {
    if (key.startsWith('x-')) out.message(number, named(key, any(extension)))
  }
}

function namedList(value: unknown, encode: Encode): ProtoWriter {
  const out = new ProtoWriter()
  for (const [name, item] of Object.entries(fields(value))) out.message(1, named(name, encode(item)))
  return out
}

function schema(value: unknown): ProtoWriter {
  const given = fields(value)
  const out = new ProtoWriter()
  if (typeof given.$ref === 'string') out.string(1, given.$ref)
  if (typeof given.format === 'string') out.string(2, given.format)
  if (typeof given.description === 'string') out.string(4, given.description)
  for (const name of strings(given.required)) out.string(19, name)
  if (given.additionalProperties !== undefined) {
    out.message(21, new ProtoWriter().message(1, schema(given.additionalProperties)))
  }
  if (typeof given.type === 'string') out.message(22, new ProtoWriter().string(1, given.type))
  if (given.items !== undefined) out.message(23, new ProtoWriter().message(1, schema(given.items)))
  if (given.properties !== undefined) out.message(25, namedList(given.properties, schema))
  extensions(out, 31, given)
  return out
}

function parameter(value: unknown): ProtoWriter {
  const given = fields(value)
  const inPath = given.in === 'path'
  const sub = new ProtoWriter()
  if (given.required === true) sub.bool(1, true)
  sub.string(2, String(given.in)).string(4, String(given.name))
  sub.string(inPath ? 5 : 6, 'string')
  const nonBody = new ProtoWriter().message(inPath ? 4 : 3, sub)
  return new ProtoWriter().message(1, new ProtoWriter().message(2, nonBody))
}

function responses(value: unknown): ProtoWriter {
  return namedList(value, (item) => {
    const response = new ProtoWriter().string(1, String(fields(item).description))
    const answer = fields(item).schema
    if (answer !== undefined) response.message(2, new ProtoWriter().message(1, schema(answer)))
    return new ProtoWriter().message(1, response)
  })
}

function operation(value: unknown): ProtoWriter {
  const given = fields(value)
  const out = new ProtoWriter().string(5, String(given.operationId))
  for (const type of strings(given.produces)) out.string(6, type)
  for (const type of strings(given.consumes)) out.string(7, type)
  for (const item of Array.isArray(given.parameters) ? given.parameters : []) out.message(8, parameter(item))
  out.message(9, responses(given.responses))
  extensions(out, 13, given)
  return out
}

const METHODS: Readonly<Record<string, number>> = { get: 2, put: 3, post: 4, delete: 5, patch: 8 }

function pathItem(value: unknown): ProtoWriter {
  const given = fields(value)
  const out = new ProtoWriter()
  for (const [method, number] of Object.entries(METHODS)) {
    if (given[method] !== undefined) out.message(number, operation(given[method]))
  }
  for (const item of Array.isArray(given.parameters) ? given.parameters : []) out.message(9, parameter(item))
  return out
}

export function encodeOpenApiV2(document: Fields): Buffer {
  const info = fields(document.info)
  const paths = new ProtoWriter()
  for (const [path, item] of Object.entries(fields(document.paths))) paths.message(2, named(path, pathItem(item)))
  return new ProtoWriter()
    .string(1, String(document.swagger))
    .message(2, new ProtoWriter().string(1, String(info.title)).string(2, String(info.version)))
    .message(8, paths)
    .message(9, namedList(document.definitions, schema))
    .finish()
}
