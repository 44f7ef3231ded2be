/**
 * Watches the directory of exit files. Events only say "look again": names seen are compared with what is there, so that
 * a lost or merged event costs nothing but the time to the next, and a slow rescan covers a watch that went deaf.
 */
import { type FSWatcher, readdirSync, watch } from 'node:fs'
import { type Clock, sleep, type Timer } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { isId } from './paths.ts'

const RESCAN_MS = 10_000

export interface ExitWatcher {
  subscribe(listener: (id: string) => void): () => void
  /** True once the exit file is there; false when the time is over. */
  waitFor(id: string, timeoutMs: number): Promise<boolean>
  /** Ids that have an exit file now. */
  present(): Set<string>
  /** Tells the listeners of an exit that left no file. */
  announce(id: string): void
}

export interface ExitWatcherOptions {
  directory: string
  clock: Clock
  log: Logger
  /** Called at each slow rescan, to look for containers that ended without an exit file. */
  onRescan: () => void
}

export function createExitWatcher(options: ExitWatcherOptions): ExitWatcher {
  const { directory, clock, log } = options
  const listeners = new Set<(id: string) => void>()
  const waiters = new Map<string, Set<() => void>>()
  let known = new Set<string>()
  let watcher: FSWatcher | undefined
  let timer: Timer | undefined
  /** Waiters and listeners alike keep the watch open; it closes with the last, so that a process can end. */
  let users = 0

  function present(): Set<string> {
    try {
      return new Set(readdirSync(directory).filter(isId))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Set()
      throw error
    }
  }

  function announce(id: string): void {
    for (const listener of listeners) {
      try {
        listener(id)
      } catch (error) {
        log.error({ err: error, container: id }, 'an exit listener failed')
      }
    }
  }

  function scan(): void {
    const now = present()
    const fresh = [...now].filter((id) => !known.has(id))
    known = now
    for (const id of fresh) {
      for (const wake of waiters.get(id) ?? []) wake()
      announce(id)
    }
  }

  function rescanLater(): void {
    timer = clock.schedule(
      RESCAN_MS,
      () => {
        scan()
        options.onRescan()
        rescanLater()
      },
      true,
    )
  }

  function open(): void {
    users++
    if (users > 1) return
    known = present()
    watcher = watch(directory, { persistent: false }, () => scan())
    watcher.on('error', (error) =>
      log.warn({ err: error, directory }, 'the watch on exit files failed; rescanning instead'),
    )
    rescanLater()
  }

  function close(): void {
    users--
    if (users > 0) return
    watcher?.close()
    timer?.cancel()
  }

  return {
    present,
    announce,
    subscribe(listener) {
      open()
      listeners.add(listener)
      let stopped = false
      return () => {
        if (stopped) return
        stopped = true
        listeners.delete(listener)
        close()
      }
    },
    async waitFor(id, timeoutMs) {
      open()
      const set = waiters.get(id) ?? new Set()
      waiters.set(id, set)
      const over = new AbortController()
      const wake = () => over.abort()
      set.add(wake)
      try {
        if (!present().has(id)) await sleep(clock, timeoutMs, over.signal).catch(() => undefined)
        return present().has(id)
      } finally {
        set.delete(wake)
        if (set.size === 0) waiters.delete(id)
        close()
      }
    },
  }
}
