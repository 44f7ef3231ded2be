/**
 * get and list, from the watch cache. Without a `resourceVersion` they first make sure that the cache shows all that was
 * acknowledged anywhere. Objects go out as the bytes that the cache keeps.
 *
 * Pages: a continue token carries the revision of the first page and the last key. Later pages show what stood behind that
 * key at that revision, for as long as the events since then are kept; after that the present state, under the first
 * revision still: a client that then watches from it is told of every change since, so nothing is lost. Rejected:
 * snapshots per token, which one server cannot hand to another.
 */
import { apiVersionOf, type KindDefinition, keyOf, resourceName } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { DroverError, isCode } from '../base/errors.ts'
import type { ListFilter } from '../resources/resources.ts'
import { type Form, negotiateForm } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { sendList, sendWhole } from './list_body.ts'
import {
  type Continuation,
  countParam,
  decodeContinue,
  encodeContinue,
  listFilter,
  listRevision,
  type RevisionParams,
  revisionParams,
} from './query.ts'
import type { Target } from './router.ts'
import { notFound } from './status_error.ts'
import { includeObjectParam, metadataOnly, toTable } from './table.ts'

/** Brings the cache to the revision that the request asks for. */
export async function reach(context: ApiContext, revision: number | undefined): Promise<void> {
  if (revision === undefined) await context.freshness.latest()
  else if (revision > 0) await context.freshness.atLeast(revision)
}

export async function handleGet(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const form = negotiateForm(exchange.headers.accept)
  await reach(context, revisionParams(exchange.query).revision)
  await sendObject({ context, exchange, kind: target.kind, object: find(context, target), status: 200, form })
}

export function find(context: ApiContext, { kind, namespace, name }: Target): Stored<KubeObject> {
  const object = context.resources.get(kind, namespace, name)
  if (object === undefined) throw notFound(resourceName(kind), name)
  return object
}

export interface SendObject {
  context: ApiContext
  exchange: Exchange
  kind: KindDefinition
  object: Stored<KubeObject>
  status: number
  form?: Form
}

/** One object in the form that the client asked for. */
export function sendObject({ context, exchange, kind, object, status, form }: SendObject): Promise<void> {
  const wanted = form ?? negotiateForm(exchange.headers.accept)
  if (wanted.as === 'table') {
    const metadata = { resourceVersion: object.metadata.resourceVersion }
    const include = includeObjectParam(exchange.query)
    const options = { version: wanted.version, include, nowMs: context.clock.now(), metadata, columns: true }
    return sendWhole(exchange, status, encode(toTable(kind, [object], options)))
  }
  if (wanted.as === 'metadata') return sendWhole(exchange, status, encode(metadataOnly(object)))
  return sendWhole(exchange, status, context.resources.encoded(object))
}

const encode = (value: object): Buffer => Buffer.from(JSON.stringify(value))

interface Page {
  objects: Stored<KubeObject>[]
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number }
}

const byKey = (a: KubeObject, b: KubeObject): number => {
  const left = keyOf(a)
  const right = keyOf(b)
  return left < right ? -1 : left > right ? 1 : 0
}

interface Wanted {
  filter: ListFilter
  from: Continuation | undefined
  wanted: RevisionParams
  paged: boolean
}

/** As of the revision that the request insists on; a first page with a revision does so even without saying `Exact`. */
function takeSnapshot({ resources }: ApiContext, { kind }: Target, { filter, from, wanted, paged }: Wanted) {
  if (from !== undefined) {
    try {
      return resources.snapshot(kind, filter, from.revision)
    } catch (error) {
      // What has changed since is not kept: the rest of the list shows it.
      if (isCode(error, 'gone')) return resources.snapshot(kind, filter)
      throw error
    }
  }
  const { revision = 0, match } = wanted
  const isExact = match === 'Exact' || (match === '' && paged && revision > 0)
  return isExact ? resources.snapshot(kind, filter, revision) : resources.snapshot(kind, filter)
}

async function readPage(context: ApiContext, exchange: Exchange, target: Target): Promise<Page> {
  const { query } = exchange
  const filter = listFilter(target, query)
  const limit = countParam(query, 'limit') || undefined
  const token = query.get('continue') || undefined
  const from = token === undefined ? undefined : decodeContinue(token)
  const wanted = listRevision(query)
  if (from !== undefined && wanted.revision !== undefined && wanted.revision !== 0) {
    throw new DroverError('invalid', 'resourceVersion: may not be given together with continue')
  }
  await reach(context, from === undefined ? wanted.revision : from.revision)
  const snapshot = takeSnapshot(context, target, { filter, from, wanted, paged: limit !== undefined })
  const revision = from?.revision ?? snapshot.revision
  // Only pages need the order of the token's keys; a list that fits in one is left as it is.
  const paged = from !== undefined || (limit !== undefined && snapshot.items.length > limit)
  const all = paged ? snapshot.items.sort(byKey) : snapshot.items
  const rest = from === undefined ? all : all.filter((object) => keyOf(object) > from.after)
  const objects = limit === undefined ? rest : rest.slice(0, limit)
  const metadata: Page['metadata'] = { resourceVersion: String(revision) }
  const last = objects.at(-1)
  if (last !== undefined && objects.length < rest.length) {
    metadata.continue = encodeContinue({ revision, after: keyOf(last) })
    // Kubernetes leaves the count out where a selector makes it costly; clients must not expect it there.
    if (filter.labels === undefined && filter.fields === undefined) {
      metadata.remainingItemCount = rest.length - objects.length
    }
  }
  return { objects, metadata }
}

export async function handleList(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const form = negotiateForm(exchange.headers.accept)
  const { kind } = target
  const { objects, metadata } = await readPage(context, exchange, target)
  if (form.as === 'table') {
    const include = includeObjectParam(exchange.query)
    const options = { version: form.version, include, nowMs: context.clock.now(), metadata, columns: true }
    await sendWhole(exchange, 200, encode(toTable(kind, objects, options)))
    return
  }
  if (form.as === 'metadata') {
    const items = objects.map(metadataOnly)
    const list = { kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1', metadata, items }
    await sendWhole(exchange, 200, encode(list))
    return
  }
  const head = JSON.stringify({ kind: `${kind.kind}List`, apiVersion: apiVersionOf(kind), metadata })
  await sendList(exchange, head, encodedOf(context, objects))
}

function* encodedOf({ resources }: ApiContext, objects: readonly Stored<KubeObject>[]): Generator<Buffer> {
  for (const object of objects) yield resources.encoded(object)
}
