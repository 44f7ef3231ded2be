/**
 * The way of every request: who, what, may they, is there room, do it, and say what went wrong. Nothing thrown by a
 * handler leaves this file: it becomes a Status.
 */
import { DroverError } from '../base/errors.ts'
import type { Registry } from '../base/metrics.ts'
import { type Authenticate, isOpenPath, type PeerSocket } from './authentication.ts'
import { attributesOf } from './authorization/attributes.ts'
import { writeGuard } from './authorization/escalation.ts'
import { impersonate } from './authorization/impersonation.ts'
import { CLUSTER_PATH, sendCluster } from './cluster.ts'
import type { ApiContext } from './context.ts'
import { type Discovery, READ_VERBS } from './discovery.ts'
import { handleEviction } from './eviction.ts'
import { Exchange, type RawRequest, type RawResponse } from './exchange.ts'
import type { FairQueue } from './fair_queue.ts'
import { sendHealth, sendVersion } from './health.ts'
import { handleImages, IMAGES_PATH } from './images.ts'
import { handleGet, handleList } from './list.ts'
import { handleLog } from './logs.ts'
import { handleMaintenance, isMaintenance } from './maintenance.ts'
import type { ApiMetrics, RequestLabels } from './metrics.ts'
import { handleCreate, handleDelete, handleDeleteCollection, handleFinalize, handleUpdate } from './mutate.ts'
import { handleNodeChecks, NODE_CHECKS_PATH } from './node_check.ts'
import type { OpenApiServer } from './openapi.ts'
import { handlePatch } from './patch.ts'
import { handleBinding } from './pods.ts'
import { handleReview } from './reviews.ts'
import { parseTarget, SHOWN_KINDS, subresourcesOf, type Target, verbOf } from './router.ts'
import { handleScale } from './scale.ts'
import { methodNotAllowed } from './status_error.ts'
import { handleTokenRequest, sendKeys } from './token_request.ts'
import { handleUsage } from './usage.ts'
import { handleWatch } from './watch.ts'
import { handleWhy } from './why.ts'

/** Bounds on what is under way at once; past them the answer is 429, and clients come back. */
const MAX_IN_FLIGHT = 2_000
const MAX_LONG_RUNNING = 10_000

export interface HandlerParts {
  context: ApiContext
  authenticate: Authenticate
  discovery: Discovery
  openApi: OpenApiServer
  metrics: ApiMetrics
  registry: Registry
  /** Whose turn it is. */
  queue: FairQueue
}

type Handler = (context: ApiContext, exchange: Exchange, target: Target) => Promise<void>

const BY_VERB: Readonly<Record<string, Handler>> = {
  get: handleGet,
  list: handleList,
  watch: handleWatch,
  create: handleCreate,
  update: handleUpdate,
  patch: handlePatch,
  delete: handleDelete,
  deletecollection: handleDeleteCollection,
}

const SUBRESOURCES: Readonly<Record<string, Handler>> = {
  scale: handleScale,
  binding: handleBinding,
  eviction: handleEviction,
  finalize: handleFinalize,
  token: handleTokenRequest,
  log: handleLog,
  exec: requireUpgrade,
  attach: requireUpgrade,
  portforward: requireUpgrade,
}

/** These arrive as upgrades (see upgrade.ts); a plain request is a client that does not know. */
function requireUpgrade(_context: ApiContext, _exchange: Exchange, { subresource }: Target): Promise<void> {
  const message = `pods/${subresource} needs a WebSocket (protocol v5.channel.k8s.io), not a plain request`
  return Promise.reject(new DroverError('invalid', message))
}

/** Nodes take their time to answer these. */
const LONG_PATHS: ReadonlySet<string> = new Set([IMAGES_PATH, NODE_CHECKS_PATH])

interface Understood {
  target: Target | undefined
  verb: string
  longRunning: boolean
  labels: RequestLabels
}

function understand(exchange: Exchange): Understood {
  const { path, query, method } = exchange
  const target = parseTarget(path)
  const verb = verbOf(method, target, query)
  const { group = '', version = '', plural = '' } = target?.kind ?? {}
  const { subresource = '', name = '', namespace = '' } = target ?? {}
  if (target !== undefined) exchange.subject = { group, plural, kind: target.kind.kind, name }
  const longRunning =
    verb === 'watch' ||
    LONG_PATHS.has(path) ||
    isMaintenance(path) ||
    ['log', 'exec', 'attach', 'portforward'].includes(subresource)
  const scope = target === undefined ? '' : name !== '' ? 'resource' : namespace !== '' ? 'namespace' : 'cluster'
  // A series of metrics for every word that a client makes up would be memory without end.
  const isKnown = target === undefined || subresource === '' || subresourcesOf(target.kind).has(subresource)
  const labels = { verb, group, version, resource: plural, subresource: isKnown ? subresource : 'other', scope }
  return { target, verb, longRunning, labels }
}

export type HandleRequest = (request: RawRequest, response: RawResponse, socket: PeerSocket | undefined) => void

export function createHandler(parts: HandlerParts): HandleRequest {
  const { context, metrics } = parts
  return (request, response, socket) => {
    const { clock, log } = context
    const exchange = new Exchange({ id: context.random.uuid(), clock, request, response })
    const startMs = clock.monotonicMs()
    let understood: Understood | undefined
    let done: ReturnType<ApiMetrics['begin']> | undefined
    const serve = async (): Promise<void> => {
      understood = understand(exchange)
      done = metrics.begin(understood.labels, understood.longRunning)
      await route(parts, exchange, understood, socket)
    }
    const finish = (): void => {
      const seconds = (clock.monotonicMs() - startMs) / 1000
      done?.(exchange.statusCode, seconds, exchange.responseBytes)
      const level = exchange.statusCode >= 500 || !['GET', 'HEAD'].includes(exchange.method) ? 'info' : 'debug'
      log[level](
        {
          request: exchange.id,
          method: exchange.method,
          verb: understood?.labels.verb,
          path: exchange.path,
          status: exchange.statusCode,
          ms: Math.round(seconds * 1e6) / 1e3,
          user: exchange.user.name,
        },
        'request',
      )
    }
    serve()
      .catch((thrown: unknown) => {
        const error = DroverError.from(thrown)
        if (error.code === 'internal')
          log.error({ request: exchange.id, path: exchange.path, err: error }, 'request failed')
        exchange.fail(error)
      })
      .then(finish, (error: unknown) => log.error({ request: exchange.id, err: error }, 'cannot answer'))
  }
}

async function route(parts: HandlerParts, exchange: Exchange, understood: Understood, socket: PeerSocket | undefined) {
  const { context, metrics } = parts
  const { path } = exchange
  if (isOpenPath(path)) {
    if (path === '/version') sendVersion(context, exchange)
    else await sendHealth(context, exchange)
    return
  }
  const { authorizer } = context
  const { target, verb } = understood
  exchange.user = impersonate(authorizer, parts.authenticate(socket, exchange.headers.authorization), exchange.headers)
  authorizer.require(exchange.user, attributesOf({ target, verb, method: exchange.method, path }))
  if (metrics.inFlight > MAX_IN_FLIGHT || metrics.longRunning > MAX_LONG_RUNNING) {
    throw new DroverError('tooManyRequests', 'the server has too many requests under way; try again', {
      retryAfterSeconds: 1,
    })
  }
  const { name } = exchange.user
  const leave = understood.longRunning ? parts.queue.enterLong(name) : await parts.queue.enter(name, exchange.signal)
  try {
    await serveRoute(parts, exchange, understood)
  } finally {
    leave()
  }
}

async function serveRoute(parts: HandlerParts, exchange: Exchange, { target, verb }: Understood): Promise<void> {
  const { context } = parts
  const { path } = exchange
  if (target !== undefined) await routeResource(context, exchange, verb, target)
  else if (!(await routePath(parts, exchange))) {
    throw new DroverError('notFound', `the server could not find the requested resource: nothing is served at ${path}`)
  }
}

async function routeResource(context: ApiContext, exchange: Exchange, verb: string, target: Target): Promise<void> {
  const { kind, subresource } = target
  if (SHOWN_KINDS.includes(kind)) return routeShown(context, exchange, verb, target)
  exchange.guard = writeGuard(context.authorizer, exchange.user, { kind, verb })
  if (subresource !== '' && !subresourcesOf(kind).has(subresource)) {
    throw new DroverError('notFound', `${kind.plural} have no sub-resource "${subresource}"`)
  }
  const special = SUBRESOURCES[subresource]
  if (special !== undefined) return special(context, exchange, target)
  const handler = BY_VERB[verb]
  if (handler === undefined || (subresource === 'status' && !['get', 'update', 'patch'].includes(verb))) {
    throw methodNotAllowed(
      `${exchange.method} is not supported on ${kind.plural}${subresource && `/${subresource}`} here`,
    )
  }
  return handler(context, exchange, target)
}

/** Endpoints are read from EndpointSlices, and made as such. */
function routeShown(context: ApiContext, exchange: Exchange, verb: string, target: Target): Promise<void> {
  const handler = READ_VERBS.includes(verb) && target.subresource === '' ? BY_VERB[verb] : undefined
  if (handler === undefined) {
    throw methodNotAllowed(
      'endpoints follow from the EndpointSlices of a service, and are only read; make an EndpointSlice',
    )
  }
  return handler({ ...context, resources: context.endpoints }, exchange, target)
}

/** Paths that are no resources; false when nothing is served there. */
async function routePath(parts: HandlerParts, exchange: Exchange): Promise<boolean> {
  const { context, discovery, openApi, registry } = parts
  if (exchange.path === IMAGES_PATH) {
    await handleImages(context, exchange)
    return true
  }
  if (exchange.path === NODE_CHECKS_PATH) {
    await handleNodeChecks(context, exchange)
    return true
  }
  if (exchange.path === CLUSTER_PATH && exchange.method === 'GET') {
    await sendCluster(context, exchange)
    return true
  }
  if (await handleMaintenance(context, exchange)) return true
  if (sendKeys(context, exchange) || (await handleReview(context, exchange))) return true
  if ((await handleWhy(context, exchange)) || (await handleUsage(context, exchange))) return true
  if ((await discovery.handle(exchange)) || (await openApi.handle(exchange))) return true
  if (exchange.path === '/metrics' && exchange.method === 'GET') {
    exchange.send(200, await registry.metrics(), registry.contentType)
    return true
  }
  return false
}
