/** create, update, delete and deletecollection of objects, and the `status` sub-resource. Patches are in patch.ts. */
import { apiVersionOf, type KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { DeleteOptions, Part, WriteOptions } from '../resources/resources.ts'
import { decodeBody, decodeObject, mediaType } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { findDuplicateFields } from './json_duplicates.ts'
import { reach, sendObject } from './list.ts'
import { countParam, listFilter, propagationOf, writeOptions } from './query.ts'
import type { Target } from './router.ts'
import { successStatus } from './status_error.ts'

/** Deletions of one deletecollection that are under way at once: enough to share a group commit. */
const DELETES_AT_ONCE = 64

function mismatch(message: string): DroverError {
  return new DroverError('invalid', message)
}

/** The body as an object of the kind that the path names; what the path already says is filled in. */
export function toKubeObject(value: Record<string, unknown>, { kind, namespace, name }: Target): KubeObject {
  const apiVersion = value.apiVersion ?? apiVersionOf(kind)
  const kindName = value.kind ?? kind.kind
  if (apiVersion !== apiVersionOf(kind) || kindName !== kind.kind) {
    throw mismatch(
      `the body is a ${String(kindName)} of ${String(apiVersion)}; this path takes ${kind.kind} of ${apiVersionOf(kind)}`,
    )
  }
  const given = value.metadata ?? {}
  if (!isObject(given)) throw mismatch('metadata: must be an object')
  const metadata = { ...given }
  if (kind.namespaced) {
    metadata.namespace ??= namespace
    if (metadata.namespace !== namespace) {
      throw mismatch(
        `the namespace of the provided object (${String(metadata.namespace)}) does not match the namespace sent on the request (${namespace})`,
      )
    }
  } else if (metadata.namespace === '') delete metadata.namespace
  if (name !== '') {
    metadata.name ??= name
    if (metadata.name !== name) {
      throw mismatch(`the name of the object (${String(metadata.name)}) does not match the name on the URL (${name})`)
    }
  }
  // The schema is checked where the object is stored; until then only these fields are relied upon.
  return { ...value, apiVersion: apiVersionOf(kind), kind: kind.kind, metadata } as KubeObject
}

/** Creation over all namespaces is refused before the body is looked at. */
function requireNamespace({ kind, namespace }: Target): void {
  if (kind.namespaced && namespace === '') {
    throw mismatch(`${kind.plural} live in namespaces; send this to …/namespaces/NAME/${kind.plural}`)
  }
}

/** Before the object is stored: fields that the body holds twice are warned of, or refused when that is asked for. */
export function checkDuplicates(exchange: Exchange, body: Buffer, { fieldValidation }: WriteOptions): void {
  if (fieldValidation === 'Ignore') return
  const type = mediaType(exchange.headers['content-type'])
  // YAML that holds a key twice is not read at all, and protobuf has no keys.
  if (type !== '' && type !== 'application/json' && !type.endsWith('+json')) return
  const messages = findDuplicateFields(body.toString('utf8')).map((path) => `duplicate field "${path}"`)
  if (fieldValidation !== 'Strict') for (const message of messages) exchange.warn(message)
  else if (messages.length > 0) {
    const fields = messages.map((message) => ({ path: '', reason: 'Unknown' as const, message }))
    throw new DroverError('invalid', `strict decoding error: ${messages.join(', ')}`, { fields })
  }
}

export async function handleCreate(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  requireNamespace(target)
  const { kind } = target
  const bytes = await exchange.body()
  const object = toKubeObject(decodeObject(bytes, exchange.headers['content-type']), target)
  const options = writeOptions(exchange)
  checkDuplicates(exchange, bytes, options)
  exchange.subject = { group: kind.group, plural: kind.plural, kind: kind.kind, name: object.metadata.name ?? '' }
  const created = await context.resources.create(kind, object, options)
  await sendObject({ context, exchange, kind, object: created, status: 201 })
}

export function partOf({ subresource }: Target): Part {
  return subresource === 'status' ? 'status' : 'main'
}

export async function handleUpdate(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { kind } = target
  const bytes = await exchange.body()
  const object = toKubeObject(decodeObject(bytes, exchange.headers['content-type']), target)
  const { subresource } = target
  const options = writeOptions(exchange, { subresource })
  checkDuplicates(exchange, bytes, options)
  const updated = await context.resources.update(kind, object, partOf(target), options)
  await sendObject({ context, exchange, kind, object: updated, status: 200 })
}

/** From the query and the body alike; the body wins, as it can say more. */
export function deleteOptions(exchange: Exchange, body: unknown): DeleteOptions {
  const given = isObject(body) ? body : {}
  const { kind = 'DeleteOptions' } = given
  if (kind !== 'DeleteOptions') throw mismatch(`the body is a ${String(kind)}; a deletion takes DeleteOptions`)
  const { query } = exchange
  const dryRun = Array.isArray(given.dryRun) ? given.dryRun.map(String) : []
  const grace = given.gracePeriodSeconds ?? countParam(query, 'gracePeriodSeconds')
  if (grace !== undefined && !(Number.isSafeInteger(grace) && Number(grace) >= 0)) {
    throw mismatch(`gracePeriodSeconds: ${JSON.stringify(grace)} is not a whole number of at least 0`)
  }
  const orphan = given.orphanDependents ?? query.get('orphanDependents')
  const asked = propagationOf(given.propagationPolicy ?? query.get('propagationPolicy'))
  if (asked !== undefined && orphan !== undefined && orphan !== null) {
    const message = 'orphanDependents and propagationPolicy may not both be given'
    throw new DroverError('invalid', message, { fields: [{ path: 'propagationPolicy', reason: 'Invalid', message }] })
  }
  const propagation = asked ?? (orphan === true || orphan === 'true' ? 'Orphan' : undefined)
  const preconditions = isObject(given.preconditions) ? given.preconditions : {}
  const { uid, resourceVersion } = preconditions
  return {
    ...writeOptions(exchange, { bodyDryRun: dryRun }),
    ...(grace === undefined ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(propagation === undefined ? {} : { propagation }),
    preconditions: {
      ...(typeof uid === 'string' ? { uid } : {}),
      ...(typeof resourceVersion === 'string' ? { resourceVersion } : {}),
    },
  }
}

export async function readDeleteOptions(exchange: Exchange): Promise<DeleteOptions> {
  const body = await exchange.body()
  return deleteOptions(exchange, body.length === 0 ? {} : decodeBody(body, exchange.headers['content-type']))
}

export async function handleDelete(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { kind, namespace, name } = target
  const options = await readDeleteOptions(exchange)
  const object = await context.resources.delete(kind, namespace, name, options)
  if (options.dryRun === true || isStillThere(context, kind, object)) {
    // A deletion that is under way is shown, so that the client can see what holds it.
    await sendObject({ context, exchange, kind, object, status: 200 })
    return
  }
  const { group, plural } = kind
  const details = { name, kind: plural, uid: object.metadata.uid, ...(group === '' ? {} : { group }) }
  exchange.sendStatus(successStatus(details))
}

function isStillThere(context: ApiContext, kind: KindDefinition, { metadata }: Stored<KubeObject>): boolean {
  return context.resources.get(kind, metadata.namespace ?? '', metadata.name)?.metadata.uid === metadata.uid
}

export async function handleDeleteCollection(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  requireNamespace(target)
  const options = await readDeleteOptions(exchange)
  await reach(context, undefined)
  const objects = context.resources.list(target.kind, listFilter(target, exchange.query))
  const deleted: Stored<KubeObject>[] = []
  for (let at = 0; at < objects.length; at += DELETES_AT_ONCE) {
    const batch = objects.slice(at, at + DELETES_AT_ONCE).map(({ metadata }) => {
      // Only what was listed: an object that was made anew in the meantime is not what the client saw.
      const preconditions = { uid: metadata.uid }
      const own = { ...options, preconditions }
      return context.resources.delete(target.kind, metadata.namespace ?? '', metadata.name, own).catch(ignoreGone)
    })
    for (const object of await Promise.all(batch)) if (object !== undefined) deleted.push(object)
  }
  const { kind } = target
  const items = deleted.map((object) => JSON.parse(context.resources.encoded(object).toString('utf8')) as unknown)
  const metadata = { resourceVersion: String(context.resources.revision()) }
  exchange.sendJson(200, { kind: `${kind.kind}List`, apiVersion: apiVersionOf(kind), metadata, items })
}

function ignoreGone(error: unknown): undefined {
  if (error instanceof DroverError && (error.code === 'notFound' || error.code === 'conflict')) return undefined
  throw error
}

/** `finalize` of a namespace: its finalizers, and nothing else. */
export async function handleFinalize(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { kind, name } = target
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  const spec = isObject(body.spec) ? body.spec : {}
  const change = (object: KubeObject): KubeObject => ({ ...object, spec: { finalizers: spec.finalizers ?? [] } })
  const updated = await context.resources.modify(
    kind,
    '',
    name,
    'main',
    change,
    writeOptions(exchange, { subresource: 'finalize' }),
  )
  await sendObject({ context, exchange, kind, object: updated, status: 200 })
}
