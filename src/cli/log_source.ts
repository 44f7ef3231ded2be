/** One container's log, as `drover logs` asks for it. */
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import type { CliContext } from './context.ts'
import { type CutLine, LineCutter } from './log_lines.ts'
import { type LogLine, splitTime } from './log_merge.ts'
import { resourcePath } from './rest_client.ts'

export interface Source {
  pod: Pod
  container: string
}

export interface LogQuery {
  follow?: boolean | undefined
  previous?: boolean | undefined
  tailLines?: string | undefined
  sinceSeconds?: number | undefined
  /** RFC 3339. */
  sinceTime?: string | undefined
  timestamps: boolean
}

export function openLog(context: CliContext, { pod, container }: Source, query: LogQuery) {
  return context.client.open('GET', `${resourcePath(podKind, pod.metadata.namespace, pod.metadata.name)}/log`, {
    signal: context.io.signal,
    timeoutMs: 30_000,
    query: { container, ...query },
  })
}

export async function* linesOf(
  context: CliContext,
  source: Source,
  query: Omit<LogQuery, 'timestamps'>,
): AsyncGenerator<LogLine> {
  const cutter = new LineCutter()
  let time = ''
  // The pieces of a line that is too long have the time of its beginning.
  const timed = ({ bytes, continues }: CutLine): LogLine => {
    if (continues) return { time, text: bytes }
    const line = splitTime(bytes)
    time = line.time
    return line
  }
  for await (const chunk of await openLog(context, source, { ...query, timestamps: true })) {
    for (const line of cutter.push(chunk as Buffer)) yield timed(line)
  }
  for (const line of cutter.end()) yield timed(line)
}
