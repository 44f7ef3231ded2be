/**
 * An HTTP proxy for the hosts of a local cluster: their namespaces see only the underlay, so agents fetch images
 * through here. It listens on the underlay's gateway address alone and asks for a secret that only the agents have,
 * because whoever may use it reaches this machine's loopback. Source: RFC 9110 §9.3.6 (CONNECT).
 */
import { timingSafeEqual } from 'node:crypto'
import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from '../base/log.ts'
import type { Service } from '../base/service.ts'

export interface RegistryProxyOptions {
  host: string
  port: number
  secret: string
  log: Logger
}

const CONNECT_TIMEOUT_MS = 15_000

/** What a client sends in Proxy-Authorization. */
export function proxyAuthorization(secret: string): string {
  return `Bearer ${secret}`
}

export function createRegistryProxy(options: RegistryProxyOptions): Service {
  return {
    id: 'registry-proxy',
    async run(signal) {
      const server = createServer()
      const tunnels = new Set<Duplex>()
      server.on('request', (request: IncomingMessage, response: ServerResponse) => forward(options, request, response))
      server.on('connect', (request: IncomingMessage, client: Duplex, head: Buffer) => {
        tunnels.add(client)
        client.on('close', () => tunnels.delete(client))
        tunnel(options, request, client, head)
      })
      await listen(server, options)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      for (const client of tunnels) client.destroy()
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

function listen(server: Server, { host, port }: RegistryProxyOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function allowed(request: IncomingMessage, secret: string): boolean {
  const given = Buffer.from(request.headers['proxy-authorization'] ?? '')
  const wanted = Buffer.from(proxyAuthorization(secret))
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}

function forward(options: RegistryProxyOptions, request: IncomingMessage, response: ServerResponse): void {
  if (!allowed(request, options.secret)) {
    response.writeHead(407, { 'proxy-authenticate': 'Bearer' }).end()
    return
  }
  if (!URL.canParse(request.url ?? '')) {
    response.writeHead(400).end('this is a proxy: send an absolute URL\n')
    return
  }
  const { 'proxy-authorization': _secret, 'proxy-connection': _connection, ...headers } = request.headers
  const upstream = httpRequest(request.url ?? '', {
    method: request.method ?? 'GET',
    headers,
    timeout: CONNECT_TIMEOUT_MS,
  })
  upstream.on('timeout', () => upstream.destroy(new Error('timed out')))
  upstream.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.on('error', () => response.destroy()).pipe(response)
  })
  upstream.on('error', (error) => {
    options.log.warn({ err: error, url: request.url }, 'registry proxy: cannot forward')
    if (response.headersSent) response.destroy()
    else response.writeHead(502).end(`${error.message}\n`)
  })
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}

/** A status line's words: what went wrong, in characters that may stand there (RFC 9112 §4). */
function reasonPhrase(error: Error): string {
  return error.message.replace(/[^\x20-\x7e]/g, ' ').slice(0, 200)
}

function tunnel(options: RegistryProxyOptions, request: IncomingMessage, client: Duplex, head: Buffer): void {
  client.on('error', () => client.destroy())
  if (!allowed(request, options.secret)) {
    client.end('HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Bearer\r\n\r\n')
    return
  }
  const { hostname, port } = new URL(`http://${request.url}`)
  const upstream = connect({ host: hostname, port: Number(port || 443), timeout: CONNECT_TIMEOUT_MS })
  upstream.on('timeout', () => upstream.destroy(new Error('timed out')))
  upstream.on('connect', () => {
    upstream.setTimeout(0)
    client.write('HTTP/1.1 200 Connection established\r\n\r\n')
    upstream.write(head)
    upstream.pipe(client).pipe(upstream)
  })
  upstream.on('error', (error) => {
    options.log.warn({ err: error, target: request.url }, 'registry proxy: cannot connect')
    client.end(`HTTP/1.1 502 ${reasonPhrase(error)}\r\n\r\n`)
  })
  client.on('close', () => upstream.destroy())
}
