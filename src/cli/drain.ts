/**
 * `drover drain`: moves the pods of a node elsewhere, surge first. It marks the node; the controller of ReplicaSets then
 * makes a replacement for each of its pods, and lets the old one go when the new one serves (src/controllers/replicaset).
 * What has no such controller is evicted here, under the disruption budgets. It can be stopped and run again at any
 * time: all state is in the cluster. Rejected: eviction of everything at once, as kubectl does; a service with one
 * replica would have none for a moment.
 */
import type { Command } from 'commander'
import { isPodFinished, isTerminating } from '../api/conditions.ts'
import { type Event, eventKind } from '../api/event.ts'
import { keyOf } from '../api/kind.ts'
import { ANNOTATION, DRAIN_WAITS } from '../api/names.ts'
import { nodeKind } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { sleep, timestamp } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import { CliContext, type GlobalOptions, type Io } from './context.ts'
import { follow } from './follow.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'

interface DrainOptions {
  force?: boolean
  timeout: string
  gracePeriod?: string
}

const MERGE = 'application/merge-patch+json'
const EVICT_AGAIN_MS = 1_000

export function registerDrain(program: Command, io: Io): void {
  program
    .command('drain')
    .description('move the pods of a node elsewhere before they end, and give it no new ones')
    .argument('<node>', 'name of the node')
    .option('--force', 'also end pods that nobody will replace')
    .option('--timeout <seconds>', 'give up after this long; 0: never', '0')
    .option('--grace-period <seconds>', 'for pods that are evicted, in place of their own')
    .addHelpText('after', '\nIt stays cordoned afterwards: drover node uncordon NODE gives it pods again.')
    .action((name: string, options: DrainOptions, command: Command) => drain(io, name, options, command))
}

async function drain(io: Io, name: string, options: DrainOptions, command: Command): Promise<void> {
  const timeoutMs = secondsOf('--timeout', options.timeout) * 1000
  const graceSeconds = options.gracePeriod === undefined ? undefined : secondsOf('--grace-period', options.gracePeriod)
  const late = new AbortController()
  const signal = AbortSignal.any([io.signal, late.signal])
  const context = new CliContext({ ...io, signal }, command.optsWithGlobals<GlobalOptions>())
  const left = new Map<string, Pod>()
  const waits = new Map<string, string>()
  const timer = timeoutMs > 0 ? io.clock.schedule(timeoutMs, () => late.abort()) : undefined
  try {
    const pods = await podsOf(context, name)
    refuseBare(name, pods, options.force === true)
    await mark(context, name)
    context.print(`node/${name} cordoned`)
    await moveAway(context, { name, left, waits, graceSeconds })
    if (late.signal.aborted) throw new DroverError('timeout', stuck(name, options.timeout, { left, waits }))
    if (!io.signal.aborted) context.print(`node/${name} drained`)
  } finally {
    timer?.cancel()
    late.abort()
    context.close()
  }
}

function secondsOf(option: string, text: string): number {
  const seconds = Number(text)
  if (text.trim() !== '' && Number.isInteger(seconds) && seconds >= 0) return seconds
  throw new DroverError('invalid', `${option} takes a whole number of seconds, not "${text}"`)
}

const podsPath = resourcePath(podKind, undefined)
const ownerOf = (pod: Pod) => pod.metadata.ownerReferences?.find(({ controller }) => controller === true)

/** A DaemonSet's pods belong to the node: they stay, as with kubectl. */
const mustLeave = (pod: Pod): boolean => ownerOf(pod)?.kind !== 'DaemonSet' && !isPodFinished(pod)

async function listPods(context: CliContext, node: string): Promise<ObjectList<Pod>> {
  const query = { fieldSelector: `spec.nodeName=${node}` }
  return context.client.call<ObjectList<Pod>>('GET', podsPath, { query })
}

async function podsOf(context: CliContext, node: string): Promise<Pod[]> {
  // Asked first, so that a wrong name is said to be one.
  await context.client.call('GET', resourcePath(nodeKind, undefined, node))
  return (await listPods(context, node)).items.filter(mustLeave)
}

function refuseBare(node: string, pods: readonly Pod[], force: boolean): void {
  const bare = pods.filter((pod) => ownerOf(pod) === undefined && !isTerminating(pod)).map(keyOf)
  if (force || bare.length === 0) return
  throw new DroverError(
    'conflict',
    `nobody would replace ${bare.join(', ')} of node ${node}: nothing was changed; --force ends them`,
  )
}

function mark(context: CliContext, name: string): Promise<unknown> {
  const annotations = { [ANNOTATION.draining]: timestamp(context.io.clock.now()) }
  const body = { metadata: { annotations }, spec: { unschedulable: true } }
  return context.client.call('PATCH', resourcePath(nodeKind, undefined, name), { body, contentType: MERGE })
}

interface Drain {
  name: string
  /** Pods that have not left, by namespace and name. */
  left: Map<string, Pod>
  /** What holds a pod back, by namespace and name. */
  waits: Map<string, string>
  graceSeconds: number | undefined
}

/** Resolves when no pod is left, or when the context's signal is raised. */
async function moveAway(context: CliContext, drain: Drain): Promise<void> {
  const { name, left } = drain
  const list = await listPods(context, name)
  const evictions = new Map<string, Promise<void>>()
  const take = (pod: Pod): void => {
    const key = keyOf(pod)
    if (!mustLeave(pod)) {
      left.delete(key)
      return
    }
    if (isTerminating(pod) && !isTerminating(left.get(key) ?? { metadata: {} })) context.print(`pod/${key} ends`)
    left.set(key, pod)
    if (isTerminating(pod) || ownerOf(pod)?.kind === 'ReplicaSet' || evictions.has(key)) return
    const eviction = evict(context, pod, drain)
    eviction.catch(() => undefined)
    evictions.set(key, eviction)
  }
  for (const pod of list.items) take(pod)
  const replaced = [...left.values()].filter((pod) => ownerOf(pod)?.kind === 'ReplicaSet').length
  if (replaced > 0) context.print(`${replaced} ${replaced === 1 ? 'pod is' : 'pods are'} replaced before the old end`)
  if (left.size === 0) return
  const told = tellWaits(context, drain)
  told.catch(() => undefined)
  const query = { fieldSelector: `spec.nodeName=${name}` }
  const accept = 'application/json'
  const resourceVersion = list.metadata.resourceVersion
  for await (const { type, object } of follow<Pod>(context, { path: podsPath, query, accept, resourceVersion })) {
    if (type === 'DELETED') {
      left.delete(keyOf(object))
      context.print(`pod/${keyOf(object)} has left (${left.size} to go)`)
    } else take(object)
    if (left.size === 0) break
  }
  if (left.size === 0) await Promise.all(evictions.values())
}

/** Asks until the budget allows it. */
async function evict(context: CliContext, pod: Pod, drain: Drain): Promise<void> {
  const { graceSeconds } = drain
  const { namespace = '', name = '' } = pod.metadata
  const body = {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { namespace, name },
    ...(graceSeconds === undefined ? {} : { deleteOptions: { gracePeriodSeconds: graceSeconds } }),
  }
  while (!context.io.signal.aborted) {
    try {
      await context.client.call('POST', `${resourcePath(podKind, namespace, name)}/eviction`, { body })
      return
    } catch (error) {
      if (isCode(error, 'notFound')) return
      if (!isCode(error, 'tooManyRequests')) throw error
      tell(context, drain, `${namespace}/${name}`, DroverError.from(error).message)
      await sleep(context.io.clock, EVICT_AGAIN_MS, context.io.signal).catch(() => undefined)
    }
  }
}

/** Says once of a pod what holds it back. */
function tell(context: CliContext, { waits }: Drain, key: string, message: string): void {
  if (waits.get(key) === message) return
  waits.set(key, message)
  context.note(`pod/${key} waits: ${message}`)
}

/** What the controller says of pods that it may not let go yet. Ends with the context's signal. */
async function tellWaits(context: CliContext, drain: Drain): Promise<void> {
  const path = resourcePath(eventKind, undefined)
  const query = { fieldSelector: `reason=${DRAIN_WAITS},involvedObject.kind=Pod` }
  const request = { path, query, accept: 'application/json' }
  const heard = ({ involvedObject: { namespace = '', name = '', uid }, message = '' }: Event): void => {
    const key = `${namespace}/${name}`
    if (drain.left.get(key)?.metadata.uid === uid) tell(context, drain, key, message)
  }
  const list = await context.client.call<ObjectList<Event>>('GET', path, { query })
  for (const event of list.items) heard(event)
  const { resourceVersion } = list.metadata
  for await (const { type, object } of follow<Event>(context, { ...request, resourceVersion })) {
    if (type !== 'DELETED') heard(object)
  }
}

function stuck(
  name: string,
  seconds: string,
  { left, waits }: { left: ReadonlyMap<string, Pod>; waits: ReadonlyMap<string, string> },
): string {
  const waiting = [...left.keys()].map((key) => (waits.has(key) ? `${key} (${waits.get(key)})` : key)).join(', ')
  return `node ${name} still runs ${waiting} after ${seconds} s (see: drover get pods -A -o wide; drover events); it stays cordoned: run this again to go on, or drover node uncordon ${name} to leave it as it is`
}
