/** `drover events`. */
import type { Command } from 'commander'
import { type Event, eventKind } from '../api/event.ts'
import { formatAge } from '../api/pod_kind.ts'
import { type CliContext, contextOf, type Io, parseTargets } from './context.ts'
import { follow } from './follow.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { alignColumns } from './table.ts'

interface EventsOptions {
  for?: string
  types?: string
  watch?: boolean
  output?: string
}

export function registerEvents(program: Command, io: Io): void {
  program
    .command('events')
    .description('what happened, oldest first')
    .option('--for <object>', 'only about this object, e.g. pod/web-1')
    .option('--types <types>', 'Normal, Warning or both')
    .option('-w, --watch', 'go on printing as they come')
    .option('-o, --output <format>', 'table or json')
    .option('-A, --all-namespaces', 'of all namespaces')
    .addHelpText('after', '\nExamples:\n  drover events --types Warning\n  drover events --for deploy/web -w')
    .action(async (options: EventsOptions, command: Command) => {
      const context = contextOf(io, command)
      try {
        await events(context, options)
      } finally {
        context.close()
      }
    })
}

const lastSeen = (event: Event): string =>
  event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp ?? ''

export function eventRow(event: Event, nowMs: number): string[] {
  const { involvedObject, count = 1 } = event
  const age = formatAge(nowMs - Date.parse(lastSeen(event)))
  return [
    count > 1 ? `${age} (x${count})` : age,
    event.type ?? '',
    event.reason ?? '',
    `${(involvedObject.kind ?? '').toLowerCase()}/${involvedObject.name ?? ''}`,
    event.message ?? '',
  ]
}

export const EVENT_HEADER = ['LAST SEEN', 'TYPE', 'REASON', 'OBJECT', 'MESSAGE']

async function events(context: CliContext, options: EventsOptions): Promise<void> {
  const selectors: string[] = []
  if (options.for !== undefined) {
    for (const { kind, name } of parseTargets([options.for])) {
      selectors.push(`involvedObject.kind=${kind.kind}`, ...(name === undefined ? [] : [`involvedObject.name=${name}`]))
    }
  }
  const types = options.types?.split(',')
  const wanted = (event: Event): boolean => types === undefined || types.includes(event.type ?? '')
  const path = resourcePath(eventKind, context.scope)
  const query = { fieldSelector: selectors.join(',') || undefined }
  const list = await context.client.call<ObjectList<Event>>('GET', path, { query })
  const items = list.items.filter(wanted).sort((a, b) => lastSeen(a).localeCompare(lastSeen(b)))
  const row = (event: Event): string[] => {
    const cells = eventRow(event, context.io.clock.now())
    return context.scope === undefined ? [event.metadata.namespace ?? '', ...cells] : cells
  }
  if (options.output === 'json') context.print(JSON.stringify({ items }, null, 2))
  else if (items.length === 0 && options.watch !== true) context.note('No events found')
  else {
    const header = context.scope === undefined ? ['NAMESPACE', ...EVENT_HEADER] : EVENT_HEADER
    for (const line of alignColumns([header, ...items.map(row)])) context.print(line)
  }
  if (options.watch !== true) return
  const resourceVersion = list.metadata.resourceVersion
  const request = { path, query, accept: 'application/json', resourceVersion }
  for await (const { type, object } of follow<Event>(context, request)) {
    if (type !== 'DELETED' && wanted(object)) context.print(alignColumns([row(object)]).join(''))
  }
}
