/** What a container said last, for who died without leaving a message. Pure. Source: Kubernetes `FallbackToLogsOnError`. */
import { LogLines } from '../streams/log_lines.ts'

const MAX_LINES = 80
const MAX_BYTES = 2_048
/** Of the log's end: enough for the lines above, each with its time and stream before it. */
export const LAST_LOG_BYTES = 8_192

/** `end`: the last bytes of a log in CRI format, which may begin in the middle of a line. */
export function lastWords(end: Buffer): string {
  const whole = end.length < LAST_LOG_BYTES ? end : end.subarray(end.indexOf('\n') + 1)
  const lines = new LogLines({ timestamps: false, sinceTime: undefined, limitBytes: undefined })
  const text = Buffer.concat(lines.push(whole).map(({ data }) => data)).toString('utf8')
  const last = text.trimEnd().split('\n').slice(-MAX_LINES).join('\n')
  const bytes = Buffer.from(last)
  return bytes.length <= MAX_BYTES
    ? last
    : bytes
        .subarray(-MAX_BYTES)
        .toString('utf8')
        .replace(/^\uFFFD+/, '')
}
