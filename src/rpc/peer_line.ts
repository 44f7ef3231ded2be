/**
 * A line to another server that shows whether it works: HTTP/2 pings, which the other's event loop must answer, on a
 * connection to its node port, which its kernel ends the moment the process dies.
 */
import { type ClientHttp2Session, connect } from 'node:http2'
import { isIP } from 'node:net'
import { checkServerIdentity } from 'node:tls'
import { hostOf } from './client.ts'
import type { TlsFiles } from './server.ts'

export interface PeerLine {
  /** Asks for a sign of life; does nothing until the line stands. */
  ping(): void
  close(): void
}

export interface PeerLineHandlers {
  /** The line stands, or a ping was answered. */
  onAnswer(): void
  /** It has ended, once. `refused`: the machine answers, and nobody listens there. */
  onEnd(refused: boolean): void
}

/** `address` is host:port. */
export function openPeerLine(address: string, tls: TlsFiles, { onAnswer, onEnd }: PeerLineHandlers): PeerLine {
  const host = hostOf(address)
  const session: ClientHttp2Session = connect(`https://${address}`, {
    ca: tls.ca,
    cert: tls.cert,
    key: tls.key,
    // The certificate is checked against the address; RFC 6066 allows names alone in the handshake.
    ...(isIP(host) === 0 ? {} : { servername: 'drover-server' }),
    checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
  })
  let refused = false
  let over = false
  const end = (): void => {
    if (over) return
    over = true
    session.destroy()
    onEnd(refused)
  }
  session.on('error', (error: NodeJS.ErrnoException) => {
    refused = error.code === 'ECONNREFUSED'
    end()
  })
  session.on('goaway', end)
  session.on('close', end)
  session.on('connect', () => {
    if (!over) onAnswer()
  })
  // It must not keep the process from ending.
  session.unref()
  return {
    ping() {
      if (over || session.connecting || session.destroyed) return
      session.ping((error) => {
        if (error === null && !over) onAnswer()
      })
    },
    close() {
      over = true
      session.destroy()
    },
  }
}
