/** A watch over HTTP/2 whose events are collected as they come. */
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2'

export interface WatchLine {
  type: string
  object: {
    kind: string
    apiVersion?: string
    code?: number
    metadata: { name?: string; resourceVersion: string; annotations?: Record<string, string> }
    status?: Record<string, unknown>
  }
}

export interface OpenWatch {
  lines: WatchLine[]
  head(): IncomingHttpHeaders
  stream: ClientHttp2Stream
}

export function openWatch(session: ClientHttp2Session, path: string, headers: Record<string, string>): OpenWatch {
  const stream = session.request({ ':path': path, ...headers })
  const lines: WatchLine[] = []
  let rest = ''
  let head: IncomingHttpHeaders = {}
  stream.on('response', (received) => {
    head = received
  })
  stream.setEncoding('utf8')
  stream.on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts.filter((part) => part !== '').map((part) => JSON.parse(part) as WatchLine))
  })
  return { lines, head: () => head, stream }
}
