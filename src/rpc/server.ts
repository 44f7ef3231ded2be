/**
 * The server's end: a listener with TLS that knows which node calls. A client may come without a certificate, for a
 * machine that joins has none; everything but Join refuses it. The server's own certificate can be replaced while it
 * listens: new connections see the new one, open ones go on.
 */
import { experimental, Server, type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js'
import { JOIN_ID_PREFIX } from '../api/names.ts'
import { DroverError } from '../base/errors.ts'
import { hostPort } from '../base/host_port.ts'
import { type CancellableFrameStream, createFrameStream } from './frames.ts'
import type { JoinRequest, JoinResponse, RenewRequest, RenewResponse } from './join_messages.ts'
import { JOIN_SERVICE } from './join_service.ts'
import { fromServerCall, type MessageStream } from './message_stream.ts'
import type { AgentMessage, ServerMessage, StreamFrameMessage } from './messages.ts'
import { CHANNEL_OPTIONS, NODE_SERVICE, STREAM_ID_KEY } from './node_service.ts'
import { PEER_SERVICE } from './peer_client.ts'
import { grpcStatusOf } from './status.ts'

/** PEM texts. */
export interface TlsFiles {
  ca: string
  cert: string
  key: string
}

/** Who calls, as its certificate says. */
export interface NodeCaller {
  nodeName: string
  /** What ties the certificate to one joining; undefined for one that was made by hand with the CA's key. */
  joinId: string | undefined
}

export interface NodeServerHandlers {
  /** A node's agent has called; throw to refuse it. */
  onConnect(caller: NodeCaller, stream: MessageStream<AgentMessage, ServerMessage>): void
  /** An agent has dialled a stream; throw to refuse it. */
  onStream(nodeName: string, streamId: string, stream: CancellableFrameStream): void
  /** A machine wants to join; `source` is the address that it calls from. Reject to refuse it. */
  onJoin(request: JoinRequest, source: string): Promise<JoinResponse>
  onRenew(caller: NodeCaller, request: RenewRequest): Promise<RenewResponse>
  /** Another server wants a stream to a node of ours. */
  onForward?(stream: CancellableFrameStream): void
}

export interface NodeServer {
  /** Resolves with the port once it listens. */
  listen(host: string, port: number): Promise<number>
  /** Ends all calls and stops listening. */
  close(): Promise<void>
  /** For connections from now on. */
  setTls(tls: TlsFiles): void
}

const ADMIN_ORGANIZATION = 'system:masters'
const NODE_PREFIX = 'system:node:'
const NODE_ORGANIZATION = 'system:nodes'

/** The subject of a peer certificate, as Node's TLS gives it: a repeated field is a list. */
interface Subject {
  CN?: string | string[]
  O?: string | string[]
  OU?: string | string[]
}

/** The node that a certificate stands for. Throws `forbidden` for any other certificate. */
export function nodeNameOfSubject(subject: Subject | undefined): string {
  const name = [subject?.CN ?? []].flat()[0] ?? ''
  if (![subject?.O ?? []].flat().includes(NODE_ORGANIZATION) || !name.startsWith(NODE_PREFIX)) {
    throw new DroverError(
      'forbidden',
      `certificate "${name}" is not a node's: its organization must be ${NODE_ORGANIZATION}, its name ${NODE_PREFIX}NAME`,
    )
  }
  return name.slice(NODE_PREFIX.length)
}

export function callerOfSubject(subject: Subject | undefined): NodeCaller {
  if (subject === undefined) {
    throw new DroverError(
      'unauthorized',
      "no certificate of this cluster's CA was shown (or it has expired): a node joins first, with a token",
    )
  }
  const unit = [subject.OU ?? []].flat().find((text) => text.startsWith(JOIN_ID_PREFIX))
  return { nodeName: nodeNameOfSubject(subject), joinId: unit?.slice(JOIN_ID_PREFIX.length) }
}

function refuse(call: ServerDuplexStream<unknown, unknown>, error: unknown): void {
  call.on('error', () => undefined)
  call.emit('error', grpcStatusOf(error))
}

interface Authenticated {
  getAuthContext(): { sslPeerCertificate?: { subject: unknown } }
}

/** Throws `forbidden` unless an administrator's certificate was shown, as servers do among themselves. */
function requireAdmin(call: Authenticated): void {
  const subject = call.getAuthContext().sslPeerCertificate?.subject as Subject | undefined
  if ([subject?.O ?? []].flat().includes(ADMIN_ORGANIZATION)) return
  throw new DroverError('forbidden', `only servers may ask for other servers' nodes (group ${ADMIN_ORGANIZATION})`)
}

function callerOf(call: Authenticated): NodeCaller {
  return callerOfSubject(call.getAuthContext().sslPeerCertificate?.subject as Subject | undefined)
}

/** Hands an answer that comes later to gRPC. */
function answer<Response>(work: () => Promise<Response>, respond: sendUnaryData<Response>): void {
  const refused = (error: unknown): void => respond(grpcStatusOf(error))
  try {
    work().then((response) => respond(null, response), refused)
  } catch (error) {
    refused(error)
  }
}

/** `192.0.2.7` of what gRPC calls a peer, `192.0.2.7:40212` or `[2001:db8::1]:40212`. */
function sourceOf(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

export function createNodeServer(tls: TlsFiles, handlers: NodeServerHandlers): NodeServer {
  const server = new Server({ ...CHANNEL_OPTIONS, 'grpc.keepalive_permit_without_calls': 1 })
  server.addService(NODE_SERVICE, {
    connect(call: ServerDuplexStream<AgentMessage, ServerMessage>) {
      try {
        handlers.onConnect(callerOf(call), fromServerCall(call))
      } catch (error) {
        refuse(call, error)
      }
    },
    stream(call: ServerDuplexStream<StreamFrameMessage, StreamFrameMessage>) {
      try {
        const { nodeName } = callerOf(call)
        const streamId = String(call.metadata.get(STREAM_ID_KEY)[0] ?? '')
        handlers.onStream(nodeName, streamId, createFrameStream(fromServerCall(call)))
      } catch (error) {
        refuse(call, error)
      }
    },
  })
  server.addService(PEER_SERVICE, {
    forward(call: ServerDuplexStream<StreamFrameMessage, StreamFrameMessage>) {
      try {
        requireAdmin(call)
        if (handlers.onForward === undefined) throw new DroverError('unsupported', 'this server is alone')
        handlers.onForward(createFrameStream(fromServerCall(call)))
      } catch (error) {
        refuse(call, error)
      }
    },
  })
  server.addService(JOIN_SERVICE, {
    join(call: ServerUnaryCall<JoinRequest, JoinResponse>, respond: sendUnaryData<JoinResponse>) {
      answer(() => handlers.onJoin(call.request, sourceOf(call.getPeer())), respond)
    },
    renew(call: ServerUnaryCall<RenewRequest, RenewResponse>, respond: sendUnaryData<RenewResponse>) {
      answer(() => handlers.onRenew(callerOf(call), call.request), respond)
    },
  })
  const provider = createCertificateProvider(tls)
  const credentials = experimental.createCertificateProviderServerCredentials(provider, provider, false)
  return {
    listen: (host, port) =>
      new Promise((resolve, reject) => {
        const address = hostPort(host, port)
        server.bindAsync(address, credentials, (error, bound) => {
          if (error === null) resolve(bound)
          else reject(new DroverError('unavailable', `cannot listen for nodes on ${address}: ${error.message}`))
        })
      }),
    close: () =>
      new Promise((resolve) => {
        server.forceShutdown()
        resolve()
      }),
    setTls: (renewed) => provider.setTls(renewed),
  }
}

type Provider = NonNullable<Parameters<typeof experimental.createCertificateProviderServerCredentials>[1]>
type CaListener = Parameters<Provider['addCaCertificateListener']>[0]
type IdentityListener = Parameters<Provider['addIdentityCertificateListener']>[0]

/** Certificates in memory as grpc-js takes those that change. The chain shows the CA too, for machines that join. */
function createCertificateProvider(first: TlsFiles): Provider & { setTls(tls: TlsFiles): void } {
  let tls = first
  const caListeners = new Set<CaListener>()
  const identityListeners = new Set<IdentityListener>()
  const ca = () => ({ caCertificate: Buffer.from(tls.ca) })
  const identity = () => ({ certificate: Buffer.from(`${tls.cert}${tls.ca}`), privateKey: Buffer.from(tls.key) })
  return {
    addCaCertificateListener(listener) {
      caListeners.add(listener)
      // Not at once: gRPC registers what it wants to be told after it has asked.
      queueMicrotask(() => listener(ca()))
    },
    removeCaCertificateListener: (listener) => void caListeners.delete(listener),
    addIdentityCertificateListener(listener) {
      identityListeners.add(listener)
      queueMicrotask(() => listener(identity()))
    },
    removeIdentityCertificateListener: (listener) => void identityListeners.delete(listener),
    setTls(renewed) {
      tls = renewed
      for (const listener of caListeners) listener(ca())
      for (const listener of identityListeners) listener(identity())
    },
  }
}
