/** `drover why`: what has become of a pod, what stands in its way, and what would help. */
import type { Command } from 'commander'
import { isPodFinished, isPodReady } from '../api/conditions.ts'
import type { Condition, KubeObject } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { formatAge } from '../api/pod_kind.ts'
import { type Cause, handlerProblem, type NodeVerdict, type Obstacle, type WhyAnswer } from '../api/why.ts'
import { DroverError } from '../base/errors.ts'
import { formatBytes, formatCpuMillis } from '../base/quantity.ts'
import { type CliContext, contextOf, type Io, parseTargets, type Target } from './context.ts'
import { podsOf } from './pods_of.ts'
import { resourcePath } from './rest_client.ts'
import { alignColumns } from './table.ts'

const MAX_NODES = 10
/** Conditions of workloads that are good when they are False. */
const GOOD_WHEN_FALSE = new Set(['ReplicaFailure', 'Failed', 'FailureTarget', 'Suspended', 'RolledBack'])

export function registerWhy(program: Command, io: Io): void {
  program
    .command('why')
    .description('say why a pod waits, fails, moved or is where it is, and what would help')
    .argument('<target...>', 'POD, pod/NAME, or a workload such as deploy/NAME: its pods that are not ready')
    .option('-o, --output <format>', 'text or json')
    .addHelpText('after', '\nExamples:\n  drover why pod/web-1\n  drover why deploy/web\n  drover why web-1 -o json')
    .action(async (words: string[], options: { output?: string }, command: Command) => {
      const context = contextOf(io, command)
      try {
        await run(context, targetOf(words), options.output)
      } finally {
        context.close()
      }
    })
}

/** A bare name is a pod's. */
function targetOf(words: readonly string[]): Target {
  const [only] = words
  const targets = parseTargets(words.length === 1 && only !== undefined && !only.includes('/') ? ['pod', only] : words)
  const [target] = targets
  if (target?.name === undefined || targets.length > 1) throw new DroverError('invalid', 'name one pod or one workload')
  return target
}

async function run(context: CliContext, target: Target, output: string | undefined): Promise<void> {
  if (output !== undefined && output !== 'json' && output !== 'text') {
    throw new DroverError('invalid', `--output takes text or json, not "${output}"`)
  }
  if (target.kind.kind === 'Pod') {
    const answer = await ask(context, target.name ?? '')
    if (output === 'json') context.print(JSON.stringify(answer, null, 2))
    else for (const line of whyLines(answer, context.io.clock.now())) context.print(line)
    return
  }
  await runWorkload(context, target, output)
}

function ask(context: CliContext, name: string): Promise<WhyAnswer> {
  const namespace = encodeURIComponent(context.namespace)
  const path = `/apis/drover.dev/v1/namespaces/${namespace}/pods/${encodeURIComponent(name)}/why`
  return context.client.call<WhyAnswer>('GET', path)
}

async function runWorkload(context: CliContext, target: Target, output: string | undefined): Promise<void> {
  const { kind, name = '' } = target
  const object = await context.client.call<KubeObject>('GET', resourcePath(kind, context.namespace, name))
  const conditions = (object.status as { conditions?: Condition[] } | undefined)?.conditions ?? []
  const bad = conditions.filter(({ type, status }) => (status === 'True') === GOOD_WHEN_FALSE.has(type))
  const pods = await podsOf(context, target).catch((error: unknown) => {
    if (error instanceof DroverError && error.code === 'notFound') return []
    throw error
  })
  const unready = pods.filter((pod: Pod) => !isPodReady(pod) && !isPodFinished(pod))
  const answers = await Promise.all(unready.map(({ metadata }) => ask(context, metadata.name ?? '')))
  if (output === 'json') {
    context.print(JSON.stringify({ conditions: bad, pods: pods.length, items: answers }, null, 2))
    return
  }
  for (const { type, reason = type, message = '' } of bad)
    context.print(`${kind.singular}/${name}: ${reason}: ${message}`)
  if (answers.length === 0) context.print(`${kind.singular}/${name}: all of its ${pods.length} pods are ready`)
  const nowMs = context.io.clock.now()
  for (const [index, answer] of answers.entries()) {
    if (index > 0 || bad.length > 0) context.print('')
    for (const line of whyLines(answer, nowMs)) context.print(line)
  }
}

/** Pure: the answer for people. */
export function whyLines(answer: WhyAnswer, nowMs: number): string[] {
  const { metadata, summary, causes, placement, state } = answer
  const lines = [`pod/${metadata.name} ${summary}`]
  if (causes.length > 0) lines.push('', 'What is known, the decisive first:', ...causeLines(causes, nowMs))
  if (placement === undefined) return lines
  const [first] = placement.changes
  if (state === 'pending' && first !== undefined) {
    lines.push('', `The smallest change that would help: ${first.text}`)
    for (const { text } of placement.changes.slice(1)) lines.push(`  or: ${text}`)
  }
  lines.push('', state === 'pending' ? 'Nodes:' : 'Nodes, if it were placed now (best first):')
  lines.push(...nodeLines(placement.nodes, answer.node).map((line) => `  ${line}`))
  return lines
}

function causeLines(causes: readonly Cause[], nowMs: number): string[] {
  const rows = causes.map(({ time, reason, message }) => [
    time === undefined ? 'now' : `${formatAge(nowMs - Date.parse(time))} ago`,
    reason,
    message,
  ])
  return alignColumns(rows).map((line) => `  ${line}`)
}

function nodeLines(nodes: readonly NodeVerdict[], own: string | undefined): string[] {
  const rows = nodes.slice(0, MAX_NODES).map(({ node, obstacles, score }) => {
    const mark = node === own ? '*' : ''
    if (score === undefined) return [`${node}${mark}`, 'no', obstacles.map(obstacleText).join('; ')]
    const { avoidedTaints, siblings, zoneSiblings, fullness } = score
    const avoided = avoidedTaints > 0 ? `, ${avoidedTaints} taints to avoid` : ''
    const detail = `${siblings} of its group here, ${zoneSiblings} in the zone, ${Math.round(fullness * 100)} % full with it${avoided}`
    return [`${node}${mark}`, 'yes', detail]
  })
  const more = nodes.length > MAX_NODES ? [`… and ${nodes.length - MAX_NODES} more nodes (-o json shows all)`] : []
  return [...alignColumns([['NODE', 'FITS', 'BECAUSE'], ...rows]), ...more]
}

function obstacleText(obstacle: Obstacle): string {
  switch (obstacle.type) {
    case 'resource': {
      const { resource, requested, free } = obstacle
      return `${resource}: asks for ${amount(resource, requested)}, ${amount(resource, free)} free`
    }
    case 'taint': {
      const value = obstacle.value === undefined ? '' : `=${obstacle.value}`
      return `taint ${obstacle.key}${value}:${obstacle.effect} is not tolerated`
    }
    case 'labels':
      return `lacks ${Object.entries(obstacle.missing)
        .map(([key, value]) => `${key}=${value}`)
        .join(', ')}`
    case 'handler':
      return `no runtime handler ${obstacle.handler}: ${handlerProblem(obstacle)}`
    case 'cordoned':
      return 'cordoned'
    case 'notReady':
      return 'not ready'
    case 'network':
      return 'no pod network yet'
    case 'ports':
      return 'host ports are taken'
    case 'spread':
      return 'would overdo a spread constraint'
    case 'other':
      return obstacle.reason
  }
}

function amount(resource: string, value: number): string {
  if (resource === 'cpu') return formatCpuMillis(value)
  if (resource !== 'memory' && resource !== 'ephemeral-storage') return String(value)
  return formatBytes(value < 2 ** 20 ? value : Math.floor(value / 2 ** 20) * 2 ** 20)
}
