/**
 * The network driver: one node's overlay, services and pod interfaces, in the network namespace that the agent runs
 * in. Every `apply` is given the whole desired table and changes only what differs; it may be called at any time and
 * again after a restart, and mends what was changed by hand.
 */
import type { Readable, Writable } from 'node:stream'
import type { Damage } from '../../base/damage.ts'
import type { ClusterConfig, PeerRow, PolicyTableRow, ServiceRow } from '../../rpc/tables.ts'

export interface NodeNetworkConfig {
  cluster: ClusterConfig
  nodeName: string
  /** This node's address on the underlay. */
  nodeAddress: string
  /** This node's range of pod addresses. */
  podCidr: string
}

/** A port of this node's addresses that leads to a pod of it. */
export interface HostPortRow {
  podUid: string
  hostPort: number
  /** Empty or 0.0.0.0: every address of the node, and 127.0.0.1 for its own programs. */
  hostIP: string
  protocol: string
  containerPort: number
}

export interface PodInterface {
  podUid: string
  address: string
}

/** A TCP connection from a client to a pod. */
export interface Connection {
  peer: string
  /** Come, but not read by the program. */
  unreadBytes: number
  /** Written by the program, but not taken by the client. */
  unsentBytes: number
  /** In the connection's whole life. */
  receivedBytes: number
  sentBytes: number
  /** Since data last came or went; since the connection began where none did. */
  sinceReceivedMs: number
  sinceSentMs: number
}

export interface Counted {
  bytes: number
  packets: number
  errors: number
  dropped: number
}

/** Since the pod's interface was made. */
export interface Traffic {
  received: Counted
  sent: Counted
}

/** A connection to a program of a pod. */
export interface PodSocket {
  input: Writable
  output: Readable
  /** Resolves when both directions have ended; rejects with `unavailable` when nobody listens. */
  ended: Promise<void>
  close(): void
}

export interface NetworkDriver {
  /** Programs and kernel features it needs; fails with `unsupported` in words that say how to mend it. */
  initialize(): Promise<void>
  /** Bridge, VXLAN device, base tables. Must have resolved before any other call. */
  ensureNode(config: NodeNetworkConfig): Promise<void>
  applyPeers(peers: readonly PeerRow[]): Promise<void>
  /** Peers whose pods this node cannot reach, as of the last `applyPeers` or `mendDrift`, in words. */
  peerProblems?(): readonly string[]
  /** Resolves when the kernel holds exactly these services. */
  applyServices(services: readonly ServiceRow[]): Promise<void>
  /**
   * Takes the policies in at once: a pod that is made from now on is bound by them before `ensurePod` resolves. What
   * was found in the kernel at a start stays in force until this is called first.
   */
  notePolicies(rows: readonly PolicyTableRow[]): void
  /** Resolves when the kernel holds exactly the policies noted last. */
  applyPolicies(): Promise<void>
  /**
   * Takes the host ports in at once: they lead to a pod when `ensurePod` resolves, and no longer when `removePod` does.
   * A port that two pods claim is the first one's. What was found in the kernel at a start stays until this is called first.
   */
  noteHostPorts(rows: readonly HostPortRow[]): void
  /** Resolves when the kernel holds exactly the host ports noted last, of pods that have an interface. */
  applyHostPorts(): Promise<void>
  /**
   * Creates or completes the pod's interface in its namespace and returns its address; the same one for the same pod.
   * `onAddress` hears the address as soon as it is chosen, before there need be a namespace, so that what needs no more can go
   * on; it is free again if the call then fails. Calls for one pod take their turns: a removal waits for an interface that
   * is being made.
   */
  ensurePod(
    podUid: string,
    netNamespacePath: string | Promise<string>,
    onAddress?: (address: string) => void,
  ): Promise<PodInterface>
  /** A pod without a network: nothing but `lo`, up. */
  ensureLoopback(netNamespacePath: string): Promise<void>
  /** Interfaces that exist, with their addresses, read from the node. */
  listPods(): Promise<PodInterface[]>
  /** Connections that clients hold to the programs of a pod; `pid` is any process of it. Absent: cannot be told. */
  connections?(pid: number): Promise<Connection[]>
  /** What pods with an interface have received and sent, by uid. */
  traffic(): Promise<ReadonlyMap<string, Traffic>>
  /** Connects to a port on the loopback of a namespace, or of this one. Never throws: see `PodSocket.ended`. */
  openSocket(netNamespacePath: string | undefined, port: number): PodSocket
  /** Whether no address is left for a further pod. */
  isFull?(): boolean
  /** Removes the interface and frees the address. Idempotent. */
  removePod(podUid: string): Promise<void>
  /** Removes all that `ensureNode` and later calls made. */
  teardown(): Promise<void>
  /**
   * Compares devices, routes and rules with what was applied last and mends what differs; true when anything did.
   * Cheap enough to be called every few seconds.
   */
  mendDrift?(): Promise<boolean>
  /**
   * What of the node's devices, routes and rules, of these pods' interfaces and of the addresses given out is not as it
   * should be. `known` are all pods that somebody looks after.
   */
  findDamage?(
    pods: readonly { podUid: string; netNamespacePath: string }[],
    known: ReadonlySet<string>,
  ): Promise<Damage[]>
}
