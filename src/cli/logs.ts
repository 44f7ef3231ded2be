/** `drover logs`: of a pod, or of all pods of a workload or service: in the order of time, each line with its pod's name. */
import type { Command } from 'commander'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { CliContext, contextOf, type Io, parseTargets, type Target } from './context.ts'
import { LogFollower } from './log_follow.ts'
import { type LogLine, mergeByTime } from './log_merge.ts'
import { type LogQuery, linesOf, openLog, type Source } from './log_source.ts'
import { allContainersOf, containerOf, groupBySelector, groupOf, podsBySelector, podsOf } from './pods_of.ts'

interface LogsOptions {
  container?: string
  allContainers?: boolean
  follow?: boolean
  previous?: boolean
  tail?: string
  since?: string
  timestamps?: boolean
  selector?: string
  prefix?: boolean
}

/** More would be more connections than anyone reads. */
const MAX_SOURCES = 100

export function registerLogs(program: Command, io: Io): void {
  program
    .command('logs')
    .description("print containers' output")
    .argument('[target...]', 'POD, pod/NAME, svc/NAME, or a workload: deploy/NAME, sts/NAME, ds/NAME, job/NAME')
    .option('-c, --container <name>', "which container; default: the one that the pod's annotation names, or the first")
    .option('--all-containers', 'of all containers, also of init containers and sidecars')
    .option(
      '-f, --follow',
      'go on printing as it comes; of a service or workload also from pods that come and containers that start again',
    )
    .option('-p, --previous', 'of the container that ran before the last restart')
    .option('--tail <lines>', 'only the last lines')
    .option('--since <duration>', 'only from the last while, e.g. 30s, 5m, 2h')
    .option('--timestamps', 'each line with its time')
    .option('-l, --selector <labels>', 'of all pods with these labels')
    .option('--prefix', "each line with its pod's name; on by itself for several pods")
    .addHelpText(
      'after',
      '\nExamples:\n  drover logs web-1 -f\n  drover logs deploy/web --tail 20\n  drover logs -l app=web --since 5m',
    )
    .action(async (words: string[], options: LogsOptions, command: Command) => {
      const context = contextOf(io, command)
      try {
        await logs(context, words, options)
      } finally {
        context.close()
      }
    })
}

export function parseDurationSeconds(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text)
  if (match === null) throw new DroverError('invalid', `"${text}" is not a duration; write for example 30s, 5m or 2h`)
  const factor = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 }[match[2] ?? 's'] ?? 1
  return Math.ceil(Number(match[1]) * factor)
}

function targetsOf(words: readonly string[], { selector }: LogsOptions): Target[] {
  const [word, ...more] = words
  if (selector !== undefined) return []
  if (word === undefined)
    throw new DroverError('invalid', 'name a pod, for example web-1 or deploy/web, or give -l LABELS')
  return !word.includes('/') && more.length === 0 ? [{ kind: podKind, name: word }] : parseTargets(words)
}

function chosenOf(pod: Pod, { allContainers, container }: LogsOptions): string[] {
  return allContainers === true ? allContainersOf(pod) : [containerOf(pod, container)]
}

async function find(context: CliContext, targets: readonly Target[], options: LogsOptions): Promise<Source[]> {
  const { selector } = options
  const lists =
    selector !== undefined
      ? [await podsBySelector(context, selector)]
      : await Promise.all(targets.map((target) => podsOf(context, target)))
  // A pod that several of them have is one.
  const pods = [...new Map(lists.flat().map((pod) => [pod.metadata.uid, pod])).values()]
  if (pods.length === 0) throw new DroverError('notFound', 'no pods match')
  const sources = pods.flatMap((pod) => chosenOf(pod, options).map((container) => ({ pod, container })))
  if (sources.length > MAX_SOURCES) {
    throw new DroverError('tooLarge', `${sources.length} containers match; narrow it down to ${MAX_SOURCES}`)
  }
  return sources
}

function queryOf({ follow, previous, tail, since }: LogsOptions): Omit<LogQuery, 'timestamps'> {
  if (tail !== undefined && !/^\d+$/.test(tail)) {
    throw new DroverError('invalid', `--tail: "${tail}" is not a whole number of at least 0`)
  }
  const sinceSeconds = since === undefined ? undefined : parseDurationSeconds(since)
  return { follow, previous, tailLines: tail, sinceSeconds }
}

async function logs(context: CliContext, words: string[], options: LogsOptions): Promise<void> {
  const targets = targetsOf(words, options)
  const [first] = targets
  const isOnePod = first?.kind.kind === 'Pod' && targets.length === 1
  // Of one container of one pod its end is the end, as with kubectl.
  if (options.follow === true && options.previous !== true && (!isOnePod || options.allContainers === true)) {
    return followAll(context, targets, options)
  }
  const sources = await find(context, targets, options)
  const [only] = sources
  if (only !== undefined && sources.length === 1 && options.prefix !== true) return printPlain(context, only, options)
  const query = queryOf(options)
  const failures = await print(context, options, {
    logs: new Map(sources.map((source) => [source, linesOf(context, source, query)])),
  })
  if (failures.length > 0 && failures.length === sources.length) throw failures[0]
}

/** Until it is interrupted, or until what was named has come to its end, as a job does. */
async function followAll(context: CliContext, targets: readonly Target[], options: LogsOptions): Promise<void> {
  const stop = new AbortController()
  const io = { ...context.io, signal: AbortSignal.any([context.io.signal, stop.signal]) }
  const inner = new CliContext(io, context.options)
  const { tailLines, sinceSeconds } = queryOf(options)
  try {
    const follower = new LogFollower(inner, {
      groups:
        options.selector !== undefined
          ? [groupBySelector(inner, options.selector)]
          : await Promise.all(targets.map((target) => groupOf(inner, target))),
      choose: (pod) => chosenOf(pod, options),
      first: { tailLines, sinceSeconds },
      maxSources: MAX_SOURCES,
    })
    await print(inner, options, { logs: await follower.begin(), more: follower.more() })
  } finally {
    stop.abort()
    inner.close()
  }
}

interface Logs {
  logs: ReadonlyMap<Source, AsyncIterable<LogLine>>
  more?: AsyncIterable<readonly [Source, AsyncIterable<LogLine>]>
}

/** Gives what failed of them; where there is more than one, that has been told. */
async function print(context: CliContext, options: LogsOptions, { logs, more }: Logs): Promise<unknown[]> {
  const { clock, signal, stdout } = context.io
  const failures: unknown[] = []
  const failed = ({ pod }: Source, error: unknown): void => {
    if (signal.aborted) return
    failures.push(error)
    if (logs.size > 1 || more !== undefined) {
      context.note(`${pod.metadata.name}: ${DroverError.from(error).message}`)
    }
  }
  const labelOf = labels(hasColours(context), options.allContainers === true)
  const patienceMs = options.follow === true ? FOLLOW_PATIENCE_MS : Number.POSITIVE_INFINITY
  const merge = { clock, patienceMs, ...(more === undefined ? {} : { more }) }
  for await (const { of, time, text } of mergeByTime(logs, merge, failed)) {
    const stamp = options.timestamps === true && time !== '' ? `${time} ` : ''
    if (stdout.write(Buffer.concat([Buffer.from(`${labelOf(of)}${stamp}`), text, NEWLINE]))) continue
    await new Promise((resolve) => stdout.once('drain', resolve))
  }
  return failures
}

const NEWLINE = Buffer.from('\n')

/** Lines of followed logs come a little late rather than out of order. */
const FOLLOW_PATIENCE_MS = 200

function hasColours({ io: { stdout, env } }: CliContext): boolean {
  return stdout.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb'
}

/** Those that are readable on dark and on light, and tell nothing by themselves: no red. */
const COLOURS = [36, 35, 33, 34, 32, 96, 95, 93, 94, 92]

function labels(colours: boolean, allContainers: boolean): (source: Source) => string {
  const known = new WeakMap<Source, string>()
  let count = 0
  return (source) => {
    const { pod, container } = source
    const several = allContainers ? allContainersOf(pod).length > 1 : pod.spec.containers.length > 1
    const label = `[${pod.metadata.name}${several ? `/${container}` : ''}]`
    const text =
      known.get(source) ?? (colours ? `\u001b[${COLOURS[count++ % COLOURS.length]}m${label}\u001b[0m ` : `${label} `)
    known.set(source, text)
    return text
  }
}

/** Bytes as they are. */
async function printPlain(context: CliContext, source: Source, options: LogsOptions): Promise<void> {
  const { stdout, signal } = context.io
  const query = { ...queryOf(options), timestamps: options.timestamps === true }
  try {
    for await (const chunk of await openLog(context, source, query)) {
      if (!stdout.write(chunk)) await new Promise((resolve) => stdout.once('drain', resolve))
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
