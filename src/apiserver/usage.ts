/**
 * `metrics.k8s.io/v1beta1`, what `kubectl top` and autoscalers read: what nodes and pods use, asked of the agents at each
 * request. A node that does not answer in time has no entry; no entry is kept.
 * Source: k8s.io/metrics/pkg/apis/metrics/v1beta1.
 */
import type { LabelSelector, Stored } from '../api/meta.ts'
import { isNodeReady, nodeKind } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { matchesSelector, parseSelector } from '../api/selector.ts'
import { timestamp, withTimeout } from '../base/clock.ts'
import type { NodeUsage, UsageRates } from '../rpc/tables.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { askNode } from './node_streams.ts'
import { methodNotAllowed, notFound } from './status_error.ts'

export const USAGE_GROUP = 'metrics.k8s.io'
export const USAGE_VERSION = 'v1beta1'
/** How these look in discovery. */
export const USAGE_KINDS = [
  { kind: 'NodeMetrics', plural: 'nodes', namespaced: false },
  { kind: 'PodMetrics', plural: 'pods', namespaced: true },
] as const

const NODES_PATH = /^\/apis\/metrics\.k8s\.io\/v1beta1\/nodes(?:\/([^/]+))?$/
const PODS_PATH = /^\/apis\/metrics\.k8s\.io\/v1beta1\/(?:namespaces\/([^/]+)\/)?pods(?:\/([^/]+))?$/
const ANSWER_TIMEOUT_MS = 5_000

/** False when the path is none of these. */
export async function handleUsage(context: ApiContext, exchange: Exchange): Promise<boolean> {
  const { path, method, query } = exchange
  const nodes = NODES_PATH.exec(path)
  const pods = PODS_PATH.exec(path)
  if (nodes === null && pods === null) return false
  if (method !== 'GET') throw methodNotAllowed(`${path} takes GET`)
  const selector = parseSelector(query.get('labelSelector') ?? '')
  const [, namespace = '', podName = ''] = pods ?? []
  const nodeName = nodes?.[1] ?? ''
  const items =
    nodes === null
      ? await podItems(context, exchange, { namespace, name: podName, selector })
      : await nodeItems(context, exchange, nodeName, selector)
  const apiVersion = `${USAGE_GROUP}/${USAGE_VERSION}`
  const kind = nodes === null ? 'PodMetrics' : 'NodeMetrics'
  const one = nodes === null ? podName : nodeName
  if (one === '') {
    exchange.sendJson(200, { kind: `${kind}List`, apiVersion, metadata: {}, items })
    return true
  }
  const [item] = items
  if (item === undefined) throw notFound(`${nodes === null ? 'podmetrics' : 'nodemetrics'}.${USAGE_GROUP}`, one)
  exchange.sendJson(200, { kind, apiVersion, ...item })
  return true
}

const quantities = ({ cpuNanoCores, memoryWorkingSetBytes }: UsageRates) => ({
  cpu: `${cpuNanoCores}n`,
  memory: `${Math.ceil(memoryWorkingSetBytes / 1024)}Ki`,
})

function measured(atMs: number, { windowMs }: UsageRates): { timestamp: string; window: string } {
  return { timestamp: timestamp(atMs), window: `${(windowMs / 1000).toFixed(3)}s` }
}

/** Answers by node; of those that give none, nothing. */
async function ask(context: ApiContext, exchange: Exchange, nodes: Iterable<string>): Promise<Map<string, NodeUsage>> {
  const stop = new AbortController()
  const signal = AbortSignal.any([exchange.signal, context.stopping, stop.signal])
  const answers = [...new Set(nodes)].map(async (node): Promise<[string, NodeUsage][]> => {
    const answer = askNode(context, { node, verb: 'usage', request: {}, signal })
    try {
      return [[node, (await withTimeout(context.clock, answer, ANSWER_TIMEOUT_MS, `asking ${node}`)) as NodeUsage]]
    } catch (err) {
      context.log.debug({ err, node }, 'a node does not say what its pods use')
      return []
    }
  })
  try {
    return new Map((await Promise.all(answers)).flat())
  } finally {
    stop.abort()
  }
}

async function nodeItems(
  context: ApiContext,
  exchange: Exchange,
  name: string,
  selector: LabelSelector,
): Promise<object[]> {
  const nodes = context.resources
    .list(nodeKind)
    .filter((node) => name === '' || node.metadata.name === name)
    .filter((node) => isNodeReady(node) && matchesSelector(selector, node.metadata.labels ?? {}))
  const answers = await ask(
    context,
    exchange,
    nodes.map((node) => node.metadata.name),
  )
  return nodes.flatMap(({ metadata }) => {
    const answer = answers.get(metadata.name)
    if (answer === undefined) return []
    const head = { name: metadata.name, creationTimestamp: metadata.creationTimestamp, labels: metadata.labels ?? {} }
    return [{ metadata: head, ...measured(answer.atMs, answer.node), usage: quantities(answer.node) }]
  })
}

interface PodQuestion {
  namespace: string
  name: string
  selector: LabelSelector
}

async function podItems(
  context: ApiContext,
  exchange: Exchange,
  { namespace, name, selector }: PodQuestion,
): Promise<object[]> {
  const pods: Stored<Pod>[] = context.resources
    .list(podKind, namespace === '' ? {} : { namespace })
    .filter(({ metadata }) => name === '' || metadata.name === name)
    .filter(({ metadata, status }) => status?.phase === 'Running' && matchesSelector(selector, metadata.labels ?? {}))
  const answers = await ask(
    context,
    exchange,
    pods.flatMap(({ spec }) => spec.nodeName ?? []),
  )
  const byPod = new Map(
    [...answers].flatMap(([node, { atMs, pods: told }]) =>
      told.map((pod) => [`${node}/${pod.namespace}/${pod.name}`, { ...pod, atMs }] as const),
    ),
  )
  return pods.flatMap(({ metadata, spec }) => {
    const told = byPod.get(`${spec.nodeName}/${metadata.namespace}/${metadata.name}`)
    const [first] = told?.containers ?? []
    if (told === undefined || first === undefined) return []
    const { creationTimestamp, labels = {} } = metadata
    return [
      {
        metadata: { name: metadata.name, namespace: metadata.namespace, creationTimestamp, labels },
        ...measured(told.atMs, first),
        containers: told.containers.map((container) => ({ name: container.name, usage: quantities(container) })),
      },
    ]
  })
}
