/** Conditions of the node that change while the agent runs: told in Hello, and again when they change. */
import type { Condition } from '../api/meta.ts'
import { NODE_CONDITION } from '../api/names.ts'
import { type Clock, timestamp } from '../base/clock.ts'
import { jsonEqual } from '../base/json.ts'
import { type AgentMessage, jsonBytes } from '../rpc/messages.ts'

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

export class NodeConditionReporter {
  readonly #clock: Clock
  readonly #send: (message: AgentMessage) => boolean
  #problems: readonly string[] = []

  constructor(clock: Clock, send: (message: AgentMessage) => boolean) {
    this.#clock = clock
    this.#send = send
  }

  /** For Hello, by which each session begins: what is not sent for want of one is said then. */
  list(): Condition[] {
    return [peersCondition(this.#problems, timestamp(this.#clock.now()))]
  }

  setPeerProblems(problems: readonly string[]): void {
    if (jsonEqual(problems, this.#problems)) return
    this.#problems = problems
    this.#send({ type: 'nodeStatus', statusJson: jsonBytes({ conditions: this.list() }) })
  }
}
