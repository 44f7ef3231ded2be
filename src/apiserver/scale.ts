/** The `scale` sub-resource: the one number that autoscalers and `kubectl scale` may turn. Source: autoscaling/v1 `Scale`. */
import { apiVersionOf } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { selectorText } from '../api/selector.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { find, reach } from './list.ts'
import { patchTypeOf } from './patch.ts'
import { applyOptions, revisionParams, writeOptions } from './query.ts'
import type { Target } from './router.ts'
import { methodNotAllowed, unsupportedMediaType } from './status_error.ts'

function field(value: unknown, name: string): unknown {
  return isObject(value) ? value[name] : undefined
}

export function toScale(object: Stored<KubeObject>): Record<string, unknown> {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata
  const replicas = field(object.status, 'replicas') ?? 0
  const selector = field(object.spec, 'selector')
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: field(object.spec, 'replicas') ?? 0 },
    status: { replicas, selector: isObject(selector) ? selectorText(selector) : '' },
  }
}

function replicasOf(scale: unknown): number {
  const replicas = field(field(scale, 'spec'), 'replicas') ?? 0
  if (typeof replicas === 'number' && Number.isSafeInteger(replicas) && replicas >= 0) return replicas
  const message = `${JSON.stringify(replicas)} is not a whole number of at least 0`
  throw new DroverError('invalid', `spec.replicas: ${message}`, {
    fields: [{ path: 'spec.replicas', reason: 'Invalid', message }],
  })
}

/** How a patch is to be read; a Scale has no lists, so a strategic patch is a merge patch. */
function patchType(contentType: string | undefined): 'merge' | 'apply' {
  const type = patchTypeOf(contentType)
  if (type === 'json') throw unsupportedMediaType('a scale can be patched with application/merge-patch+json')
  return type === 'apply' ? 'apply' : 'merge'
}

/** Server-side apply of the one number: whoever applies it owns it, as they would own it through the object itself. */
async function applyScale(context: ApiContext, exchange: Exchange, target: Target, given: unknown): Promise<void> {
  const { kind, namespace, name } = target
  find(context, target)
  const config: KubeObject = {
    apiVersion: apiVersionOf(kind),
    kind: kind.kind,
    metadata: { name, namespace },
    spec: { replicas: replicasOf(given) },
  }
  const { object } = await context.resources.apply(kind, config, 'main', applyOptions(exchange, 'scale'))
  exchange.sendJson(200, toScale(object))
}

export async function handleScale(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { kind, namespace, name } = target
  if (exchange.method === 'GET') {
    await reach(context, revisionParams(exchange.query).revision)
    exchange.sendJson(200, toScale(find(context, target)))
    return
  }
  if (exchange.method !== 'PUT' && exchange.method !== 'PATCH') {
    throw methodNotAllowed(`${kind.plural}/scale takes GET, PUT and PATCH`)
  }
  const body = await exchange.body()
  const type = exchange.headers['content-type']
  const given = decodeObject(body, type)
  if (exchange.method === 'PATCH' && patchType(type) === 'apply') return applyScale(context, exchange, target, given)
  const wanted = (scale: Record<string, unknown>): unknown =>
    exchange.method === 'PUT' ? given : { ...scale, ...given, metadata: given.metadata ?? {} }
  const change = (object: KubeObject): KubeObject => {
    const current = toScale(object as Stored<KubeObject>)
    const scale = wanted(current)
    const revision = field(field(scale, 'metadata'), 'resourceVersion')
    if (typeof revision === 'string' && revision !== '' && revision !== object.metadata.resourceVersion) {
      throw new DroverError('conflict', `${kind.plural} "${name}": the object has been modified; read it again`)
    }
    const spec = isObject(object.spec) ? object.spec : {}
    return { ...object, spec: { ...spec, replicas: replicasOf(scale) } }
  }
  const options = writeOptions(exchange, { subresource: 'scale' })
  const updated = await context.resources.modify(kind, namespace, name, 'main', change, options)
  exchange.sendJson(200, toScale(updated))
}
