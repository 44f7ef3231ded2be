/**
 * Who owns which field of an object: `metadata.managedFields`. Pure.
 *
 * Only clients have entries. A write of the control plane itself is noticed where it changes a field that somebody owns:
 * that field then belongs to `drover`, so that the next apply meets a conflict instead of undoing it unseen; everything
 * else that controllers write has no owner and costs no bytes. Rejected: an entry for each controller, as Kubernetes has:
 * a kilobyte on every pod, which nobody applies to.
 *
 * Source: Kubernetes "Server-Side Apply"; sigs.k8s.io/structured-merge-diff `merge.Updater`.
 */
import { apiVersionOf, type KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { timestamp } from '../base/clock.ts'
import { DroverError, type FieldError } from '../base/errors.ts'
import { isObject, jsonEqual } from '../base/json.ts'
import {
  difference,
  EMPTY_SET,
  type FieldSet,
  intersection,
  isEmptySet,
  parseFieldSet,
  pathsOf,
  pathText,
  union,
} from './field_set.ts'
import type { ApplyOptions, FieldManager, Part } from './resources.ts'
import { type Comparison, compareFields, fieldSetOf, mergeConfig, pruneFields, unionAll } from './typed_fields.ts'
import type { Schema } from './validate.ts'

export interface ManagedEntry {
  manager: string
  operation: 'Apply' | 'Update'
  apiVersion: string
  time?: string
  fieldsType: 'FieldsV1'
  fieldsV1: FieldSet
  subresource?: string
}

/** The control plane, where it takes a field that a client owned. */
const OWN_MANAGER: FieldManager = { name: 'drover', subresource: '' }
/** Owner of what an object held before anybody's first apply, when nobody is known. */
const BEFORE_FIRST_APPLY = 'before-first-apply'
/** Updates of more managers than these are counted together, oldest first. */
const MAX_UPDATE_MANAGERS = 10
const ANCIENT = 'ancient-changes'
const MAX_ENTRIES = 200
const MAX_MANAGER_CHARS = 128

/** Fields that no client can own: identity, and what the machinery keeps. */
const META_WITHOUT_OWNER = [
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'selfLink',
  'managedFields',
]

function ownable(set: FieldSet, part: Part): FieldSet {
  const { 'f:apiVersion': _version, 'f:kind': _kind, 'f:metadata': metadata, 'f:status': status, ...rest } = set
  if (part === 'status') return status === undefined ? EMPTY_SET : { 'f:status': status }
  const kept: Record<string, FieldSet> = { ...metadata }
  for (const name of META_WITHOUT_OWNER) delete kept[`f:${name}`]
  delete kept['.']
  return isEmptySet(kept) ? rest : { 'f:metadata': kept, ...rest }
}

function invalidEntry(index: number, message: string): DroverError {
  const path = `metadata.managedFields[${index}]`
  return new DroverError('invalid', `${path}: Invalid value: ${message}`, {
    fields: [{ path, reason: 'Invalid', message }],
  })
}

/** What a client sent as managed fields; undefined when it sent none. One empty entry asks to forget them all. */
export function parseEntries(given: unknown): ManagedEntry[] | undefined {
  if (!Array.isArray(given) || given.length === 0) return undefined
  if (given.length === 1 && isObject(given[0]) && Object.keys(given[0]).length === 0) return []
  if (given.length > MAX_ENTRIES) throw invalidEntry(MAX_ENTRIES, `there may be at most ${MAX_ENTRIES} entries`)
  return given.map(parseEntry)
}

function parseEntry(given: unknown, index: number): ManagedEntry {
  if (!isObject(given)) throw invalidEntry(index, 'must be an object')
  const { manager = '', operation, apiVersion, time, fieldsType = 'FieldsV1', subresource = '' } = given
  if (typeof manager !== 'string' || manager.length > MAX_MANAGER_CHARS) {
    throw invalidEntry(index, `manager must be text of at most ${MAX_MANAGER_CHARS} characters`)
  }
  if (operation !== 'Apply' && operation !== 'Update') throw invalidEntry(index, 'operation must be Apply or Update')
  if (typeof apiVersion !== 'string' || typeof subresource !== 'string') {
    throw invalidEntry(index, 'apiVersion and subresource must be text')
  }
  if (fieldsType !== 'FieldsV1') throw invalidEntry(index, 'fieldsType must be FieldsV1')
  const fieldsV1 = parseFieldSet(given.fieldsV1 ?? {})
  if (fieldsV1 === undefined) throw invalidEntry(index, 'fieldsV1 is no set of fields')
  return {
    manager,
    operation,
    apiVersion,
    ...(typeof time === 'string' ? { time } : {}),
    fieldsType: 'FieldsV1',
    fieldsV1,
    ...(subresource === '' ? {} : { subresource }),
  }
}

/** Of a stored object: trusted, since it was parsed on its way in. */
export function entriesOf(object: KubeObject | undefined): readonly ManagedEntry[] {
  return (object?.metadata.managedFields ?? []) as readonly ManagedEntry[]
}

type Identity = Pick<ManagedEntry, 'manager' | 'operation' | 'apiVersion'> & { subresource?: string | undefined }

const isSame = (a: Identity, b: Identity): boolean =>
  a.manager === b.manager &&
  a.operation === b.operation &&
  a.apiVersion === b.apiVersion &&
  (a.subresource ?? '') === (b.subresource ?? '')

/** The others keep what was neither changed nor removed. */
function withoutLost(entries: readonly ManagedEntry[], { changed, removed }: Comparison): ManagedEntry[] {
  return entries.map((entry) => ({
    ...entry,
    fieldsV1: difference(difference(entry.fieldsV1, changed), removed, true),
  }))
}

interface OwnEntry {
  identity: Identity
  fields: FieldSet
  before: ManagedEntry | undefined
  nowMs: number
}

/** The time of an entry moves only when its fields do, so that a write without effect stays one. */
function ownEntry({ identity, fields, before, nowMs }: OwnEntry): ManagedEntry {
  if (before !== undefined && jsonEqual(before.fieldsV1, fields)) return before
  const { manager, operation, apiVersion, subresource = '' } = identity
  return {
    manager,
    operation,
    apiVersion,
    time: timestamp(nowMs),
    fieldsType: 'FieldsV1',
    fieldsV1: fields,
    ...(subresource === '' ? {} : { subresource }),
  }
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Without empty entries, few enough, in Kubernetes' order. */
function settled(entries: readonly ManagedEntry[]): ManagedEntry[] {
  const filled = entries.filter(({ fieldsV1 }) => !isEmptySet(fieldsV1))
  const byTime = (a: ManagedEntry, b: ManagedEntry): number =>
    compareText(a.operation, b.operation) ||
    compareText(a.time ?? '', b.time ?? '') ||
    compareText(a.manager, b.manager) ||
    compareText(a.subresource ?? '', b.subresource ?? '')
  const sorted = filled.sort(byTime)
  const updates = sorted.filter(({ operation }) => operation === 'Update')
  const surplus = updates.slice(0, Math.max(0, updates.length - MAX_UPDATE_MANAGERS))
  const [oldest] = surplus
  if (oldest === undefined) return sorted
  // One place more, for the entry that takes the surplus together.
  const joined = new Set([...surplus, ...updates.slice(surplus.length, surplus.length + 1)])
  const { subresource: _part, ...rest } = [...joined].at(-1) ?? oldest
  const ancient = { ...rest, manager: ANCIENT, fieldsV1: unionAll([...joined].map(({ fieldsV1 }) => fieldsV1)) }
  return [...sorted.filter((entry) => !joined.has(entry)), ancient].sort(byTime)
}

function setEntries(object: KubeObject, entries: readonly ManagedEntry[]): void {
  const kept = settled(entries)
  if (kept.length > 0) object.metadata.managedFields = kept
  else delete object.metadata.managedFields
}

export interface Update {
  kind: KindDefinition
  before: KubeObject | undefined
  /** Its managed fields are set here. */
  after: KubeObject
  part: Part
  /** What the client sent as managed fields. */
  given: unknown
  /** Undefined for the control plane's own writes. */
  manager: FieldManager | undefined
  nowMs: number
}

/** Notes on the written object who owns what now. */
export function trackUpdate(update: Update): void {
  const { kind, before, after, part, given, manager, nowMs } = update
  const present = (manager === undefined ? undefined : parseEntries(given)) ?? entriesOf(before)
  delete after.metadata.managedFields
  if (manager === undefined && !mayLose(present, part)) {
    if (present.length > 0) after.metadata.managedFields = [...present]
    return
  }
  const compared = compareFields(before ?? {}, after, kind.schema as Schema)
  const changed = ownable(compared.changed, part)
  const removed = ownable(compared.removed, part)
  const apiVersion = apiVersionOf(kind)
  const taken =
    manager === undefined ? unionAll(present.map(({ fieldsV1 }) => intersection(fieldsV1, changed))) : changed
  const { name, subresource } = manager ?? OWN_MANAGER
  const identity: Identity = { manager: name, operation: 'Update', apiVersion, subresource }
  const own = present.find((entry) => isSame(entry, identity))
  const others = withoutLost(
    present.filter((entry) => entry !== own),
    { changed, removed },
  )
  const fields = union(difference(own?.fieldsV1 ?? EMPTY_SET, removed, true), taken)
  setEntries(after, [...others, ownEntry({ identity, fields, before: own, nowMs })])
}

/** Whether a write of the control plane can concern anybody: statuses are its own nearly always. */
function mayLose(entries: readonly ManagedEntry[], part: Part): boolean {
  return part === 'status' ? entries.some(({ fieldsV1 }) => fieldsV1['f:status'] !== undefined) : entries.length > 0
}

export interface Application {
  kind: KindDefinition
  live: KubeObject | undefined
  /** Checked against the schema; only of the part that is applied. */
  config: KubeObject
  part: Part
  options: ApplyOptions
  nowMs: number
}

export interface Applied {
  object: KubeObject
  entries: readonly ManagedEntry[]
}

/** Throws `conflict`, with one field error for each field that another manager owns. */
export function applyConfig({ kind, live, config, part, options, nowMs }: Application): Applied {
  const schema = kind.schema as Schema
  const { name, subresource } = options.manager
  const identity: Identity = { manager: name, operation: 'Apply', apiVersion: apiVersionOf(kind), subresource }
  const present = knownEntries(live, { kind, part, nowMs })
  const own = present.find((entry) => isSame(entry, identity))
  const others = present.filter((entry) => entry !== own)
  const wanted = fieldSetOf(config, schema)
  const merged = mergeConfig(live ?? {}, config, schema)
  const owned = unionAll([wanted, ...others.map(({ fieldsV1 }) => fieldsV1)])
  const object = own === undefined ? merged : pruneFields(merged, schema, own.fieldsV1, owned)
  const compared = compareFields(live ?? {}, object, schema)
  const lost = { changed: ownable(compared.changed, part), removed: ownable(compared.removed, part) }
  if (options.force !== true) refuseConflicts(others, lost.changed)
  const fields = ownable(wanted, part)
  const entries = [...withoutLost(others, lost), ownEntry({ identity, fields, before: own, nowMs })]
  return { object: object as KubeObject, entries: settled(entries) }
}

/** An object that nobody from outside has written yet belongs to what was there before. */
function knownEntries(
  live: KubeObject | undefined,
  { kind, part, nowMs }: { kind: KindDefinition; part: Part; nowMs: number },
): readonly ManagedEntry[] {
  const entries = entriesOf(live)
  if (live === undefined || entries.length > 0 || part === 'status') return entries
  const { 'f:status': _status, ...fields } = ownable(fieldSetOf(live, kind.schema as Schema), part)
  const identity: Identity = { manager: BEFORE_FIRST_APPLY, operation: 'Update', apiVersion: apiVersionOf(kind) }
  return [ownEntry({ identity, fields, before: undefined, nowMs })]
}

function refuseConflicts(others: readonly ManagedEntry[], changed: FieldSet): void {
  const found = others.flatMap((entry) => {
    const paths = [...pathsOf(intersection(entry.fieldsV1, changed))].map(pathText)
    return paths.length === 0 ? [] : [{ owner: ownerText(entry), paths }]
  })
  const fields = found.flatMap(({ owner, paths }) =>
    paths.map<FieldError>((path) => ({ path, reason: 'Conflict', message: `conflict with ${owner}` })),
  )
  if (fields.length === 0) return
  const text =
    fields.length === 1
      ? `${fields[0]?.message}: ${fields[0]?.path}`
      : found
          .map(({ owner, paths }) => [`conflicts with ${owner}:`, ...paths.map((path) => `- ${path}`)].join('\n'))
          .join('\n')
  const count = `${fields.length} conflict${fields.length === 1 ? '' : 's'}`
  throw new DroverError('conflict', `Apply failed with ${count}: ${text}`, { fields })
}

/** As Kubernetes words it: an applier is known by its name, an updater by what it wrote with and when. */
function ownerText({ manager, operation, apiVersion, time, subresource }: ManagedEntry): string {
  const name = `${JSON.stringify(manager)}${subresource === undefined ? '' : ` with subresource "${subresource}"`}`
  if (operation === 'Apply') return name
  return time === undefined ? `${name} using ${apiVersion}` : `${name} using ${apiVersion} at ${time}`
}
