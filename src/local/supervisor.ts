/**
 * Keeps the processes of a local cluster running: starts what is missing, starts again what died (with back-off), and
 * adopts what a supervisor before it started. It ends alone on SIGTERM; its processes run on, so that it can be
 * replaced at any time. It is also the hosts' way to registries (registry_proxy.ts), since their namespaces have none.
 */
import { copyFileSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { type BackoffPolicy, backoffDelayMs } from '../base/backoff.ts'
import { type Clock, sleep } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { ClusterPaths } from './cluster.ts'
import { untilReleased, whyHeld } from './held.ts'
import { type ProcessSpec, runningProcess, startRecorded, waitForExit } from './processes.ts'

const RESTART: BackoffPolicy = { initialMs: 50, maxMs: 5_000, factor: 2, jitter: 0.2 }
const STABLE_MS = 10_000
const LOG_LIMIT_BYTES = 20 << 20
const LOG_CHECK_MS = 60_000
const FOREVER_MS = 2 ** 50

export interface SupervisorOptions {
  clock: Clock
  random: Random
  log: Logger
  paths: ClusterPaths
}

export interface KeptProcess {
  name: string
  /** How it is started; asked anew at each start, undefined while something is missing for it. */
  spec(): ProcessSpec | undefined
}

/** One kept process as a service. */
export function keepProcess(kept: KeptProcess, options: SupervisorOptions): Service {
  return { id: kept.name, run: (signal) => keep(kept, options, signal) }
}

async function keep(kept: KeptProcess, options: SupervisorOptions, signal: AbortSignal): Promise<void> {
  const { clock, random, log, paths } = options
  // One for all starts: what fails to start again and again must not leave a listener each time.
  const stopped = new Promise<undefined>((resolve) =>
    signal.addEventListener('abort', () => resolve(undefined), { once: true }),
  )
  let failures = 0
  while (!signal.aborted) {
    await untilReleased(paths, kept.name, { clock, signal })
    const spec = kept.spec()
    if (spec === undefined) await sleep(clock, RESTART.initialMs, signal).catch(() => undefined)
    if (signal.aborted) return
    if (spec === undefined) continue
    const startedMs = clock.monotonicMs()
    const adopted = runningProcess(paths, spec.name)
    if (adopted !== undefined) log.info({ process: spec.name, pid: adopted.pid }, 'already running; adopted')
    const ended =
      adopted !== undefined
        ? waitForExit(clock, adopted, FOREVER_MS).then(() => 'ended')
        : startRecorded(paths, spec).exited
    const how = await Promise.race([ended, stopped])
    if (how === undefined) return
    failures = clock.monotonicMs() - startedMs > STABLE_MS ? 1 : failures + 1
    const delayMs = failures === 1 ? 0 : backoffDelayMs(RESTART, failures, random)
    if (whyHeld(paths, spec.name) !== undefined) {
      log.warn({ process: spec.name, how }, 'process was killed on purpose; it waits until that is healed')
      failures = 0
      continue
    }
    log.warn({ process: spec.name, how, failures, delayMs: Math.round(delayMs) }, 'process ended; starting it again')
    await sleep(clock, delayMs, signal).catch(() => undefined)
  }
}

/** Bounds log files: what is past the limit moves to `.1`, and the writer, who appends, goes on from the start. */
export function logTrimmer(names: readonly string[], { clock, paths }: SupervisorOptions): Service {
  return {
    id: 'log-trimmer',
    async run(signal) {
      while (!signal.aborted) {
        for (const name of names) trim(join(paths.logs, `${name}.log`))
        await sleep(clock, LOG_CHECK_MS, signal).catch(() => undefined)
      }
    },
  }
}

function trim(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size < LOG_LIMIT_BYTES) return
  copyFileSync(path, `${path}.1`)
  truncateSync(path)
}
