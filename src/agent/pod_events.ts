/** Events on their way to the server. A bounded number waits for a session; beyond it the oldest are dropped. */
import type { Pod } from '../api/pod.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { AgentMessage, NodeEvent } from '../rpc/messages.ts'
import type { PodEvents } from './context.ts'

const MAX_WAITING = 1_000
/** Events of this long travel together; nobody waits for one. */
const GATHER_MS = 50

export class EventSender implements PodEvents {
  readonly #clock: Clock
  readonly #send: (message: AgentMessage) => boolean
  #waiting: NodeEvent[] = []
  #timer: Timer | undefined

  constructor(clock: Clock, send: (message: AgentMessage) => boolean) {
    this.#clock = clock
    this.#send = send
  }

  record(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const { namespace = '', name = '', uid = '' } = pod.metadata
    this.#waiting.push({ kind: 'Pod', namespace, name, uid, type, reason, message, fieldPath: '' })
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift()
    this.#timer ??= this.#clock.schedule(GATHER_MS, () => {
      this.#timer = undefined
      this.flush()
    })
  }

  flush(): void {
    if (this.#waiting.length > 0 && this.#send({ type: 'events', events: this.#waiting })) this.#waiting = []
  }
}
