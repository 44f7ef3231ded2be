/**
 * Logging: pino, JSON lines on stderr. Code takes a `Logger` argument; only composition roots make one.
 * Fields that name things are the same everywhere: `pod` (namespace/name), `node`, `request`, `key`, `err`.
 */
import { type DestinationStream, destination, type Logger as PinoLogger, pino, stdSerializers } from 'pino'
import { DroverError } from './errors.ts'

export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error' | 'fatal'> & {
  child(bindings: Record<string, unknown>): Logger
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** Names under which secrets could travel; whatever stands there is never written. */
const REDACTED = [
  'token',
  '*.token',
  'password',
  '*.password',
  'authorization',
  '*.authorization',
  'secret',
  '*.secret',
]

/** What passes by itself needs no stack: its words, and its cause's, are enough. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof DroverError) || !error.temporary) return stdSerializers.err(error as Error)
  const cause = error.cause instanceof Error && error.cause.message !== error.message ? error.cause.message : undefined
  return { code: error.code, message: error.message, ...(cause === undefined ? {} : { cause }) }
}

export function createLogger(name: string, level: LogLevel = 'info', stream?: DestinationStream): Logger {
  const options = {
    name,
    level,
    base: { pid: process.pid },
    redact: REDACTED,
    serializers: { err: serializeError },
    formatters: { level: (label: string) => ({ level: label }) },
  }
  return pino(options, stream ?? destination({ fd: 2, sync: true })) as Logger
}

export const silentLogger: Logger = pino({ level: 'silent' }) as Logger
