/** `drover logs`: of a pod, or of all pods of a workload or service: in the order of time, each line with its pod's name. */
import type { Command } from 'commander'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, type Io, parseTargets } from './context.ts'
import { type CutLine, LineCutter } from './log_lines.ts'
import { type LogLine, mergeByTime, splitTime } from './log_merge.ts'
import { allContainersOf, containerOf, podsBySelector, podsOf } from './pods_of.ts'
import { resourcePath } from './rest_client.ts'

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

interface Source {
  pod: Pod
  container: string
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
    .option('-f, --follow', 'go on printing as it comes')
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

async function find(context: CliContext, words: string[], options: LogsOptions): Promise<Source[]> {
  const [word, ...more] = words
  let pods: Pod[]
  if (options.selector !== undefined) pods = await podsBySelector(context, options.selector)
  else if (word === undefined)
    throw new DroverError('invalid', 'name a pod, for example web-1 or deploy/web, or give -l LABELS')
  else if (!word.includes('/') && more.length === 0) pods = await podsOf(context, { kind: podKind, name: word })
  else {
    const found = await Promise.all(parseTargets(words).map((target) => podsOf(context, target)))
    pods = found.flat()
  }
  if (pods.length === 0) throw new DroverError('notFound', 'no pods match')
  const sources = pods.flatMap((pod) =>
    options.allContainers === true
      ? allContainersOf(pod).map((container) => ({ pod, container }))
      : [{ pod, container: containerOf(pod, options.container) }],
  )
  if (sources.length > MAX_SOURCES) {
    throw new DroverError('tooLarge', `${sources.length} containers match; narrow it down to ${MAX_SOURCES}`)
  }
  return sources
}

async function logs(context: CliContext, words: string[], options: LogsOptions): Promise<void> {
  const sources = await find(context, words, options)
  const [only] = sources
  if (only !== undefined && sources.length === 1 && options.prefix !== true) return printPlain(context, only, options)
  const failures: unknown[] = []
  const labels = labelsOf(sources, hasColours(context))
  const lines = new Map(sources.map((source) => [source, linesOf(context, source, options)]))
  const merge = {
    clock: context.io.clock,
    patienceMs: options.follow === true ? FOLLOW_PATIENCE_MS : Number.POSITIVE_INFINITY,
  }
  const failed = ({ pod }: Source, error: unknown): void => {
    if (context.io.signal.aborted) return
    failures.push(error)
    if (sources.length > 1) context.note(`${pod.metadata.name}: ${DroverError.from(error).message}`)
  }
  const { stdout } = context.io
  for await (const { of, time, text } of mergeByTime(lines, merge, failed)) {
    const stamp = options.timestamps === true && time !== '' ? `${time} ` : ''
    if (stdout.write(Buffer.concat([Buffer.from(`${labels.get(of)}${stamp}`), text, NEWLINE]))) continue
    await new Promise((resolve) => stdout.once('drain', resolve))
  }
  if (failures.length > 0 && (sources.length === 1 || failures.length === sources.length)) throw failures[0]
}

const NEWLINE = Buffer.from('\n')

/** Lines of followed logs come a little late rather than out of order. */
const FOLLOW_PATIENCE_MS = 200

function hasColours({ io: { stdout, env } }: CliContext): boolean {
  return stdout.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb'
}

/** Those that are readable on dark and on light, and tell nothing by themselves: no red. */
const COLOURS = [36, 35, 33, 34, 32, 96, 95, 93, 94, 92]

function labelsOf(sources: readonly Source[], colours: boolean): ReadonlyMap<Source, string> {
  const several = (pod: Pod): boolean =>
    pod.spec.containers.length > 1 || sources.filter((source) => source.pod === pod).length > 1
  return new Map(
    sources.map((source, index) => {
      const { pod, container } = source
      const label = `[${pod.metadata.name}${several(pod) ? `/${container}` : ''}]`
      return [source, colours ? `\u001b[${COLOURS[index % COLOURS.length]}m${label}\u001b[0m ` : `${label} `]
    }),
  )
}

function openLog(context: CliContext, { pod, container }: Source, options: LogsOptions, timestamps: boolean) {
  return context.client.open('GET', `${resourcePath(podKind, pod.metadata.namespace, pod.metadata.name)}/log`, {
    signal: context.io.signal,
    timeoutMs: 30_000,
    query: {
      container,
      follow: options.follow,
      previous: options.previous,
      timestamps,
      tailLines: options.tail,
      sinceSeconds: options.since === undefined ? undefined : parseDurationSeconds(options.since),
    },
  })
}

/** Bytes as they are. */
async function printPlain(context: CliContext, source: Source, options: LogsOptions): Promise<void> {
  const { stdout, signal } = context.io
  try {
    for await (const chunk of await openLog(context, source, options, options.timestamps === true)) {
      if (!stdout.write(chunk)) await new Promise((resolve) => stdout.once('drain', resolve))
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

async function* linesOf(context: CliContext, source: Source, options: LogsOptions): AsyncGenerator<LogLine> {
  const cutter = new LineCutter()
  let time = ''
  // The pieces of a line that is too long have the time of its beginning.
  const timed = ({ bytes, continues }: CutLine): LogLine => {
    if (continues) return { time, text: bytes }
    const line = splitTime(bytes)
    time = line.time
    return line
  }
  for await (const chunk of await openLog(context, source, options, true)) {
    for (const line of cutter.push(chunk as Buffer)) yield timed(line)
  }
  for (const line of cutter.end()) yield timed(line)
}
