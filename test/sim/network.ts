/**
 * The network between agents and servers, at the place of gRPC: calls with two ends, messages in order within a call,
 * latency, partitions that hold back what is on its way, resets when a process dies, silence when a host does, resets
 * once it runs again.
 */
import { DroverError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type { NodeClient } from '../../src/rpc/client.ts'
import type { MessageStream } from '../../src/rpc/message_stream.ts'
import type { AgentMessage, ServerMessage } from '../../src/rpc/messages.ts'
import type { NodeServer, NodeServerHandlers } from '../../src/rpc/server.ts'
import { latencyMs } from './latency.ts'
import type { Links } from './links.ts'
import type { SimProcess } from './sim_process.ts'
import type { VirtualTime } from './virtual_time.ts'

/** gRPC's keepalive notices a peer that is silent for this long (CHANNEL_OPTIONS in rpc/node_service.ts). */
const KEEPALIVE_MS = 15_000
const LEAST_LATENCY_MS = 0.2

type Item =
  | { type: 'message'; message: unknown; onTaken: (() => void) | undefined }
  | { type: 'end' }
  | { type: 'close'; error: DroverError | undefined }

/** One end of a call, as a process holds it. */
class End implements MessageStream<unknown, unknown> {
  readonly process: SimProcess
  readonly #send: (item: Item) => void
  readonly #messages: ((message: unknown) => void)[] = []
  readonly #ends: (() => void)[] = []
  readonly #closes: ((error: DroverError | undefined) => void)[] = []
  #closed: { error: DroverError | undefined } | undefined

  constructor(process: SimProcess, send: (item: Item) => void) {
    this.process = process
    this.#send = send
  }

  get closed(): boolean {
    return this.#closed !== undefined
  }

  write(message: unknown, onTaken?: () => void): void {
    if (this.#closed === undefined) this.#send({ type: 'message', message, onTaken })
  }

  end(): void {
    if (this.#closed === undefined) this.#send({ type: 'end' })
  }

  close(error: DroverError): void {
    if (this.#closed !== undefined) return
    this.#send({ type: 'close', error })
    this.finish(error)
  }

  finish(error: DroverError | undefined): void {
    if (this.#closed !== undefined) return
    this.#closed = { error }
    for (const listener of this.#closes) listener(error)
  }

  take(item: Item): void {
    if (this.#closed !== undefined) return
    if (item.type === 'message') for (const listener of this.#messages) listener(item.message)
    else if (item.type === 'end') for (const listener of this.#ends) listener()
    else this.finish(item.error)
  }

  onMessage(listener: (message: unknown) => void): void {
    this.#messages.push(listener)
  }

  onEnd(listener: () => void): void {
    this.#ends.push(listener)
  }

  onClose(listener: (error: DroverError | undefined) => void): void {
    if (this.#closed !== undefined) listener(this.#closed.error)
    else this.#closes.push(listener)
  }

  pause(): void {}
  resume(): void {}
}

interface Listener {
  process: SimProcess
  handlers: NodeServerHandlers
}

export interface NetworkOptions {
  time: VirtualTime
  random: Random
  links: Links
  /** The slowest a message may travel. */
  mostLatencyMs: number
}

export class SimNetwork {
  readonly #options: NetworkOptions
  readonly #listeners = new Map<string, Listener>()
  #calls: Call[] = []

  constructor(options: NetworkOptions) {
    this.#options = options
  }

  /** A server at an address, in the shape that dispatch expects of gRPC. */
  serverAt(address: string, process: SimProcess) {
    return (_tls: unknown, handlers: NodeServerHandlers): NodeServer => ({
      listen: async () => {
        this.#listeners.set(address, { process, handlers })
        return 1
      },
      close: async () => {
        if (this.#listeners.get(address)?.process === process) this.#listeners.delete(address)
      },
      setTls: () => undefined,
    })
  }

  /** An agent's way to a server. */
  client(from: { process: SimProcess; node: string }, address: string): NodeClient {
    return {
      connect: () => this.#dial(from, address) as MessageStream<ServerMessage, AgentMessage>,
      stream() {
        throw new DroverError('unsupported', 'the simulated network carries sessions only')
      },
      close: () => undefined,
    }
  }

  #dial({ process, node }: { process: SimProcess; node: string }, address: string): MessageStream<unknown, unknown> {
    const isUp = (side: 'client' | 'server'): boolean =>
      side === 'server'
        ? this.#listeners.has(address)
        : this.#calls.some((other) => other.node === node && other.client.process.alive)
    const call = new Call({ ...this.#options, client: process, node, address, isUp })
    this.#calls = this.#calls.filter((other) => !other.over)
    this.#calls.push(call)
    call.arrive(() => {
      const listener = this.#listeners.get(address)
      if (listener === undefined) {
        call.refuse(new DroverError('unavailable', `nobody listens at ${address}`))
        return
      }
      const end = call.accept(listener.process)
      listener.process.enter(() => {
        const caller = { nodeName: node, joinId: undefined }
        listener.handlers.onConnect(caller, end as MessageStream<AgentMessage, ServerMessage>)
        call.open()
      })
    })
    return call.client
  }

  /** A process has died; `told`: its kernel lives and says so to the peers. */
  processDied(process: SimProcess, told: boolean): void {
    for (const [address, listener] of this.#listeners) {
      if (listener.process === process) this.#listeners.delete(address)
    }
    for (const call of this.#calls) if (call.involves(process)) call.die(process, told)
  }

  /** Calls over a link that was cut are given up when keepalive has gone unanswered. */
  linkCut(node: string, address: string): void {
    for (const call of this.#calls) if (call.node === node && call.address === address) call.watchSilence()
  }
}

interface CallOptions extends NetworkOptions {
  client: SimProcess
  node: string
  address: string
  /** Whether the machine at that end runs, by what runs on it. */
  isUp: (side: 'client' | 'server') => boolean
}

class Call {
  readonly client: End
  readonly node: string
  readonly address: string
  readonly #options: CallOptions
  #server: End | undefined
  readonly #up: { item: Item; dueMs: number }[] = []
  readonly #down: { item: Item; dueMs: number }[] = []
  #open = false
  #lastUpMs = 0
  #lastDownMs = 0

  constructor(options: CallOptions) {
    this.#options = options
    this.node = options.node
    this.address = options.address
    this.client = new End(options.client, (item) => this.#transmit('up', item))
  }

  get over(): boolean {
    return this.client.closed && (this.#server?.closed ?? true)
  }

  involves(process: SimProcess): boolean {
    return this.client.process === process || this.#server?.process === process
  }

  /** Has the call reach the server's machine, whenever the link lets it. */
  arrive(reached: () => void): void {
    const { time, links, random, mostLatencyMs } = this.#options
    time.schedule(latencyMs(random, LEAST_LATENCY_MS, mostLatencyMs), () => {
      if (links.isCut(this.node, this.address)) links.onHeal(this.node, this.address, () => this.arrive(reached))
      else if (!this.client.closed) reached()
    })
  }

  refuse(error: DroverError): void {
    this.#transmit('down', { type: 'close', error })
  }

  accept(process: SimProcess): MessageStream<unknown, unknown> {
    this.#server = new End(process, (item) => this.#transmit('down', item))
    return this.#server
  }

  /** The server listens to the call: what was said already comes in. */
  open(): void {
    this.#open = true
    this.#options.time.schedule(0, () => this.#flush('up'))
  }

  die(process: SimProcess, told: boolean): void {
    const error = new DroverError('unavailable', 'the other side went away')
    const fromClient = this.client.process === process
    const survivor = fromClient ? this.#server : this.client
    if (told) this.#transmit(fromClient ? 'up' : 'down', { type: 'close', error })
    else {
      this.#options.time.schedule(KEEPALIVE_MS, () => survivor?.process.enter(() => survivor.finish(error)))
    }
    if (fromClient) this.client.finish(undefined)
  }

  watchSilence(): void {
    const { time, links } = this.#options
    const error = new DroverError('unavailable', 'keepalive went unanswered')
    time.schedule(KEEPALIVE_MS, () => {
      if (!links.isCut(this.node, this.address)) return
      for (const end of [this.client, this.#server]) end?.process.enter(() => end.finish(error))
    })
  }

  #transmit(direction: 'up' | 'down', item: Item): void {
    const { time, random, mostLatencyMs } = this.#options
    const arriveMs = time.nowMs + latencyMs(random, LEAST_LATENCY_MS, mostLatencyMs)
    const dueMs = Math.max(arriveMs, direction === 'up' ? this.#lastUpMs : this.#lastDownMs)
    if (direction === 'up') this.#lastUpMs = dueMs
    else this.#lastDownMs = dueMs
    const queue = direction === 'up' ? this.#up : this.#down
    queue.push({ item, dueMs })
    time.schedule(dueMs - time.nowMs, () => this.#flush(direction))
  }

  /** A machine that runs again knows nothing of the call, and says so to whoever goes on with it. */
  #reset(direction: 'up' | 'down'): void {
    if (!this.#options.isUp(direction === 'up' ? 'server' : 'client')) return
    const error = new DroverError('unavailable', 'connection reset by peer')
    this.#transmit(direction === 'up' ? 'down' : 'up', { type: 'close', error })
  }

  #flush(direction: 'up' | 'down'): void {
    const { time, links } = this.#options
    const queue = direction === 'up' ? this.#up : this.#down
    const first = queue[0]
    if (first === undefined || first.dueMs > time.nowMs) return
    if (links.isCut(this.node, this.address)) {
      links.onHeal(this.node, this.address, () => this.#flush(direction))
      return
    }
    const [sender, receiver] = direction === 'up' ? [this.client, this.#server] : [this.#server, this.client]
    // Before the server has taken the call, what was said waits for it.
    if (receiver === undefined || (receiver !== this.client && !this.#open)) return
    queue.shift()
    const { item } = first
    if (receiver.process.alive) receiver.process.enter(() => receiver.take(item))
    else if (first.item.type !== 'close') this.#reset(direction)
    if (item.type === 'message' && item.onTaken !== undefined) sender?.process.enter(item.onTaken)
    if (queue.length > 0) time.schedule(0, () => this.#flush(direction))
  }
}
