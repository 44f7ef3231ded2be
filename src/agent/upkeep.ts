/** What the agent does for its node besides running pods: measures them, bounds their logs, and watches what is left. */

import type { Registry } from '../base/metrics.ts'
import { parseBytes } from '../base/quantity.ts'
import type { AgentContext } from './context.ts'
import { type LogBounds, LogRotation } from './logs/rotation.ts'
import type { PodManager } from './manager.ts'
import type { NodeConditionReporter } from './node_conditions.ts'
import { EVICTED, isRunning } from './pod/facts.ts'
import { PressureMonitor } from './pressure/monitor.ts'
import { type Shortage, type Signals, type Thresholds, thresholdOf } from './pressure/plan.ts'
import { registerContainerMetrics } from './usage/container_metrics.ts'
import { DiskUse } from './usage/disk_use.ts'
import { DiskWalker } from './usage/disk_walk.ts'
import { podUses } from './usage/pod_uses.ts'
import { UsageSampler } from './usage/sampler.ts'

export interface Upkeep {
  logBounds: LogBounds
  /** What must be left of each, such as `100Mi` or `5%`; `0` never evicts. */
  leave: Readonly<Record<Shortage, string>>
  /** How long the node still says that it is short after it is over. Default 60 s. */
  pressureHoldMs?: number
  /** How often what is left is looked at. Default 5 s. */
  pressureEveryMs?: number
  signals(): Promise<Signals>
}

export interface UpkeepParts {
  context: AgentContext
  registry: Registry
  manager: Pick<PodManager, 'fail' | 'holds'>
  conditions: NodeConditionReporter
  /** Removes images that nothing uses until this says that it is enough. */
  reclaimDisk(isEnough: () => Promise<boolean>): Promise<void>
}

interface Running {
  run(signal: AbortSignal): Promise<void>
}

/** Evicted pods have had their time: the node has none left. */
const GRACE_SECONDS = 1
const HOLD_MS = 60_000

/** Throws `invalid` for what is no threshold. Its parts run until they are told to stop. */
export function createUpkeep(upkeep: Upkeep, parts: UpkeepParts): Running[] {
  const { logBounds, leave, pressureHoldMs = HOLD_MS, pressureEveryMs, signals } = upkeep
  const { context, registry, manager, conditions, reclaimDisk } = parts
  const { clock, log, drivers, containers } = context
  const disk = new DiskUse({ clock, log, layers: () => writableLayers(context) })
  const sampler = new UsageSampler(context)
  context.usage = sampler
  registerContainerMetrics(registry, context, disk)
  const reopen = (id: string): Promise<void> => drivers.runtime.reopenLog(id)
  const rotation = new LogRotation({ bounds: logBounds, clock, log, containers: () => containers.read(), reopen })
  const walker = new DiskWalker({ log })
  const pressure = new PressureMonitor({
    clock,
    log,
    everyMs: pressureEveryMs,
    holdMs: pressureHoldMs,
    read: signals,
    thresholds: (seen) => thresholds(leave, seen),
    pods: (what, signal) => podUses(context, what, { walker, signal }),
    evict: (uid, message) =>
      manager.fail(uid, { reason: EVICTED, message, graceSeconds: GRACE_SECONDS, isDisruption: true }),
    holds: (uid) => manager.holds(uid),
    reclaimDisk,
    onChange: (shortages) => conditions.setShortages(shortages),
  })
  return [disk, sampler, rotation, pressure]
}

function thresholds(leave: Upkeep['leave'], signals: Signals): Thresholds {
  const of = (what: Shortage): number => thresholdOf(leave[what], signals[what].total, parseBytes) ?? 0
  return { memory: of('memory'), disk: of('disk'), pids: of('pids') }
}

async function writableLayers({ containers, drivers }: AgentContext): Promise<ReadonlyMap<string, string>> {
  const running = (await containers.read()).filter(isRunning)
  return new Map(
    running.flatMap(({ id }): [string, string][] => {
      const path = drivers.runtime.writableLayerOf(id)
      return path === undefined ? [] : [[id, path]]
    }),
  )
}
