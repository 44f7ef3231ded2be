/**
 * Streams to nodes whose sessions are with other servers. A node speaks with one server; a client may ask any. The server
 * that is asked finds in the Node who holds the session, dials that server, and passes frames on. Servers know
 * each other by the store, and show each other the administrator's certificate: a stream gives no more than that does.
 */
import { isNodeReady, type Node, nodeKind } from '../api/node.ts'
import { DroverError } from '../base/errors.ts'
import type { FrameStream, NodeGateway, NodeStreamVerb } from '../base/stream.ts'
import type { Resources } from '../resources/resources.ts'
import type { CancellableFrameStream } from '../rpc/frames.ts'
import { createPeerClient, type PeerRequest } from '../rpc/peer_client.ts'
import type { TlsFiles } from '../rpc/server.ts'
import { SESSION_ANNOTATION } from './node_object.ts'

/** The servers of the cluster, as they see each other. */
export interface ServerDirectory {
  isAlive(serverId: string): boolean
  /** `host:port` each; empty when the server is not known. */
  addressesOf(serverId: string): readonly string[]
  /** Node addresses of all that live, this one's first. */
  nodeAddresses(): readonly string[]
}

export interface Peers {
  servers: ServerDirectory
  /** A client certificate that other servers trust. */
  tls(): TlsFiles
}

export interface PeerGatewayOptions {
  local: NodeGateway
  resources: Resources
  serverId: string
  peers: Peers
}

export function createPeerGateway({ local, resources, serverId, peers }: PeerGatewayOptions): NodeGateway {
  const holderOf = (node: Node | undefined): string | undefined => {
    const holder = node?.metadata.annotations?.[SESSION_ANNOTATION]
    return holder !== undefined && holder !== serverId && peers.servers.isAlive(holder) ? holder : undefined
  }
  return {
    connectedNodes() {
      const names = new Set(local.connectedNodes())
      for (const node of resources.list(nodeKind)) {
        if (isNodeReady(node) && holderOf(node) !== undefined) names.add(node.metadata.name)
      }
      return [...names].sort()
    },
    async open(nodeName: string, verb: NodeStreamVerb, request: unknown, signal: AbortSignal): Promise<FrameStream> {
      const holder = local.connectedNodes().includes(nodeName)
        ? undefined
        : holderOf(resources.get(nodeKind, '', nodeName))
      const [address] = holder === undefined ? [] : peers.servers.addressesOf(holder)
      if (address === undefined) return local.open(nodeName, verb, request, signal)
      if (signal.aborted) throw new DroverError('cancelled', 'cancelled', { cause: signal.reason })
      const client = createPeerClient(address, peers.tls())
      const stream = client.open({ nodeName, verb, request })
      const onAbort = (): void => stream.cancel(new DroverError('cancelled', 'cancelled', { cause: signal.reason }))
      signal.addEventListener('abort', onAbort, { once: true })
      stream.onClose(() => {
        signal.removeEventListener('abort', onAbort)
        client.close()
      })
      return stream
    },
  }
}

/** Another server's stream to one of our nodes. Only our own sessions are used: a request is passed on once. */
export async function servePeer(local: NodeGateway, from: CancellableFrameStream, request: PeerRequest): Promise<void> {
  const stop = new AbortController()
  from.onClose(() => stop.abort())
  try {
    const node = await local.open(request.nodeName, request.verb, request.request, stop.signal)
    await Promise.all([pass(request.frames, node), pass(node.frames, from)])
  } catch (error) {
    from.end(error)
  }
}

async function pass(frames: FrameStream['frames'], to: FrameStream): Promise<void> {
  try {
    for await (const frame of frames) await to.send(frame)
    to.end()
  } catch (error) {
    to.end(error)
  }
}
