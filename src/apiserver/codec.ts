/**
 * Request bodies: JSON and YAML to plain values, with the line and column of a mistake and a bound on depth; and which
 * form of an answer the client asked for.
 */
import { Lexer, Parser, parseDocument } from 'yaml'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { MAX_BODY_VALUES, tooManyValues } from './exchange.ts'
import { findJsonFault } from './json_fault.ts'
import { decodeKubernetesProtobuf, KUBERNETES_PROTOBUF } from './protobuf_body.ts'
import { HttpError, unsupportedMediaType } from './status_error.ts'

const MAX_DEPTH = 100
/** YAML takes fifty times as long to read as JSON. */
const MAX_YAML_BYTES = 512 << 10
/** Aliases may repeat, not multiply: a "billion laughs" document stops here. */
const MAX_ALIASES = 100

export const PATCH_TYPES = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
  'application/apply-patch+json': 'apply',
} as const

export function mediaType(contentType: string | undefined): string {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

/** Text of a body to a value. A body without a content type is JSON, as kubectl's `scale` sends it. */
export function decodeBody(body: Buffer, contentType: string | undefined): unknown {
  const type = mediaType(contentType)
  if (type === KUBERNETES_PROTOBUF) return decodeKubernetesProtobuf(body)
  const isYaml = type === 'application/yaml' || type.endsWith('+yaml')
  if (!isYaml && type !== '' && type !== 'application/json' && !type.endsWith('+json')) {
    throw unsupportedMediaType(`the body is ${type}; send application/json or application/yaml`)
  }
  const text = body.toString('utf8')
  // kubectl applies JSON under YAML's name: a document that begins like JSON is read as such if it can be.
  const value = isYaml ? (jsonIn(text) ?? parseYaml(text)) : parseJson(text)
  checkBounds(value)
  return value
}

/** A body that must be one object. */
export function decodeObject(body: Buffer, contentType: string | undefined): Record<string, unknown> {
  const value = decodeBody(body, contentType)
  if (!isObject(value)) throw new DroverError('invalid', 'the body must be one object, not a list or a plain value')
  return value
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    if (text.trim() === '') throw new DroverError('invalid', 'the request has no body', { cause })
    const { line, column, message } = findJsonFault(text)
    throw new DroverError('invalid', `the body is not valid JSON: line ${line}, column ${column}: ${message}`, {
      cause,
    })
  }
}

function jsonIn(text: string): unknown {
  if (!text.startsWith('{')) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export function parseYaml(text: string): unknown {
  if (text.length > MAX_YAML_BYTES) {
    const message = `a body in YAML may have at most ${MAX_YAML_BYTES} characters; send it as JSON`
    throw new DroverError('tooLarge', message)
  }
  checkYamlDepth(text)
  const document = parseDocument(text, { prettyErrors: false, strict: true, logLevel: 'silent' })
  const fault = document.errors[0]
  if (fault !== undefined) {
    const before = text.slice(0, fault.pos[0]).split('\n')
    const where = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`
    throw new DroverError('invalid', `the body is not valid YAML: ${where}: ${fault.message}`)
  }
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES })
  } catch (cause) {
    throw new DroverError('invalid', 'the body is not valid YAML: too many aliases', { cause })
  }
}

/**
 * Before anything recurses: what is made of the tokens calls itself once a level, and near the stack's end V8 cannot
 * compile the regular expressions that judge scalars: it then ends the whole process, and no error is thrown.
 */
function checkYamlDepth(text: string): void {
  const parser = new Parser()
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme));
    // The document and a scalar stand on it beside the collections.
    if (parser.stack.length > MAX_DEPTH + 2) throw tooDeep()
  }
}

function tooDeep(): DroverError {
  return new DroverError('invalid', `the body is nested deeper than ${MAX_DEPTH} levels`)
}

/** Level by level: a body as deep as it is long must not end in a stack overflow. */
function checkBounds(body: unknown): void {
  let level: unknown[] = [body]
  let values = 1
  for (let depth = 0; level.length > 0; depth++) {
    const next: unknown[] = []
    for (const value of level) {
      if (typeof value !== 'object' || value === null) continue
      if (depth >= MAX_DEPTH) throw tooDeep()
      for (const item of Object.values(value)) next.push(item)
    }
    values += next.length
    if (values > MAX_BODY_VALUES) throw tooManyValues()
    level = next
  }
}

export interface MediaRange {
  type: string
  params: ReadonlyMap<string, string>
}

export function parseAccept(header: string | undefined): MediaRange[] {
  return (header ?? '*/*').split(',').map((range) => {
    const [type = '', ...params] = range.split(';').map((part) => part.trim())
    const pairs = params.map((param): [string, string] => {
      const at = param.indexOf('=')
      return at < 0 ? [param, ''] : [param.slice(0, at), param.slice(at + 1)]
    })
    return { type: type.toLowerCase(), params: new Map(pairs) }
  })
}

export type Form =
  | { as: 'object' }
  /** Rows for people. */
  | { as: 'table'; version: 'v1' | 'v1beta1' }
  /** Objects without anything but metadata. */
  | { as: 'metadata' }

const ANY_JSON: ReadonlySet<string> = new Set(['application/json', 'application/*', '*/*'])

/** The first form in the client's order that we can give. Protobuf is passed over: every client that asks for it takes JSON too. */
export function negotiateForm(accept: string | undefined): Form {
  for (const { type, params } of parseAccept(accept)) {
    if (!ANY_JSON.has(type)) continue
    const as = params.get('as')
    if (as === undefined) return { as: 'object' }
    const version = params.get('v')
    if (params.get('g') !== 'meta.k8s.io') continue
    if (as === 'Table' && (version === 'v1' || version === 'v1beta1')) return { as: 'table', version }
    if (as.startsWith('PartialObjectMetadata') && version === 'v1') return { as: 'metadata' }
  }
  throw new HttpError(406, 'NotAcceptable', 'only application/json can be served; put it into the Accept header')
}
