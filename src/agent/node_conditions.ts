/** Conditions of the node that change while the agent runs: told in Hello, and again when they change. */
import type { Condition } from '../api/meta.ts'
import { NODE_CONDITION } from '../api/names.ts'
import { type Clock, timestamp } from '../base/clock.ts'
import { jsonEqual } from '../base/json.ts'
import { type AgentMessage, jsonBytes } from '../rpc/messages.ts'
import type { Shortage } from './pressure/plan.ts'

/** The rest is counted. */
const MAX_PROBLEMS = 3

/** Pure but for the time, which is given. */
export function peersCondition(problems: readonly string[], now: string): Condition {
  const more = problems.length - MAX_PROBLEMS
  const named = problems.slice(0, MAX_PROBLEMS).join('; ')
  return problems.length === 0
    ? {
        type: NODE_CONDITION.peersUnreachable,
        status: 'False',
        reason: 'PeersReachable',
        message: 'there is a way to the pods of every other node',
        lastTransitionTime: now,
      }
    : {
        type: NODE_CONDITION.peersUnreachable,
        status: 'True',
        reason: 'PeersOffSubnet',
        message: more > 0 ? `${named}; and ${more} more` : named,
        lastTransitionTime: now,
      }
}

const PRESSURES: Readonly<Record<Shortage, { type: string; calm: string; short: string; what: string }>> = {
  memory: {
    type: NODE_CONDITION.memoryPressure,
    calm: 'AgentHasSufficientMemory',
    short: 'AgentHasInsufficientMemory',
    what: 'memory',
  },
  disk: {
    type: NODE_CONDITION.diskPressure,
    calm: 'AgentHasNoDiskPressure',
    short: 'AgentHasDiskPressure',
    what: 'disk space',
  },
  pids: {
    type: NODE_CONDITION.pidPressure,
    calm: 'AgentHasSufficientPID',
    short: 'AgentHasInsufficientPID',
    what: 'process ids',
  },
}

/** Pure but for the time, which is given. */
export function pressureConditions(shortages: readonly Shortage[], now: string): Condition[] {
  return (['memory', 'disk', 'pids'] as const).map((each) => {
    const { type, calm, short, what } = PRESSURES[each]
    return shortages.includes(each)
      ? { type, status: 'True', reason: short, message: `the node runs short of ${what}`, lastTransitionTime: now }
      : { type, status: 'False', reason: calm, message: `there is enough ${what}`, lastTransitionTime: now }
  })
}

export class NodeConditionReporter {
  readonly #clock: Clock
  readonly #send: (message: AgentMessage) => boolean
  #problems: readonly string[] = []
  #shortages: readonly Shortage[] = []

  constructor(clock: Clock, send: (message: AgentMessage) => boolean) {
    this.#clock = clock
    this.#send = send
  }

  /** For Hello, by which each session begins: what is not sent for want of one is said then. */
  list(): Condition[] {
    const now = timestamp(this.#clock.now())
    return [...pressureConditions(this.#shortages, now), peersCondition(this.#problems, now)]
  }

  setPeerProblems(problems: readonly string[]): void {
    if (jsonEqual(problems, this.#problems)) return
    this.#problems = problems
    this.#tell()
  }

  setShortages(shortages: readonly Shortage[]): void {
    this.#shortages = shortages
    this.#tell()
  }

  #tell(): void {
    this.#send({ type: 'nodeStatus', statusJson: jsonBytes({ conditions: this.list() }) })
  }
}
