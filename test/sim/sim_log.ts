/** Where the product's log goes: warnings into the trace, what tells of a defect to the invariants. */
import { DroverError } from '../../src/base/errors.ts'
import type { Logger } from '../../src/base/log.ts'
import type { Trace } from './trace.ts'

export interface SimLogOptions {
  who: string
  trace: Trace
  /** A defect that the product itself has noticed. */
  onDefect(message: string): void
}

function errorOf(given: unknown): unknown {
  return typeof given === 'object' && given !== null && 'err' in given ? given.err : undefined
}

function words(given: unknown, message: unknown): string {
  const text = typeof given === 'string' ? given : String(message ?? '')
  const error = errorOf(given)
  return error === undefined ? text : `${text}: ${DroverError.from(error).message}`
}

export function simLogger(options: SimLogOptions): Logger {
  const { who, trace, onDefect } = options
  const say = (level: string) => (given: unknown, message?: unknown) => {
    const text = words(given, message)
    trace.add(`${who} ${level} ${text}`)
    const error = errorOf(given)
    const code = error === undefined ? undefined : DroverError.from(error).code
    if (level === 'error' || level === 'fatal' || code === 'internal') {
      const stack = error instanceof Error ? `\n${(error.cause instanceof Error ? error.cause : error).stack}` : ''
      onDefect(`${who}: ${text}${stack}`)
    }
  }
  const quiet = (): undefined => undefined
  const logger = {
    debug: quiet,
    info: quiet,
    warn: say('warn'),
    error: say('error'),
    fatal: say('fatal'),
    child: () => logger,
  }
  return logger as unknown as Logger
}
