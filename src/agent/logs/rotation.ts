/**
 * Bounds logs: a container's log is cut into files of a size, of which the last few are kept, and all logs of the node
 * together keep to a bound of their own, the oldest files going first. The current file is renamed, then the monitor is
 * told to open a new one; until it does it writes on in the old one, so no line is lost.
 */
import { readdirSync, statSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
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
  current: LogFile
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
    const logs = containers.map(observe)
    const steps = planRotation(
      logs.filter((log) => log !== undefined),
      this.#options.bounds,
    )
    for (const step of steps) {
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
    await this.#options.reopen(id)
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
  const current = path === '' ? undefined : fileOf(path)
  if (current === undefined) return undefined
  const rotated = rotatedAmong(path, namesIn(dirname(path))).map(fileOf)
  // A container that has ended writes no more, but what it wrote counts.
  const sizeBytes = isRunning(container) ? current.sizeBytes : 0
  return { id: container.id, current: { ...current, sizeBytes }, rotated: rotated.filter((file) => file !== undefined) }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
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
