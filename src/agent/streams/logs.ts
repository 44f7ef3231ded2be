/** A container's log, from the CRI-format file that conmon writes. Follows by watching the file, not by asking again. */

import { watch } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { LogsRequest } from '../../rpc/tables.ts'
import type { AgentContext } from '../context.ts'
import { isRunning, NOTE } from '../pod/facts.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import { findTarget, type Target } from './find_container.ts'
import { LogLines, type LogSelection, tailStart } from './log_lines.ts'

const READ_BYTES = 64 << 10
/** A follower looks again at least this often, whatever the watch says. */
const LOOK_AGAIN_MS = 1_000

export async function streamLogs(
  agent: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
): Promise<void> {
  const wanted = readRequest(request)
  const target = await findTarget(agent, request)
  const container = chooseAttempt(target, wanted.previous)
  const path = container.annotations[NOTE.logPath] ?? ''
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new DroverError('internal', `cannot read the log ${path}: ${error.message}`, { cause: error })
  })
  if (file === undefined) return
  try {
    const selection: LogSelection = {
      timestamps: wanted.timestamps,
      sinceTime: wanted.sinceTime,
      limitBytes: wanted.limitBytes,
    }
    const reader = new LogReader(file, new LogLines(selection), stream)
    await reader.start(wanted.tailLines)
    await reader.readToEnd()
    if (wanted.follow && !wanted.previous) await follow(agent, { container, path, reader, signal })
  } finally {
    await file.close()
  }
}

function readRequest(request: unknown): LogsRequest {
  if (!isObject(request)) throw new DroverError('invalid', 'the request for logs is not an object')
  const { sinceTime } = request
  if (typeof sinceTime === 'string' && Number.isNaN(Date.parse(sinceTime))) {
    throw new DroverError('invalid', `sinceTime "${sinceTime}" is not a time`)
  }
  return request as unknown as LogsRequest
}

function chooseAttempt({ attempts, container, pod }: Target, previous: boolean): ContainerState {
  const chosen = previous ? attempts.find((attempt, index) => index > 0 || !isRunning(attempt)) : attempts[0]
  // The newest of all is "previous" only while its successor waits to be started.
  if (chosen !== undefined) return chosen
  const what = previous ? 'no previous terminated' : 'not yet a started'
  throw new DroverError('invalid', `there is ${what} container "${container}" in pod "${pod.metadata.name}"`)
}

class LogReader {
  readonly #file: FileHandle
  readonly #lines: LogLines
  readonly #stream: FrameStream
  #position = 0

  constructor(file: FileHandle, lines: LogLines, stream: FrameStream) {
    this.#file = file
    this.#lines = lines
    this.#stream = stream
  }

  get done(): boolean {
    return this.#lines.full
  }

  async start(tailLines: number | undefined): Promise<void> {
    if (tailLines === undefined) return
    const { size } = await this.#file.stat()
    this.#position = await tailStart(size, tailLines, async (position, length) => {
      const { bytesRead, buffer } = await this.#file.read(Buffer.alloc(length), 0, length, position)
      return buffer.subarray(0, bytesRead)
    })
  }

  async readToEnd(): Promise<void> {
    const buffer = Buffer.alloc(READ_BYTES)
    while (!this.done) {
      const { bytesRead } = await this.#file.read(buffer, 0, READ_BYTES, this.#position)
      if (bytesRead === 0) return
      this.#position += bytesRead
      for (const { stderr, data } of this.#lines.push(buffer.subarray(0, bytesRead))) {
        await this.#stream.send({ channel: stderr ? CHANNEL.stderr : CHANNEL.stdout, data })
      }
    }
  }
}

interface Follower {
  container: ContainerState
  path: string
  reader: LogReader
  signal: AbortSignal
}

/** Until the container has ended and all of it is read, or nobody reads any more. */
async function follow(agent: AgentContext, { container, path, reader, signal }: Follower): Promise<void> {
  let wake: (() => void) | undefined
  let changed = true
  const look = (): void => {
    changed = true
    wake?.()
  }
  const watcher = watch(path, look)
  // The watch is a hint; the time bound finds what it misses.
  watcher.on('error', look)
  const stopExit = agent.drivers.runtime.onExit((id) => {
    if (id === container.id) look()
  })
  signal.addEventListener('abort', look, { once: true })
  try {
    while (!signal.aborted && !reader.done) {
      const running = (await agent.containers.read()).some(({ id, phase }) => id === container.id && phase !== 'exited')
      changed = false
      await reader.readToEnd()
      if (!running) return
      if (changed) continue
      await new Promise<void>((resolve) => {
        const timer = agent.clock.schedule(LOOK_AGAIN_MS, resolve, true)
        wake = () => {
          timer.cancel()
          resolve()
        }
      })
      wake = undefined
    }
  } finally {
    watcher.close()
    stopExit()
    signal.removeEventListener('abort', look)
  }
}
