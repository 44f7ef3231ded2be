/** `drover describe`: an object for people: what it is, where it stands, and what happened to it. */
import type { Command } from 'commander'
import { type Event, eventKind } from '../api/event.ts'
import type { KindDefinition } from '../api/kind.ts'
import type { Condition, KubeObject } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { formatAge, podKind } from '../api/pod_kind.ts'
import { isObject } from '../base/json.ts'
import { type CliContext, contextOf, type Io, parseTargets } from './context.ts'
import { EVENT_HEADER, eventRow } from './events.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { alignColumns } from './table.ts'

export function registerDescribe(program: Command, io: Io): void {
  program
    .command('describe')
    .description('show an object in full, with its events')
    .argument('<type...>', 'TYPE NAME…, TYPE/NAME…, or TYPE for all of them')
    .addHelpText('after', '\nExamples:\n  drover describe pod web-1\n  drover describe node/local-1')
    .action(async (words: string[], _options: object, command: Command) => {
      const context = contextOf(io, command)
      try {
        const blocks: string[] = []
        for (const { kind, name } of parseTargets(words)) {
          const path = resourcePath(kind, context.namespace, name)
          const answer = await context.client.call<KubeObject | ObjectList<KubeObject>>('GET', path)
          const objects = 'items' in answer ? answer.items : [answer]
          for (const object of objects) blocks.push((await describe(context, kind, object)).join('\n'))
        }
        context.print(blocks.join('\n\n\n'))
      } finally {
        context.close()
      }
    })
}

async function describe(context: CliContext, kind: KindDefinition, object: KubeObject): Promise<string[]> {
  const { metadata, status } = object
  const lines = [`Name:          ${metadata.name}`]
  if (metadata.namespace !== undefined) lines.push(`Namespace:     ${metadata.namespace}`)
  lines.push(`Created:       ${metadata.creationTimestamp} (${ago(context, metadata.creationTimestamp)} ago)`)
  if (metadata.deletionTimestamp !== undefined) lines.push(`Deleting since: ${metadata.deletionTimestamp}`)
  lines.push(...mapLines('Labels', metadata.labels))
  const { 'kubectl.kubernetes.io/last-applied-configuration': _applied, ...annotations } = metadata.annotations ?? {}
  lines.push(...mapLines('Annotations', annotations))
  for (const owner of metadata.ownerReferences ?? []) lines.push(`Controlled by: ${owner.kind}/${owner.name}`)
  const { metadata: _metadata, apiVersion: _apiVersion, kind: _kind, status: _status, ...rest } = object
  lines.push(...tree(kind.kind === 'Secret' ? sizesOnly(rest) : rest))
  if (isObject(status)) {
    const { conditions, ...facts } = status as Record<string, unknown> & { conditions?: Condition[] }
    if (Object.keys(facts).length > 0) lines.push('Status:', ...tree(facts).map((line) => `  ${line}`))
    lines.push(...conditionLines(context, conditions))
  }
  if (kind.kind === 'Node') lines.push(...(await podLines(context, metadata.name ?? '')))
  lines.push(...(await eventLines(context, kind, object)))
  return lines
}

function ago(context: CliContext, time: string | null | undefined): string {
  return time ? formatAge(context.io.clock.now() - Date.parse(time)) : '?'
}

function mapLines(title: string, map: Record<string, string> | undefined): string[] {
  const entries = Object.entries(map ?? {})
  const head = `${title}:`.padEnd(15)
  if (entries.length === 0) return [`${head}<none>`]
  return entries.map(([key, value], index) => `${index === 0 ? head : ' '.repeat(15)}${key}=${value}`)
}

/** A Secret's values are nobody's business here: their lengths are told. */
function sizesOnly(secret: Record<string, unknown>): Record<string, unknown> {
  const data = isObject(secret.data) ? secret.data : {}
  const sizes = Object.entries(data).map(([key, value]) => [
    key,
    `${Buffer.from(String(value), 'base64').length} bytes`,
  ])
  return { ...secret, data: Object.fromEntries(sizes) }
}

/** `containerPort` → `Container port`. */
function words(key: string): string {
  const spaced = key.replace(/([a-z])([A-Z])(?=[a-z])/g, (_all, a: string, b: string) => `${a} ${b.toLowerCase()}`)
  return spaced.charAt(0).toUpperCase() + spaced.slice(1)
}

/** Any JSON as indented lines: scalars beside their names, structure below. */
export function tree(value: Record<string, unknown>): string[] {
  const lines: string[] = []
  for (const [key, item] of Object.entries(value)) {
    const name = words(key)
    if (Array.isArray(item) && item.every((entry) => !isObject(entry)))
      lines.push(`${name}: ${item.join(' ') || '<none>'}`)
    else if (Array.isArray(item)) {
      lines.push(`${name}:`)
      for (const entry of item) {
        const [first = '', ...more] = tree(entry as Record<string, unknown>)
        lines.push(`  - ${first}`, ...more.map((line) => `    ${line}`))
      }
    } else if (isObject(item)) {
      const inner = tree(item)
      if (inner.length === 0) lines.push(`${name}: {}`)
      else lines.push(`${name}:`, ...inner.map((line) => `  ${line}`))
    } else lines.push(`${name}: ${String(item)}`)
  }
  return lines
}

function conditionLines(context: CliContext, conditions: Condition[] | undefined): string[] {
  if (conditions === undefined || conditions.length === 0) return []
  const rows = conditions.map((condition) => [
    condition.type,
    condition.status,
    ago(context, condition.lastTransitionTime),
    condition.reason ?? '',
    condition.message ?? '',
  ])
  const table = alignColumns([['TYPE', 'STATUS', 'SINCE', 'REASON', 'MESSAGE'], ...rows])
  return ['Conditions:', ...table.map((line) => `  ${line}`)]
}

async function podLines(context: CliContext, node: string): Promise<string[]> {
  const query = { fieldSelector: `spec.nodeName=${node}` }
  const { items } = await context.client.call<ObjectList<Pod>>('GET', resourcePath(podKind, undefined), { query })
  const rows = items.map((pod) => [pod.metadata.namespace ?? '', pod.metadata.name ?? '', pod.status?.phase ?? ''])
  if (rows.length === 0) return ['Pods:          <none>']
  return ['Pods:', ...alignColumns([['NAMESPACE', 'NAME', 'PHASE'], ...rows]).map((line) => `  ${line}`)]
}

async function eventLines(context: CliContext, kind: KindDefinition, object: KubeObject): Promise<string[]> {
  const { name, namespace, uid } = object.metadata
  const fieldSelector = `involvedObject.kind=${kind.kind},involvedObject.name=${name},involvedObject.uid=${uid}`
  const path = resourcePath(eventKind, namespace)
  const { items } = await context.client.call<ObjectList<Event>>('GET', path, { query: { fieldSelector } })
  if (items.length === 0) return ['Events:        <none>']
  const sorted = items.sort((a, b) => (a.lastTimestamp ?? '').localeCompare(b.lastTimestamp ?? ''))
  const rows = sorted.map((event) => eventRow(event, context.io.clock.now()))
  return ['Events:', ...alignColumns([EVENT_HEADER, ...rows]).map((line) => `  ${line}`)]
}
