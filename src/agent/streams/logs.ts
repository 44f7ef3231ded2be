/** A container's log, from the CRI-format files that conmon writes. Follows by watching the file, not by asking again. */

import { watch } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { LogsRequest } from '../../rpc/tables.ts'
import type { AgentContext } from '../context.ts'
import { rotatedPaths } from '../logs/log_files.ts'
import { NOTE } from '../pod/facts.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import { chooseAttempt } from './choose_attempt.ts'
import { findTarget } from './find_container.ts'
import { LogLines, tailStart } from './log_lines.ts'

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
  const files = await openLog(path)
  const reader = new LogReader(
    files,
    new LogLines({ timestamps: wanted.timestamps, sinceTime: wanted.sinceTime, limitBytes: wanted.limitBytes }),
    stream,
  )
  try {
    await reader.start(wanted.tailLines)
    await reader.readToEnd()
    if (wanted.follow && !wanted.previous) await follow(agent, { container, path, reader, signal })
  } finally {
    await reader.close()
  }
}

/** All files of a log, oldest first. A rotation meanwhile gives a file another name: none is opened twice. */
async function openLog(path: string): Promise<FileHandle[]> {
  const files: FileHandle[] = []
  const inodes = new Set<number>()
  for (const each of [path, ...(await rotatedPaths(path))]) {
    const file = await openFile(each)
    if (file === undefined) continue
    const { ino } = await file.stat()
    if (inodes.has(ino)) await file.close()
    else files.unshift(file)
    inodes.add(ino)
  }
  return files
}

async function openFile(path: string): Promise<FileHandle | undefined> {
  return open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new DroverError('internal', `cannot read the log ${path}: ${error.message}`, { cause: error })
  })
}

function readRequest(request: unknown): LogsRequest {
  if (!isObject(request)) throw new DroverError('invalid', 'the request for logs is not an object')
  const { sinceTime } = request
  if (typeof sinceTime === 'string' && Number.isNaN(Date.parse(sinceTime))) {
    throw new DroverError('invalid', `sinceTime "${sinceTime}" is not a time`)
  }
  return request as unknown as LogsRequest
}

class LogReader {
  /** Those not yet read to their end, oldest first; the last one is being written. */
  readonly #files: FileHandle[]
  readonly #lines: LogLines
  readonly #stream: FrameStream
  /** In the first of the files. */
  #position = 0

  constructor(files: FileHandle[], lines: LogLines, stream: FrameStream) {
    this.#files = files
    this.#lines = lines
    this.#stream = stream
  }

  get done(): boolean {
    return this.#lines.full
  }

  async start(tailLines: number | undefined): Promise<void> {
    if (tailLines === undefined) return
    let wanted = tailLines
    for (let index = this.#files.length - 1; index >= 0; index--) {
      const file = this.#files[index]
      if (file === undefined) return
      const { size } = await file.stat()
      const { position, lines } = await tailStart(size, wanted, async (from, length) => {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, from)
        return buffer.subarray(0, bytesRead)
      })
      this.#position = position
      wanted -= lines
      if (wanted > 0) continue
      await this.#drop(index)
      return
    }
  }

  /** Forgets the oldest files. */
  async #drop(count: number): Promise<void> {
    for (const file of this.#files.splice(0, count)) await file.close()
  }

  async readToEnd(): Promise<void> {
    const buffer = Buffer.alloc(READ_BYTES)
    while (!this.done) {
      const [file] = this.#files
      if (file === undefined) return
      const { bytesRead } = await file.read(buffer, 0, READ_BYTES, this.#position)
      this.#position += bytesRead
      for (const { stderr, data } of this.#lines.push(buffer.subarray(0, bytesRead))) {
        await this.#stream.send({ channel: stderr ? CHANNEL.stderr : CHANNEL.stdout, data })
      }
      if (bytesRead > 0) continue
      if (this.#files.length <= 1) return
      await this.#drop(1)
      this.#position = 0
    }
  }

  /**
   * The log goes on in another file when there is one under its path. The writer has let go of the old one by then, so
   * what that holds is all that it will. Between two looks it may have gone on more than once.
   */
  async followTo(path: string): Promise<boolean> {
    const current = await this.#files.at(-1)?.stat()
    const file = await openFile(path)
    const stat = await file?.stat()
    await file?.close()
    if (stat === undefined || stat.ino === current?.ino) return false
    const all = await openLog(path)
    const inodes = await Promise.all(all.map(async (each) => (await each.stat()).ino))
    // Not among them when it has been removed meanwhile: what is left came after it.
    const known = current === undefined ? -1 : inodes.indexOf(current.ino)
    for (const [index, each] of all.entries()) {
      if (index <= known) await each.close()
      else this.#files.push(each)
    }
    return true
  }

  async close(): Promise<void> {
    await this.#drop(this.#files.length)
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
  // A hint; the time bound finds what it misses. Of the directory: the file may be followed by another of its name.
  const watcher = watch(dirname(path), look)
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
      if (await reader.followTo(path)) continue
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
