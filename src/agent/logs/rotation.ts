/**
 * Bounds logs: a container's log is cut into files of a size, of which the last few are kept, and all logs of the node
 * together keep to a bound of their own, the oldest files going first. The current file is renamed, then the monitor is
 * told to open a new one; until it does it writes on in the old one, so no line is lost.
 *
 * A running container without a current file is one whose monitor has not been told: we died in between, or it could not be reached.
 * It is told again. But it puts an empty file in the place of the one that is there, so that lines would be lost were it told twice at
 * once: whoever was told has a while to do it.
 */
import { readdirSync, statSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { repeat } from '../../base/service.ts'
import { isRunning, NOTE } from '../pod/facts.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import { rotatedAmong } from './log_files.ts'

export interface LogBounds {
  /** A file larger than this is followed by a new one. */
  maxFileBytes: number
  /** Files of a container, the current one among them; at least 1. */
  maxFiles: number
  /** Of all rotated files of the node. */
  maxNodeBytes: number
}

export interface LogFile {
  path: string
  sizeBytes: number
  /** When it was last written. */
  mtimeMs: number
}

export interface ContainerLog {
  id: string
  /** Of size 0 also where it is missing. */
  current: LogFile
  /** The container runs and has no current file: what it writes goes to one that is current no more. */
  isUnopened: boolean
  /** Youngest first. */
  rotated: readonly LogFile[]
}

export type RotationStep = { type: 'rotate'; log: ContainerLog } | { type: 'remove'; path: string }

/** What to do to keep the bounds. Pure. */
export function planRotation(logs: readonly ContainerLog[], bounds: LogBounds): RotationStep[] {
  const steps: RotationStep[] = []
  const kept: LogFile[] = []
  for (const log of logs) {
    const rotates = log.current.sizeBytes > bounds.maxFileBytes
    if (rotates) steps.push({ type: 'rotate', log })
    // After a rotation the current file is one of the rotated.
    const room = Math.max(0, bounds.maxFiles - 1 - (rotates ? 1 : 0))
    kept.push(...log.rotated.slice(0, room))
    for (const { path } of log.rotated.slice(room)) steps.push({ type: 'remove', path })
  }
  const oldestFirst = kept.toSorted((a, b) => a.mtimeMs - b.mtimeMs)
  let totalBytes = kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  for (const { path, sizeBytes } of oldestFirst) {
    if (totalBytes <= bounds.maxNodeBytes) break
    totalBytes -= sizeBytes
    steps.push({ type: 'remove', path })
  }
  // What goes makes room for the names of what is renamed.
  return steps.toSorted((a, b) => Number(a.type === 'rotate') - Number(b.type === 'rotate'))
}

const INTERVAL_MS = 5_000
/** A monitor that was told reads that as soon as it gets a processor. */
const REOPEN_PATIENCE_MS = 60_000

export interface LogRotationOptions {
  bounds: LogBounds
  clock: Clock
  log: Logger
  containers(): Promise<readonly ContainerState[]>
  /** Has the container's monitor open its log anew. */
  reopen(containerId: string): Promise<void>
}

export class LogRotation {
  readonly #options: LogRotationOptions
  /** When monitors were told that have not done it yet, by the container; undefined: it could not be told, which was logged. */
  readonly #told = new Map<string, number | undefined>()

  constructor(options: LogRotationOptions) {
    this.#options = options
  }

  run(signal: AbortSignal): Promise<void> {
    const failure = 'logs could not be kept in their bounds; tried again soon'
    return repeat(() => this.look(), { ...this.#options, everyMs: INTERVAL_MS, failure, waits: true }, signal)
  }

  /** Looks once, and does what is to do. */
  async look(): Promise<void> {
    const containers = await this.#options.containers()
    const logs = containers.map(observe).filter((log) => log !== undefined)
    const unopened = new Set(logs.flatMap(({ id, isUnopened }) => (isUnopened ? [id] : [])))
    for (const id of this.#told.keys()) if (!unopened.has(id)) this.#told.delete(id)
    for (const id of unopened) await this.#reopen(id)
    for (const step of planRotation(logs, this.#options.bounds)) {
      if (step.type === 'remove') await rm(step.path, { force: true })
      else await this.#rotate(step.log)
    }
  }

  async #rotate({ id, current: { path }, rotated }: ContainerLog): Promise<void> {
    if (this.#options.bounds.maxFiles > 1) {
      // From the oldest on, so that a crash in between leaves a gap in the numbers and loses nothing.
      for (const { path: from } of rotated.toReversed()) await shift(path, from)
      await rename(path, `${path}.1`)
    } else await rm(path, { force: true })
    await this.#reopen(id)
  }

  /** A failure keeps no other log from its bounds; it is tried again at the next look. */
  async #reopen(id: string): Promise<void> {
    const { clock, log, reopen } = this.#options
    const toldMs = this.#told.get(id)
    if (toldMs !== undefined && clock.monotonicMs() - toldMs < REOPEN_PATIENCE_MS) return
    try {
      await reopen(id)
      this.#told.set(id, clock.monotonicMs())
    } catch (error) {
      if (!this.#told.has(id))
        log.warn({ err: error, container: id }, 'a log could not be opened anew; tried again soon')
      this.#told.set(id, undefined)
    }
  }
}

async function shift(path: string, from: string): Promise<void> {
  const number = Number(from.slice(path.length + 1))
  await rename(from, `${path}.${number + 1}`).catch((error: NodeJS.ErrnoException) => {
    // It was one of those that had to go.
    if (error.code !== 'ENOENT') throw error
  })
}

/**
 * In one go: of a file that is being written the kernel knows all, and ways through the thread pool for each were the largest part of
 * an agent's profile at rest with a hundred pods.
 */
function observe(container: ContainerState): ContainerLog | undefined {
  const path = container.annotations[NOTE.logPath] ?? ''
  if (path === '') return undefined
  const current = fileOf(path)
  const names = namesIn(dirname(path))
  // Its monitor would end when told to open a file where it cannot.
  if (names === undefined) return undefined
  const rotated = rotatedAmong(path, names).map(fileOf)
  // A container that has ended writes no more, but what it wrote counts.
  const sizeBytes = isRunning(container) ? (current?.sizeBytes ?? 0) : 0
  return {
    id: container.id,
    current: { path, mtimeMs: current?.mtimeMs ?? 0, sizeBytes },
    isUnopened: current === undefined && !names.includes(basename(path)) && isRunning(container),
    rotated: rotated.filter((file) => file !== undefined),
  }
}

function namesIn(directory: string): string[] | undefined {
  try {
    return readdirSync(directory)
  } catch {
    return undefined
  }
}

function fileOf(path: string): LogFile | undefined {
  try {
    const { size, mtimeMs } = statSync(path)
    return { path, sizeBytes: size, mtimeMs }
  } catch {
    return undefined
  }
}
