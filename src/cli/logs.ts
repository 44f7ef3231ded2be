/** `drover logs`: of a pod, or of all pods of a workload or service, each line with its pod's name. */
import type { Command } from 'commander'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, type Io, parseTargets } from './context.ts'
import { containerOf, podsBySelector, podsOf } from './pods_of.ts'
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
    .option('-c, --container <name>', 'which container; default: the first')
    .option('--all-containers', 'of all containers')
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
      ? pod.spec.containers.map(({ name }) => ({ pod, container: name }))
      : [{ pod, container: containerOf(pod, options.container) }],
  )
  if (sources.length > MAX_SOURCES) {
    throw new DroverError('tooLarge', `${sources.length} containers match; narrow it down to ${MAX_SOURCES}`)
  }
  return sources
}

async function logs(context: CliContext, words: string[], options: LogsOptions): Promise<void> {
  const sources = await find(context, words, options)
  const prefixed = options.prefix === true || sources.length > 1
  const failures: unknown[] = []
  await Promise.all(
    sources.map(async (source) => {
      try {
        await printLog(context, source, options, prefixed)
      } catch (error) {
        if (context.io.signal.aborted) return
        failures.push(error)
        if (sources.length > 1) context.note(`${source.pod.metadata.name}: ${DroverError.from(error).message}`)
      }
    }),
  )
  if (failures.length > 0 && (sources.length === 1 || failures.length === sources.length)) throw failures[0]
}

async function printLog(context: CliContext, source: Source, options: LogsOptions, prefixed: boolean): Promise<void> {
  const { pod, container } = source
  const response = await context.client.open(
    'GET',
    `${resourcePath(podKind, pod.metadata.namespace, pod.metadata.name)}/log`,
    {
      signal: context.io.signal,
      timeoutMs: 30_000,
      query: {
        container,
        follow: options.follow,
        previous: options.previous,
        timestamps: options.timestamps,
        tailLines: options.tail,
        sinceSeconds: options.since === undefined ? undefined : parseDurationSeconds(options.since),
      },
    },
  )
  const { stdout } = context.io
  const label = `[${pod.metadata.name}${pod.spec.containers.length > 1 ? `/${container}` : ''}] `
  let rest = ''
  for await (const chunk of response) {
    if (!prefixed) {
      if (!stdout.write(chunk)) await new Promise((resolve) => stdout.once('drain', resolve))
      continue
    }
    const lines = (rest + (chunk as Buffer).toString('utf8')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) stdout.write(`${label}${line}\n`)
  }
  if (rest !== '') stdout.write(`${label}${rest}\n`)
}
