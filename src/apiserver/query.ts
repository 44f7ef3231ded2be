/** Query parameters with their rules: a value that cannot be meant is refused with its name, never guessed at. */
import { parseFieldSelector, parseSelector } from '../api/selector.ts'
import { DroverError, type FieldError } from '../base/errors.ts'
import type { ApplyOptions, ListFilter, Propagation, WriteOptions } from '../resources/resources.ts'
import type { Exchange } from './exchange.ts'
import type { Target } from './router.ts'

function bad(name: string, reason: FieldError['reason'], message: string): DroverError {
  return new DroverError('invalid', `${name}: ${message}`, { fields: [{ path: name, reason, message }] })
}

export function boolParam(query: URLSearchParams, name: string): boolean {
  const value = query.get(name)
  if (value === null || value === 'false' || value === '0') return false
  if (value === 'true' || value === '1' || value === '') return true
  throw bad(name, 'Invalid', `"${value}" is neither true nor false`)
}

/** A whole number of at least 0, or undefined. */
export function countParam(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name)
  if (value === null || value === '') return undefined
  const number = Number(value)
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number)) {
    throw bad(name, 'Invalid', `"${value}" is not a whole number of at least 0`)
  }
  return number
}

/** `timeoutSeconds=7m30s` is refused, as Kubernetes does; its own clients send `timeout=32s` beside it, which is ignored. */
export function listFilter(target: Target, query: URLSearchParams): ListFilter {
  const { kind, namespace, name } = target
  const labels = query.get('labelSelector') ?? ''
  const fields = parseFieldSelector(query.get('fieldSelector') ?? '')
  if (name !== '') fields.push({ field: 'metadata.name', value: name, equal: true })
  for (const { field } of fields) {
    if (field === 'metadata.name' || (field === 'metadata.namespace' && kind.namespaced)) continue
    if (kind.selectableFields[field] !== undefined) continue
    const known = [
      'metadata.name',
      ...(kind.namespaced ? ['metadata.namespace'] : []),
      ...Object.keys(kind.selectableFields),
    ]
    const message = `field label not supported: ${field}; ${kind.plural} can be selected by ${known.join(', ')}`
    throw new DroverError('invalid', message)
  }
  return {
    ...(namespace === '' ? {} : { namespace }),
    ...(labels === '' ? {} : { labels: parseSelector(labels) }),
    ...(fields.length === 0 ? {} : { fields }),
  }
}

export interface RevisionParams {
  /** Undefined: as new as can be; 0: whatever is at hand. */
  revision: number | undefined
  match: '' | 'Exact' | 'NotOlderThan'
}

export function revisionParams(query: URLSearchParams): RevisionParams {
  const text = query.get('resourceVersion') ?? ''
  const match = query.get('resourceVersionMatch') ?? ''
  if (text !== '' && !/^\d{1,15}$/.test(text)) {
    throw new DroverError('invalid', `resourceVersion: "${text}" is not one that this server gave out`)
  }
  if (match !== '' && match !== 'Exact' && match !== 'NotOlderThan') {
    throw bad('resourceVersionMatch', 'NotSupported', `"${match}" is neither Exact nor NotOlderThan`)
  }
  if (match === 'Exact' && (text === '' || text === '0')) {
    throw bad('resourceVersionMatch', 'Forbidden', 'Exact needs a resourceVersion greater than 0')
  }
  return { revision: text === '' ? undefined : Number(text), match }
}

/** What a list may say of revisions: Kubernetes refuses the combinations that cannot be meant. */
export function listRevision(query: URLSearchParams): RevisionParams {
  const given = revisionParams(query)
  if (query.has('sendInitialEvents')) throw bad('sendInitialEvents', 'Forbidden', 'is for watches, not for lists')
  if (given.match !== '' && query.get('continue')) {
    throw bad('resourceVersionMatch', 'Forbidden', 'may not be given together with continue')
  }
  if (given.match !== '' && given.revision === undefined) {
    throw bad('resourceVersionMatch', 'Forbidden', 'needs a resourceVersion')
  }
  return given
}

function isDryRun(values: readonly string[]): boolean {
  for (const value of values) {
    if (value !== 'All') throw bad('dryRun', 'NotSupported', `"${value}" is not supported; All is`)
  }
  return values.length > 0
}

const MAX_MANAGER_CHARS = 128

/** Who writes: as the client says, else the program's name from its User-Agent. */
function fieldManager({ query, headers }: Exchange): string {
  const given = query.get('fieldManager') ?? ''
  if (given.length > MAX_MANAGER_CHARS || !/^[\x20-\x7e]*$/.test(given)) {
    throw bad('fieldManager', 'Invalid', `must be at most ${MAX_MANAGER_CHARS} printable characters`)
  }
  const program = (headers['user-agent'] ?? '').split('/', 1)[0]?.replace(/[^\x20-\x7e]/g, '') ?? ''
  return given || program.slice(0, MAX_MANAGER_CHARS) || 'unknown'
}

/** With `manager`: an apply must name it. */
export function applyOptions(exchange: Exchange, subresource: string): ApplyOptions {
  const name = exchange.query.get('fieldManager') ?? ''
  if (name === '') throw bad('fieldManager', 'Required', 'is required for apply patch')
  const options = writeOptions(exchange, { subresource })
  return { ...options, manager: options.manager ?? { name, subresource }, force: boolParam(exchange.query, 'force') }
}

export interface WriteExtras {
  subresource?: string
  /** `dryRun` of a body, beside that of the query. */
  bodyDryRun?: readonly string[]
}

export function writeOptions(
  exchange: Exchange,
  { subresource = '', bodyDryRun = [] }: WriteExtras = {},
): WriteOptions {
  const { query } = exchange
  const validation = query.get('fieldValidation') || 'Warn'
  if (validation !== 'Ignore' && validation !== 'Warn' && validation !== 'Strict') {
    throw bad('fieldValidation', 'NotSupported', `"${validation}" is none of Ignore, Warn, Strict`)
  }
  const dryRun = isDryRun([...query.getAll('dryRun').filter((value) => value !== ''), ...bodyDryRun])
  const manager = { name: fieldManager(exchange), subresource }
  const guard = exchange.guard === undefined ? {} : { guard: exchange.guard }
  return { fieldValidation: validation, dryRun, manager, ...guard, warn: (message) => exchange.warn(message) }
}

export function propagationOf(value: unknown): Propagation | undefined {
  if (value === undefined || value === null || value === '') return undefined
  if (value === 'Background' || value === 'Foreground' || value === 'Orphan') return value
  throw bad('propagationPolicy', 'NotSupported', `"${String(value)}" is none of Background, Foreground, Orphan`)
}

/** The reference of a pagination: the revision of the first page and the key behind which to go on. */
export interface Continuation {
  revision: number
  after: string
}

export function encodeContinue({ revision, after }: Continuation): string {
  return Buffer.from(JSON.stringify({ v: 'drover/v1', rv: revision, start: after })).toString('base64url')
}

export function decodeContinue(token: string): Continuation {
  try {
    const value: unknown = JSON.parse(Buffer.from(token, 'base64url').toString('utf8'))
    if (typeof value === 'object' && value !== null && 'rv' in value && 'start' in value) {
      const { rv, start } = value
      if (Number.isSafeInteger(rv) && typeof start === 'string') return { revision: Number(rv), after: start }
    }
  } catch {
    // Falls through to the one answer for every kind of nonsense.
  }
  throw new DroverError('invalid', 'continue: the token is not one that this server gave out; list again without it')
}
