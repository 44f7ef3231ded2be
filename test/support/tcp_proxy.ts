/** A TCP proxy on loopback that breaks connections in the ways that networks do. */
import { connect, createServer, type Server, type Socket } from 'node:net'

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
