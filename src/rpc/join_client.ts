/**
 * The joining machine's calls. The server's chain is looked at first, on a connection that carries nothing: only when
 * it ends in the CA that the token pins is that CA trusted, and a second connection, checked in full, carries the secret.
 * Rejected: verification in the first connection's own callback, which gRPC runs after TLS has already refused a CA
 * that it does not know.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { connect, type DetailedPeerCertificate } from 'node:tls'
import { Client, type ClientOptions, type ServiceError } from '@grpc/grpc-js'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { type ClientTls, caOnlySecurity, hostOf, nodeSecurity } from './client.ts'
import type { JoinRequest, JoinResponse, RenewRequest, RenewResponse } from './join_messages.ts'
import { JOIN_SERVICE } from './join_service.ts'
import { errorFromGrpc } from './status.ts'

const TIMEOUT_MS = 10_000
const MAX_CHAIN = 8

const spkiHash = (certificate: X509Certificate): string =>
  createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')

/** Certificates as the server sent them, its own first. */
function chainOf(first: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = []
  let current: DetailedPeerCertificate | undefined = first
  while (current?.raw !== undefined && chain.length < MAX_CHAIN) {
    chain.push(new X509Certificate(current.raw))
    current = current.issuerCertificate === current ? undefined : current.issuerCertificate
  }
  return chain
}

function fetchChain(address: string): Promise<X509Certificate[]> {
  const host = hostOf(address)
  const port = Number(address.slice(address.lastIndexOf(':') + 1))
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown): void => {
      socket.destroy()
      reject(new DroverError('unavailable', `cannot reach ${address}: ${why}`, { cause }))
    }
    // Nothing is believed of this peer: the connection ends before anything is sent on it.
    const socket = connect({ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => {
      const chain = chainOf(socket.getPeerCertificate(true))
      socket.destroy()
      resolve(chain)
    })
    socket.setTimeout(TIMEOUT_MS, () => fail(`no answer within ${TIMEOUT_MS / 1000} s`))
    socket.on('error', (error) => fail(error.message, error))
  })
}

/**
 * The CA (PEM) of the server at `address`, if its public key has this hash. Throws `unavailable` when nobody answers,
 * `forbidden` when another cluster does, `invalid` when this machine's clock is outside the certificate's time.
 */
export async function fetchPinnedCa(address: string, caHash: string, clock: Clock): Promise<string> {
  const chain = await fetchChain(address)
  const ca = chain.find((certificate) => certificate.ca && spkiHash(certificate) === caHash)
  if (ca === undefined) {
    throw new DroverError(
      'forbidden',
      `the server at ${address} is not of the cluster that made this token: the token pins the CA sha256:${caHash}, the server shows ${describe(chain)}; nothing was sent to it`,
    )
  }
  const [leaf] = chain
  const nowMs = clock.now()
  if (leaf !== undefined && (nowMs < Date.parse(leaf.validFrom) || nowMs > Date.parse(leaf.validTo))) {
    throw new DroverError(
      'invalid',
      `this machine's clock says ${new Date(nowMs).toISOString()}, but the server's certificate is good from ${leaf.validFrom} to ${leaf.validTo}: set the clock, for example with NTP`,
    )
  }
  return ca.toString()
}

function describe(chain: readonly X509Certificate[]): string {
  const last = chain.at(-1)
  return last?.ca === true ? `sha256:${spkiHash(last)}` : 'no CA at all'
}

interface Security {
  credentials: ConstructorParameters<typeof Client>[1]
  options: ClientOptions
}

interface UnaryMethod<Request, Response> {
  path: string
  requestSerialize(message: Request): Buffer
  responseDeserialize(buffer: Buffer): Response
}

function call<Request, Response>(
  target: { address: string; security: Security; clock: Clock },
  method: UnaryMethod<Request, Response>,
  request: Request,
): Promise<Response> {
  const { address, security, clock } = target
  const client = new Client(address, security.credentials, security.options)
  return new Promise<Response>((resolve, reject) => {
    const { path, requestSerialize, responseDeserialize } = method
    // Not gRPC's deadline: that is a time of day, and this machine's clock may be what is wrong.
    const timer = clock.schedule(TIMEOUT_MS, () => {
      reject(new DroverError('timeout', `cannot reach ${address}: no answer within ${TIMEOUT_MS / 1000} s`))
      sent.cancel()
    })
    const sent = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, response) => {
      timer.cancel()
      if (error !== null) reject(refusal(error, address))
      else if (response === undefined) reject(new DroverError('internal', `${address} gave no answer`))
      else resolve(response)
    })
  }).finally(() => client.close())
}

function refusal(error: ServiceError, address: string): DroverError {
  const coded = errorFromGrpc(error)
  const unreachable = coded.code === 'unavailable' || coded.code === 'timeout'
  return unreachable
    ? new DroverError(coded.code, `cannot reach ${address}: ${coded.message}`, { cause: error })
    : coded
}

/** Sends the secret to a server whose CA is `ca`, and to no other. */
export function callJoin(address: string, ca: string, request: JoinRequest, clock: Clock): Promise<JoinResponse> {
  return call({ address, security: caOnlySecurity(address, ca), clock }, JOIN_SERVICE.join, request)
}

export function callRenew(
  address: string,
  tls: ClientTls,
  request: RenewRequest,
  clock: Clock,
): Promise<RenewResponse> {
  return call({ address, security: nodeSecurity(address, tls), clock }, JOIN_SERVICE.renew, request)
}
