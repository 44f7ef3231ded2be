/** An HTTP server before a registry that does what registries, networks and thieves do, as a test asks; and a proxy. */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

export interface Front {
  host: string
  /** Method and path of every request, with the Range where there was one. */
  seen: string[]
  /** How many are open. */
  connections(): number
  stop(): Promise<void>
}

/** Answers itself and returns true, or leaves the request to the registry behind. */
export type Intercept = (asked: IncomingMessage, answer: ServerResponse) => boolean | Promise<boolean>

async function listening(server: Server): Promise<string> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Ends connections one by one: those of CONNECT are no longer the server's to close. */
function tracked(server: Server): Pick<Front, 'connections' | 'stop'> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return {
    connections: () => sockets.size,
    stop: () =>
      new Promise((done) => {
        server.close(() => done())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** A whole answer of the registry behind. */
export function forward(
  target: string,
  asked: IncomingMessage,
): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const [host, port] = target.split(':')
    const headers = { ...asked.headers, host: target }
    const behind = request({ host, port, path: asked.url, method: asked.method, headers, agent: false }, (got) => {
      const chunks: Buffer[] = []
      got.on('data', (chunk: Buffer) => chunks.push(chunk))
      got.on('end', () => resolve({ status: got.statusCode ?? 0, headers: got.headers, body: Buffer.concat(chunks) }))
    })
    behind.on('error', reject)
    if (typeof asked.pipe === 'function') asked.pipe(behind)
    else behind.end()
  })
}

export async function startFront(target: string, intercept: Intercept): Promise<Front> {
  const seen: string[] = []
  const answer = async (asked: IncomingMessage, response: ServerResponse) => {
    const { range } = asked.headers
    seen.push(`${asked.method} ${asked.url}${range === undefined ? '' : ` ${range}`}`)
    if (await intercept(asked, response)) return
    const { status, headers, body } = await forward(target, asked)
    response.writeHead(status, passedOn(headers)).end(body)
  }
  // The registry gives addresses of its own, which would lead round the front.
  const passedOn = (headers: IncomingHttpHeaders): OutgoingHttpHeaders => {
    const { location } = headers
    return location === undefined ? { ...headers } : { ...headers, location: location.replace(`http://${target}`, '') }
  }
  const server = createServer((asked, response) => {
    answer(asked, response).catch(() => response.destroy())
  })
  return { host: await listening(server), seen, ...tracked(server) }
}

/** An HTTP proxy: absolute form and CONNECT; with a password where one is given. */
export async function startProxy(authorization?: string): Promise<Front> {
  const seen: string[] = []
  const refused = (asked: IncomingMessage) =>
    authorization !== undefined && asked.headers['proxy-authorization'] !== authorization
  const server = createServer((asked, response) => {
    seen.push(`${asked.method} ${asked.url}`)
    if (refused(asked)) {
      response.writeHead(407).end()
      return
    }
    const url = new URL(asked.url ?? '')
    const { 'proxy-authorization': _own, ...headers } = asked.headers
    request({ host: url.hostname, port: url.port, path: url.pathname + url.search, headers, agent: false }, (got) => {
      response.writeHead(got.statusCode ?? 502, got.headers)
      got.pipe(response)
    })
      .on('error', () => response.destroy())
      .end()
  })
  server.on('connect', (asked: IncomingMessage, client: Socket) => {
    seen.push(`CONNECT ${asked.url}`)
    client.on('error', () => undefined)
    if (refused(asked)) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
      return
    }
    const [host = '', port] = (asked.url ?? '').split(':')
    const upstream = connect({ host, port: Number(port) }, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      upstream.pipe(client)
      client.pipe(upstream)
    })
    upstream.on('error', () => client.destroy())
  })
  return { host: await listening(server), seen, ...tracked(server) }
}
