/** A TCP proxy on loopback that breaks connections in the ways that networks do. */
import { connect, createServer, type Server, type Socket } from 'node:net'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { type Random, randomInt } from '../../src/base/random.ts'

interface Pair {
  client: Socket
  server: Socket
}

export class TcpProxy {
  readonly #server: Server
  readonly #targetPort: number
  readonly #pairs = new Set<Pair>()
  #port = 0
  #holding = false
  #dropping = false
  #refusing = false

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    const address = proxy.#server.address()
    proxy.#port = typeof address === 'object' && address !== null ? address.port : 0
    return proxy
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** Resets every connection. */
  cut(): void {
    for (const { client, server } of [...this.#pairs]) {
      client.resetAndDestroy()
      server.resetAndDestroy()
    }
  }

  /** Ends the direction towards the clients, and leaves the other open. */
  halfClose(): void {
    for (const { client } of this.#pairs) client.end()
  }

  /** Nothing passes, connections stay: a partition. */
  hold(on: boolean): void {
    this.#holding = on
    for (const { client, server } of this.#pairs) {
      for (const socket of [client, server]) on ? socket.pause() : socket.resume()
    }
  }

  /** What clients say arrives; what they should be told does not. */
  dropAnswers(on: boolean): void {
    this.#dropping = on
  }

  /** New connections are closed at once. */
  refuse(on: boolean): void {
    this.#refusing = on
  }

  async stop(): Promise<void> {
    this.cut()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #accept(client: Socket): void {
    client.on('error', () => undefined)
    if (this.#refusing) {
      client.resetAndDestroy()
      return
    }
    const server = connect({ port: this.#targetPort, host: '127.0.0.1', allowHalfOpen: true })
    const pair = { client, server }
    this.#pairs.add(pair)
    const forget = () => {
      this.#pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', forget)
      socket.on('close', forget)
    }
    client.on('data', (chunk) => server.write(chunk))
    server.on('data', (chunk) => {
      if (!this.#dropping && client.writable) client.write(chunk)
    })
    client.on('end', () => server.end())
    server.on('end', () => client.end())
    if (this.#holding) {
      client.pause()
      server.pause()
    }
  }
}

/** One of the ways in which networks break a connection, at random. */
export async function breakConnection(proxy: TcpProxy, chance: Random): Promise<void> {
  const pauseMs = 5 + randomInt(chance, 60)
  switch (randomInt(chance, 4)) {
    case 0:
      proxy.cut()
      break
    case 1:
      proxy.dropAnswers(true)
      await sleep(systemClock, pauseMs)
      proxy.cut()
      proxy.dropAnswers(false)
      break
    case 2:
      proxy.hold(true)
      await sleep(systemClock, pauseMs)
      proxy.hold(false)
      if (chance.next() < 0.5) proxy.cut()
      break
    default:
      proxy.halfClose()
  }
}
