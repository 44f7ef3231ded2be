/**
 * Drover's own questions:
 *
 *   GET  /apis/drover.dev/v1/namespaces/NS/pods/NAME/why      why the pod is where it is, or nowhere
 *   POST /apis/drover.dev/v1/plan    {items: PlanWorkload[]}  where pods would be placed; nothing is written
 *
 * A pod that is gone is explained by the events that outlived it.
 */
import { type Event, eventKind } from '../api/event.ts'
import { nodeKind } from '../api/node.ts'
import { podKind } from '../api/pod_kind.ts'
import type { PlacementPort, PlanAnswer, PlanWorkload, WhyAnswer } from '../api/why.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { methodNotAllowed } from './status_error.ts'
import { causesOf, endingEvent, stateOf, summaryOf } from './why_causes.ts'

const WHY_PATH = /^\/apis\/drover\.dev\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/why$/
const PLAN_PATH = '/apis/drover.dev/v1/plan'
const MAX_WORKLOADS = 1_000
const MAX_PODS = 100_000

/** False when the path is none of ours. */
export async function handleWhy(context: ApiContext, exchange: Exchange): Promise<boolean> {
  const [, namespace, name] = WHY_PATH.exec(exchange.path) ?? []
  if (namespace !== undefined && name !== undefined) {
    if (exchange.method !== 'GET') throw methodNotAllowed(`${exchange.path} takes GET`)
    await context.freshness.latest()
    exchange.sendJson(200, why(context, decodeURIComponent(namespace), decodeURIComponent(name)))
    return true
  }
  if (exchange.path !== PLAN_PATH) return false
  if (exchange.method !== 'POST') throw methodNotAllowed(`${PLAN_PATH} takes POST`)
  const workloads = readWorkloads(await exchange.body())
  await context.freshness.latest()
  const answer: PlanAnswer = {
    apiVersion: 'drover.dev/v1',
    kind: 'Plan',
    items: placementOf(context).plan(workloads),
  }
  exchange.sendJson(200, answer)
  return true
}

function placementOf({ placement }: ApiContext): PlacementPort {
  if (placement === undefined) throw new DroverError('unsupported', 'this server has no scheduler to ask')
  return placement
}

function eventsAbout({ resources }: ApiContext, namespace: string, name: string): Event[] {
  const time = (event: Event): string => event.lastTimestamp ?? event.eventTime ?? ''
  return resources
    .list(eventKind, { namespace })
    .filter(({ involvedObject }) => involvedObject.kind === 'Pod' && involvedObject.name === name)
    .sort((a, b) => (time(a) < time(b) ? -1 : 1))
}

function why(context: ApiContext, namespace: string, name: string): WhyAnswer {
  const { resources, placement } = context
  const base = { apiVersion: 'drover.dev/v1', kind: 'PodWhy', metadata: { namespace, name } } as const
  const pod = resources.get(podKind, namespace, name)
  const events = eventsAbout(context, namespace, name)
  if (pod === undefined) {
    const last = endingEvent(events)
    if (last === undefined) {
      throw new DroverError('notFound', `pods "${name}" not found, and no event in namespace ${namespace} tells of it`)
    }
    const causes = events.map(({ reason = '', message = '', lastTimestamp }) => ({
      ...(lastTimestamp ? { time: lastTimestamp } : {}),
      reason,
      message,
    }))
    return {
      ...base,
      state: 'gone',
      summary: `is gone: ${last.message ?? last.reason ?? ''}`,
      causes: causes.reverse(),
    }
  }
  const { nodeName } = pod.spec
  const own = events.filter(({ involvedObject }) => !involvedObject.uid || involvedObject.uid === pod.metadata.uid)
  const node = nodeName ? resources.get(nodeKind, '', nodeName) : undefined
  const state = stateOf(pod)
  const verdict = state === 'finished' || state === 'ending' ? undefined : placement?.explain(pod)
  const causes = causesOf(pod, node, own)
  return {
    ...base,
    state,
    ...(nodeName ? { node: nodeName } : {}),
    summary: summaryOf(pod, state, causes, verdict?.message),
    causes,
    ...(verdict === undefined ? {} : { placement: verdict }),
  }
}

function readWorkloads(body: Buffer): PlanWorkload[] {
  const { items: given } = decodeObject(body, 'application/json')
  const items = Array.isArray(given) ? (given as unknown[]) : undefined
  if (items === undefined) throw new DroverError('invalid', 'items: a list of workloads is expected')
  if (items.length > MAX_WORKLOADS) throw new DroverError('tooLarge', `items: at most ${MAX_WORKLOADS} workloads`)
  const workloads = items.map(readWorkload)
  if (workloads.reduce((sum, { count }) => sum + count, 0) > MAX_PODS) {
    throw new DroverError('tooLarge', `items: at most ${MAX_PODS} pods in all`)
  }
  return workloads
}

function readWorkload(item: unknown, index: number): PlanWorkload {
  const bad = (field: string, what: string): DroverError =>
    new DroverError('invalid', `items[${index}].${field}: ${what}`)
  if (!isObject(item)) throw bad('', 'a workload is expected')
  const { name, namespace, template, count, surge, replaces } = item
  if (typeof name !== 'string' || name === '') throw bad('name', 'a name is expected')
  if (typeof namespace !== 'string' || namespace === '') throw bad('namespace', 'a namespace is expected')
  if (!isObject(template) || !isObject(template.spec) || !Array.isArray(template.spec.containers)) {
    throw bad('template.spec.containers', "a pod's containers are expected")
  }
  const whole = (value: unknown, field: string): number => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_PODS) return value
    throw bad(field, 'a whole number is expected')
  }
  return {
    name,
    namespace,
    template: template as unknown as PlanWorkload['template'],
    count: whole(count, 'count'),
    surge: whole(surge, 'surge'),
    ...(typeof replaces === 'string' ? { replaces } : {}),
  }
}
