/** Health and metrics of the agent over plain HTTP, for the machine's own monitoring. */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DroverError } from '../base/errors.ts'
import type { Registry } from '../base/metrics.ts'

export interface HealthOptions {
  listen: { host: string; port: number }
  registry: Registry
  /** What keeps the agent from being ready; empty when nothing does. */
  missing(): string[]
}

export interface HealthServer {
  run(signal: AbortSignal): Promise<void>
  address(): { host: string; port: number }
}

export function createHealthServer({ listen, registry, missing }: HealthOptions): HealthServer {
  let port: number | undefined
  const answer = (response: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
    response.writeHead(status, { 'content-type': type })
    response.end(body)
  }
  const respond = async (path: string, response: ServerResponse): Promise<void> => {
    if (path === '/healthz') return answer(response, 200, 'ok\n')
    if (path === '/readyz') {
      const reasons = missing()
      return reasons.length === 0 ? answer(response, 200, 'ok\n') : answer(response, 503, `${reasons.join('\n')}\n`)
    }
    if (path === '/metrics') return answer(response, 200, await registry.metrics(), registry.contentType)
    return answer(response, 404, 'paths: /healthz /readyz /metrics\n')
  }
  return {
    address() {
      if (port === undefined) throw new DroverError('unavailable', 'the health server does not listen yet')
      return { host: listen.host, port }
    },
    async run(signal) {
      const server = createServer((request, response) => {
        respond(new URL(request.url ?? '/', 'http://agent').pathname, response).catch((error: unknown) =>
          answer(response, 500, `${DroverError.from(error).message}\n`),
        )
      })
      await new Promise<void>((resolve, reject) => {
        server.on('error', (error) => {
          const where = `${listen.host}:${listen.port}`
          reject(new DroverError('unavailable', `cannot serve health on ${where}: ${error.message}`, { cause: error }))
        })
        server.listen(listen.port, listen.host, () => {
          port = (server.address() as AddressInfo).port
        })
        const stop = (): void => {
          server.close(() => resolve())
          server.closeAllConnections()
        }
        if (signal.aborted) stop()
        else signal.addEventListener('abort', stop, { once: true })
      })
    },
  }
}
