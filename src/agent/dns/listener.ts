/** UDP and TCP on one address. Bounds: connections, how long an idle one stays, what is read ahead. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { type Socket as Connection, createServer, type Server } from 'node:net'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Responder } from './responder.ts'

export interface ListenerOptions {
  address: string
  port: number
  responder: Responder
  log: Logger
  /** Whether this server is there for that client. */
  serves(clientAddress: string): boolean
}

const RECEIVE_BUFFER_BYTES = 1 << 20
const MAX_CONNECTIONS = 128
const IDLE_MS = 10_000
/** A client may send the next questions before it has its answers; this much is kept of them. */
const MAX_READ_AHEAD_BYTES = 16_384

export interface Listener {
  /** The port that was bound. */
  port: number
  close(): Promise<void>
}

export async function listen(options: ListenerOptions): Promise<Listener> {
  const datagrams = await listenUdp(options)
  try {
    const { port } = datagrams.address()
    const connections = await listenTcp({ ...options, port })
    return {
      port,
      async close() {
        const closed = once(datagrams, 'close')
        datagrams.close()
        await Promise.all([closed, connections.close()])
      },
    }
  } catch (error) {
    datagrams.close()
    throw error
  }
}

function bindFailure(error: NodeJS.ErrnoException, { address, port }: ListenerOptions, protocol: string): DroverError {
  if (error.code !== 'EADDRINUSE') {
    return new DroverError('unavailable', `cannot listen on ${address}:${port} (${protocol}): ${error.message}`, {
      cause: error,
    })
  }
  return new DroverError(
    'unavailable',
    `cannot listen on ${address}:${port} (${protocol}): another program has it. A network namespace has room for one agent; a DNS server that listens on all addresses must be told to leave this one`,
    { cause: error },
  )
}

async function listenUdp(options: ListenerOptions): Promise<Socket> {
  const { address, port, responder, log, serves } = options
  const socket = createSocket({
    type: 'udp4',
    // Addresses come from packets: there is nothing to look up, and no turn of the event loop to wait for.
    lookup: (host, _options, done) => done(null, host, 4),
  })
  const reply = (bytes: Buffer, { port: to, address: client }: RemoteInfo): void => {
    socket.send(bytes, to, client)
  }
  await new Promise<void>((resolve, reject) => {
    const failed = (error: Error): void => {
      socket.close()
      reject(bindFailure(error, options, 'UDP'))
    }
    socket.once('error', failed)
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off('error', failed)
      resolve()
    })
  })
  // A reply that cannot be sent concerns one client; it asks again.
  socket.on('error', (error) => log.debug({ err: error }, 'a DNS answer could not be sent'))
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES)
  } catch (error) {
    log.debug({ err: error }, 'the DNS socket keeps its default buffer')
  }
  const receive = (packet: Buffer, client: RemoteInfo): void => {
    if (!serves(client.address)) {
      const refusal = responder.refuse(packet)
      if (refusal !== undefined) reply(refusal, client)
      return
    }
    const response = responder.respond(packet, 'udp')
    if (response instanceof Promise) {
      // The socket may have been closed while others were asked.
      void response.then((bytes) => reply(bytes, client)).catch(() => undefined)
    } else if (response !== undefined) reply(response, client)
  }
  socket.on('message', (packet, client) => {
    try {
      receive(packet, client)
    } catch (error) {
      // Whatever a stranger sends, the agent that runs this node's pods goes on.
      log.error({ err: error, packet: packet.toString('hex') }, 'a DNS question could not be handled')
    }
  })
  return socket
}

async function listenTcp(options: ListenerOptions): Promise<{ close(): Promise<void> }> {
  const { address, port, serves } = options
  const open = new Set<Connection>()
  const server: Server = createServer((connection) => {
    open.add(connection)
    connection.on('close', () => open.delete(connection))
    connection.on('error', () => connection.destroy())
    connection.setTimeout(IDLE_MS, () => connection.destroy())
    if (serves(connection.remoteAddress ?? '')) serveConnection(connection, options)
    else connection.destroy()
  })
  server.maxConnections = MAX_CONNECTIONS
  await new Promise<void>((resolve, reject) => {
    const failed = (error: Error): void => reject(bindFailure(error, options, 'TCP'))
    server.once('error', failed)
    server.listen({ host: address, port, exclusive: true }, () => {
      server.off('error', failed)
      resolve()
    })
  })
  server.on('error', (error) => options.log.debug({ err: error }, 'a DNS connection could not be taken'))
  return {
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const connection of open) connection.destroy()
      await closed
    },
  }
}

/** RFC 7766: many questions to a connection, answered in the order in which they came. */
function serveConnection(connection: Connection, { responder, log }: ListenerOptions): void {
  let received: Buffer = Buffer.alloc(0)
  let busy = false
  const work = async (): Promise<void> => {
    busy = true
    while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const end = 2 + received.readUInt16BE(0)
      const packet = received.subarray(2, end)
      const response = await responder.respond(packet, 'tcp')
      received = received.subarray(end)
      if (response === undefined || !connection.writable) {
        connection.destroy()
        return
      }
      const prefix = Buffer.from([response.length >> 8, response.length & 0xff])
      if (!connection.write(Buffer.concat([prefix, response]))) await once(connection, 'drain')
    }
    busy = false
    if (received.length < MAX_READ_AHEAD_BYTES) connection.resume()
  }
  connection.on('data', (data) => {
    received = Buffer.concat([received, data])
    if (received.length >= MAX_READ_AHEAD_BYTES) connection.pause()
    if (busy) return
    work().catch((error: unknown) => {
      log.debug({ err: error }, 'a DNS connection ended early')
      connection.destroy()
    })
  })
}
