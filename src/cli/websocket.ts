/** WebSockets to the API server, as exec and port-forward need them: the user's proof, and a refusal in words. */
import { WebSocket } from 'ws'
import { DroverError } from '../base/errors.ts'
import type { CliContext } from './context.ts'

const HANDSHAKE_TIMEOUT_MS = 30_000

/** Frames begin with a byte that names their channel. `onRefused` hears why there will be no session. */
export function openWebSocket(
  context: CliContext,
  path: string,
  query: Iterable<readonly [string, string]>,
  onRefused: (error: DroverError) => void,
): WebSocket {
  const url = new URL(context.client.config.server)
  url.protocol = 'wss:'
  url.pathname = `${url.pathname.replace(/\/$/, '')}${path}`
  for (const [name, value] of query) url.searchParams.append(name, value)
  const socket = new WebSocket(url, ['v5.channel.k8s.io', 'v4.channel.k8s.io'], {
    ...context.client.tlsOptions(),
    headers: context.client.authorizationHeaders(),
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  })
  socket.on('unexpected-response', (_request, response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('end', () => onRefused(refusal(Buffer.concat(chunks).toString('utf8'), response.statusCode)))
  })
  socket.on('error', (error) =>
    onRefused(new DroverError('unavailable', `the session with the server broke: ${error.message}`, { cause: error })),
  )
  return socket
}

function refusal(text: string, statusCode: number | undefined): DroverError {
  try {
    const { message, reason } = JSON.parse(text) as { message?: string; reason?: string }
    return new DroverError(reason === 'NotFound' ? 'notFound' : 'invalid', message ?? text)
  } catch {
    return new DroverError('internal', `the session was refused with HTTP ${statusCode}: ${text.slice(0, 200)}`)
  }
}
