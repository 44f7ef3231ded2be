/**
 * What a container is and how it fares, from its records on disk and the kernel. The records are written once each and
 * never changed: meta.json (what was asked), started.json (which processes), exit.json (how it ended).
 *
 *   started.json   init alive   exit file   exec FIFO   → phase
 *   no             any          any         any           created: half made, only good for removal
 *   yes            any          yes         any           exited, with conmon's code
 *   yes            yes          no          yes           created: the agent died between create and start
 *   yes            yes          no          no            running
 *   yes            no           no          any           running while conmon lives (the file is on its way), else exited: lost
 *
 * One that has exit.json has exited whatever else is there: also when its program could not be started.
 */

import type { ProcessIdentity } from '../../base/process_table.ts'
import type { ContainerExit, ContainerPhase, ContainerState } from './runtime.ts'

export interface MetaRecord {
  id: string
  podUid: string
  name: string
  attempt: number
  annotations: Readonly<Record<string, string>>
  tty: boolean
  stdin: boolean
  /** Path of the OCI runtime that made it; absent in records of agents that knew only one. */
  runtime?: string
}

export interface StartedRecord {
  bootId: string
  init: ProcessIdentity
  conmon: ProcessIdentity | undefined
  startedAtMs: number
}

export type ExitRecord = ContainerExit

/** What can be seen of a container at one moment. */
export interface Sighting {
  started: boolean
  initAlive: boolean
  conmonAlive: boolean
  exitFile: boolean
  waitsForStart: boolean
}

export type Judgement = ContainerPhase | 'lost'

export function judge(seen: Sighting): Judgement {
  if (!seen.started) return 'created'
  if (seen.exitFile) return 'exited'
  if (seen.initAlive) return seen.waitsForStart ? 'created' : 'running'
  return seen.conmonAlive ? 'running' : 'lost'
}

/** A container whose end nobody saw (a reboot, conmon killed) counts as killed. */
export const LOST_EXIT_CODE = 137

/**
 * conmon writes 128 + N when signal N ended the process; a shell that exits so of its own will cannot be told apart.
 * An OOM kill of some process counts only if the container failed by it.
 */
export function exitRecord(code: number, oomKills: number | undefined, finishedAtMs: number): ExitRecord {
  const signal = code > 128 && code <= 128 + 64 ? code - 128 : undefined
  return {
    code,
    ...(signal === undefined ? {} : { signal }),
    oomKilled: code !== 0 && (oomKills ?? 0) > 0,
    finishedAtMs,
  }
}

/** As in Kubernetes. */
export const START_ERROR = 'StartError'
const START_ERROR_CODE = 128
/** As many of a message's characters are kept: its beginning names the program, its end the reason. */
const MAX_MESSAGE = 2_048

/** The end of a container whose program could not be started. */
export function startErrorRecord(said: string, finishedAtMs: number): ExitRecord {
  const half = MAX_MESSAGE / 2
  const message = said.length <= MAX_MESSAGE ? said : `${said.slice(0, half)} ... ${said.slice(-half)}`
  return { code: START_ERROR_CODE, oomKilled: false, finishedAtMs, reason: START_ERROR, message }
}

export function containerState(
  meta: MetaRecord,
  phase: ContainerPhase,
  started: StartedRecord | undefined,
  exit: ExitRecord | undefined,
): ContainerState {
  const { id, podUid, name, attempt, annotations } = meta
  return {
    id,
    podUid,
    name,
    attempt,
    phase,
    annotations,
    ...(phase === 'running' && started !== undefined ? { pid: started.init.pid } : {}),
    ...(phase !== 'created' && started !== undefined ? { startedAtMs: started.startedAtMs } : {}),
    ...(phase === 'exited' && exit !== undefined ? { exit } : {}),
  }
}
