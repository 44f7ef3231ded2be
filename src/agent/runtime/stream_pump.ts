/** Moves a client's frames into a program: input with back-pressure, resizes to the terminal. */
import { once } from 'node:events'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type Frame, type FrameStream } from '../../base/stream.ts'

export interface InputPump {
  /** Resolves when the client's frames have ended cleanly; rejects when the stream failed. */
  done: Promise<void>
  stop(): void
}

/** `input` undefined: what the client types goes nowhere. */
export function pumpInput(
  stream: FrameStream,
  input: Writable | undefined,
  resize: (width: number, height: number) => Promise<void>,
): InputPump {
  const iterator = stream.frames[Symbol.asyncIterator]()
  let stopped = false
  async function pump(): Promise<void> {
    while (!stopped) {
      const next = await iterator.next()
      if (next.done === true) break
      await take(next.value)
    }
    input?.end()
  }
  async function take({ channel, data }: Frame): Promise<void> {
    if (channel === CHANNEL.stdin && input !== undefined && input.writable && data.length > 0) {
      if (!input.write(data)) await Promise.race([once(input, 'drain'), once(input, 'close')])
    } else if (channel === CHANNEL.close && data[0] === CHANNEL.stdin) input?.end()
    else if (channel === CHANNEL.resize) {
      const size = parseResize(data)
      if (size !== undefined) await resize(size.width, size.height)
    }
  }
  const done = pump()
  done.catch(() => undefined)
  return {
    done,
    stop() {
      stopped = true
      void iterator.return?.().catch(() => undefined)
    },
  }
}

/** Kubernetes' resize message; undefined when it is none. Sizes are bounded as conmon bounds them. */
export function parseResize(data: Uint8Array): { width: number; height: number } | undefined {
  const MAX = 1000
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(data).toString('utf8'))
  } catch {
    return undefined
  }
  if (!isObject(value)) return undefined
  const [width, height] = [Number(value.Width), Number(value.Height)]
  if (!(width > 0) || !(height > 0)) return undefined
  return { width: Math.min(MAX, Math.floor(width)), height: Math.min(MAX, Math.floor(height)) }
}

/** Tells conmon the terminal's size. One that does not get through is no error: the terminal keeps the size that it has. */
export async function resizeTerminal(controlFifo: string, width: number, height: number): Promise<void> {
  const RESIZE = 1
  await tellConmon(controlFifo, `${RESIZE} ${height} ${width}`).catch(() => undefined)
}

/**
 * Has conmon open its log file anew, which makes one if it has been renamed. An empty one takes the place of one that is there, and
 * where the directory is gone conmon ends.
 */
export async function reopenLog(controlFifo: string): Promise<void> {
  const REOPEN_LOGS = 2
  await tellConmon(controlFifo, `${REOPEN_LOGS} 0 0`)
}

/** A message on its control FIFO; a conmon that has gone hears nothing. Source: containers/conmon, src/ctrl.c. */
async function tellConmon(controlFifo: string, message: string): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_NONBLOCK
  try {
    const file = await open(controlFifo, flags)
    try {
      await file.write(`${message}\n`)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (!GONE.has((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

/** No FIFO, nobody who reads from it, or no longer between open and write. */
const GONE: ReadonlySet<string> = new Set(['ENOENT', 'ENXIO', 'EPIPE'])
