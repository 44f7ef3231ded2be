/**
 * From what was asked to what will be stored: pure functions over the asked object and the present one. Who owns which
 * field is decided here: identity and deletion belong to the machinery, `spec` to the user, `status` to its sub-resource.
 */
import { apiVersionOf, type KindDefinition } from '../api/kind.ts'
import type { KubeObject, ObjectMeta, Stored } from '../api/meta.ts'
import { NAMESPACE_FINALIZER } from '../api/namespace.ts'
import { timestamp } from '../base/clock.ts'
import { DroverError, type FieldError } from '../base/errors.ts'
import { isObject, jsonEqual } from '../base/json.ts'
import { cleanCopy } from './codec.ts'
import { invalidObject } from './errors.ts'
import type { Part, WriteOptions } from './resources.ts'
import { carryHoldings, isService } from './service_holdings.ts'
import { checkSchema, type Schema, type SchemaFindings, validateMeta } from './validate.ts'

const isNamespace = (kind: KindDefinition): boolean => kind.kind === 'Namespace' && kind.group === ''

export interface Birth {
  name: string
  uid: string
  nowMs: number
}

/** A private copy with type and place filled in. Throws `invalid` when it is of another kind. */
export function adopt(kind: KindDefinition, given: KubeObject): KubeObject {
  const object = cleanCopy(given)
  if (!isObject(object)) throw new DroverError('invalid', `a ${kind.kind} must be an object`)
  object.metadata ??= {}
  if (!isObject(object.metadata)) throw new DroverError('invalid', 'metadata: Invalid value: must be an object')
  object.apiVersion ??= apiVersionOf(kind)
  object.kind ??= kind.kind
  if (object.apiVersion !== apiVersionOf(kind) || object.kind !== kind.kind) {
    throw new DroverError(
      'invalid',
      `the object is a ${object.apiVersion} ${object.kind}, not a ${apiVersionOf(kind)} ${kind.kind}`,
    )
  }
  for (const field of ['name', 'generateName', 'namespace', 'uid', 'resourceVersion'] as const) {
    const value: unknown = object.metadata[field]
    if (value !== undefined && typeof value !== 'string') {
      const path = `metadata.${field}`
      throw invalidObject(kind, '', [{ path, reason: 'Invalid', message: `${JSON.stringify(value)} must be a string` }])
    }
  }
  if (!kind.namespaced) delete object.metadata.namespace
  else object.metadata.namespace ??= 'default'
  return object
}

/** `object` is a private copy from `adopt`. Throws `invalid`. */
export function prepareCreate(
  kind: KindDefinition,
  object: KubeObject,
  birth: Birth,
  options: WriteOptions,
): KubeObject {
  if (object.metadata.resourceVersion && object.metadata.resourceVersion !== '0') {
    throw new DroverError('invalid', 'resourceVersion should not be set on objects to be created')
  }
  const { deletionTimestamp: _d, deletionGracePeriodSeconds: _g, ...kept } = withoutManaged(object.metadata)
  object.metadata = { ...kept, name: birth.name, uid: birth.uid, creationTimestamp: timestamp(birth.nowMs) }
  if (kind.hasGeneration) object.metadata.generation = 1
  else delete object.metadata.generation
  if (kind.hasStatus && options.internal !== true) delete object.status
  if (isNamespace(kind)) object.spec = { finalizers: [NAMESPACE_FINALIZER] }
  check(kind, object, undefined, options)
  return object
}

/**
 * The object after an update of one part. Equal to `base` when nothing changes. `asked` is a private copy.
 * Throws `invalid`.
 */
export function prepareUpdate(
  kind: KindDefinition,
  base: Stored<KubeObject>,
  asked: KubeObject,
  part: Part,
  options: WriteOptions,
): KubeObject {
  if (part === 'status') {
    const next = statusOf(base, asked)
    // Only what is written is judged: an old object that a newer rule dislikes still gets its status.
    const { properties = {} } = kind.schema as Schema
    judge(kind, next, checkSchema(properties.status ?? {}, next.status ?? {}, 'status'), options)
    kind.applyDefaults(next)
    return next
  }
  const next = mainOf(kind, base, asked, part)
  check(kind, next, base, options)
  if (kind.hasGeneration && !jsonEqual(contentOf(next), contentOf(base))) {
    next.metadata.generation = (base.metadata.generation ?? 0) + 1
  }
  return next
}

/**
 * What a server-side apply says, as it will be merged: of the part that it is for, checked as far as a fragment can be.
 * `asked` is a private copy. Throws `invalid`.
 */
export function prepareApply(kind: KindDefinition, asked: KubeObject, part: Part, options: WriteOptions): KubeObject {
  const { name = '', namespace, managedFields = [] } = asked.metadata
  if (name === '')
    throw invalidObject(kind, '', [{ path: 'metadata.name', reason: 'Required', message: 'must be given' }])
  if (managedFields.length > 0) {
    throw new DroverError('invalid', 'metadata.managedFields must be nil: the server keeps it of what is applied')
  }
  if (part === 'main' && kind.hasStatus) delete asked.status
  const config: KubeObject =
    part === 'status' ? { ...asked, metadata: { name, ...(namespace === undefined ? {} : { namespace }) } } : asked
  if (part === 'status')
    for (const field of Object.keys(config)) if (!STATUS_CONFIG.has(field)) delete config[field as 'spec']
  const { errors, ...findings } = checkSchema(kind.schema, config)
  // What the fragment leaves out may be there already; the merged object is judged as a whole.
  judge(kind, config, { ...findings, errors: errors.filter(({ reason }) => reason !== 'Required') }, options)
  return config
}

const STATUS_CONFIG: ReadonlySet<string> = new Set(['apiVersion', 'kind', 'metadata', 'status'])

function mainOf(kind: KindDefinition, base: Stored<KubeObject>, asked: KubeObject, part: Part): KubeObject {
  const next = asked
  const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation, generateName } =
    base.metadata
  const { deletionTimestamp: _d, deletionGracePeriodSeconds: _g, ...kept } = withoutManaged(asked.metadata)
  next.metadata = {
    ...kept,
    uid,
    creationTimestamp,
    resourceVersion: base.metadata.resourceVersion,
    ...(generation === undefined ? {} : { generation }),
    ...(generateName === undefined ? {} : { generateName }),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
    ...(deletionGracePeriodSeconds === undefined ? {} : { deletionGracePeriodSeconds }),
  }
  if (!kind.hasGeneration) delete next.metadata.generation
  if (kind.hasStatus && part === 'main') {
    delete next.status
    if (base.status !== undefined) next.status = cleanCopy(base.status)
  }
  if (isNamespace(kind)) next.spec = namespaceSpec(base, asked)
  if (isService(kind)) carryHoldings(next, base)
  return next
}

/** What holds a namespace can only be taken away, and only while it ends; leaving it out keeps it. */
function namespaceSpec(base: KubeObject, asked: KubeObject): { finalizers: string[] } {
  const finalizers = namespaceFinalizers(base)
  const wanted = (asked.spec as { finalizers?: string[] } | undefined)?.finalizers
  if (base.metadata.deletionTimestamp === undefined || !Array.isArray(wanted)) return { finalizers }
  return { finalizers: finalizers.filter((finalizer) => wanted.includes(finalizer)) }
}

export function namespaceFinalizers(object: KubeObject): string[] {
  return [...((object.spec as { finalizers?: readonly string[] } | undefined)?.finalizers ?? [])]
}

function statusOf(base: Stored<KubeObject>, asked: KubeObject): KubeObject {
  const next: KubeObject = cleanCopy(base)
  delete next.status
  if (asked.status !== undefined) next.status = asked.status
  return next
}

/** Fields of metadata that nobody keeps. */
function withoutManaged(metadata: ObjectMeta): ObjectMeta {
  const { managedFields: _managed, selfLink: _link, resourceVersion: _revision, ...kept } = metadata
  return kept
}

/** What a generation counts: everything but metadata and status. */
function contentOf(object: KubeObject): unknown {
  const { metadata: _metadata, status: _status, ...content } = object
  return content
}

function check(
  kind: KindDefinition,
  object: KubeObject,
  base: Stored<KubeObject> | undefined,
  options: WriteOptions,
): void {
  judge(kind, object, checkSchema(kind.schema, object), options)
  kind.applyDefaults(object)
  const faults = [...kind.validate(object), ...(base === undefined ? [] : kind.validateUpdate(object, base))]
  const named = new Set(faults.map(({ path }) => path))
  faults.push(...validateMeta(kind, object).filter(({ path }) => !named.has(path)))
  if (base?.metadata.deletionTimestamp !== undefined) faults.push(...addedFinalizers(object, base))
  if (faults.length > 0) throw invalidObject(kind, object.metadata.name ?? '', faults)
  options.guard?.(object, base)
}

/** Throws what the schema finds wrong, and warns of what it finds odd. */
function judge(
  kind: KindDefinition,
  object: KubeObject,
  { errors, unknown, ignored }: SchemaFindings,
  { fieldValidation = 'Warn', warn }: WriteOptions,
): void {
  const surplus = unknown.map<FieldError>((path) => ({ path, reason: 'Unknown', message: `unknown field "${path}"` }))
  const faults = fieldValidation === 'Strict' ? [...errors, ...surplus] : errors
  if (faults.length > 0) throw invalidObject(kind, object.metadata.name ?? '', faults)
  if (warn === undefined) return
  if (fieldValidation === 'Warn') for (const { message } of surplus) warn(message)
  for (const path of ignored) warn(`${path}: Drover does not honour this field`)
}

function addedFinalizers(object: KubeObject, base: KubeObject): FieldError[] {
  const before = new Set(base.metadata.finalizers)
  const added = (object.metadata.finalizers ?? []).filter((finalizer) => !before.has(finalizer))
  if (added.length === 0) return []
  const message = `no new finalizers can be added while the object is being deleted: ${added.join(', ')}`
  return [{ path: 'metadata.finalizers', reason: 'Forbidden', message }]
}
