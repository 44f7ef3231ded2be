/** Rows that cross the node session as JSON. */

/** Facts of the cluster, sent with Welcome. */
export interface ClusterConfig {
  clusterName: string
  /** Range of all pod addresses, e.g. `10.244.0.0/16`. */
  clusterCidr: string
  /** Range of service addresses, e.g. `10.96.0.0/16`. */
  serviceCidr: string
  nodePortRange: { from: number; to: number }
  clusterDomain: string
  /** How pods' packets travel between nodes. Absent: `vxlan`. */
  overlay?: Overlay
}

/** In tunnels; by routes through nodes' own addresses; or by routes to the nodes of one's own subnet, in tunnels to the others. */
export type Overlay = 'vxlan' | 'host-gw' | 'auto'

/** One node of the overlay: row `peer/NODE` of TABLE_PEERS. The node's own row is among them. */
export interface PeerRow {
  nodeName: string
  /** Address on the underlay. */
  address: string
  /** Range of its pods' addresses. */
  podCidr: string
}

export interface ServiceEndpoint {
  address: string
  port: number
  nodeName?: string
  /** False for endpoints that are not ready, which are listed only where the service publishes them. */
  ready: boolean
}

export interface ServicePortRow {
  name: string
  protocol: 'TCP' | 'UDP' | 'SCTP'
  port: number
  /** 0 when the service has none. */
  nodePort: number
  endpoints: ServiceEndpoint[]
}

/** An endpoint as discovery knows it, whatever its ports. */
export interface ServiceHost {
  address: string
  /** Its name below the service's, where it has one of its own. */
  hostname?: string
}

/** One service: row `service/NAMESPACE/NAME` of TABLE_SERVICES. */
export interface ServiceRow {
  namespace: string
  name: string
  /** Empty for headless and ExternalName services. */
  clusterIP: string
  externalIPs: string[]
  sessionAffinitySeconds: number
  externalTrafficPolicy: 'Cluster' | 'Local'
  internalTrafficPolicy: 'Cluster' | 'Local'
  ports: ServicePortRow[]
  /** What the name stands for, of ExternalName services; they have no address and no endpoints. */
  externalName?: string
  /** Endpoints to be found by name: of headless services all that are ready or published, else those with names. */
  hosts?: ServiceHost[]
}

/** Whom a rule means: members of a set, or a range of addresses. */
export type PolicyPeer = { set: string } | { cidr: string; except: string[] }

/** Ports of one protocol: all, a range, or those that the pods of a set name so (elements `ADDRESS . PROTOCOL . PORT`). */
export type PolicyPort =
  | { protocol: 'TCP' | 'UDP' | 'SCTP'; from?: number; to?: number }
  | { protocol: 'TCP' | 'UDP' | 'SCTP'; named: string }

export interface PolicyRule {
  /** Absent: everybody. Empty: nobody. */
  peers?: PolicyPeer[]
  /** Absent: every port and protocol. */
  ports?: PolicyPort[]
}

/**
 * Rows of TABLE_POLICIES, each node's own: `pod/UID` of its pods that policies select, `policy/NAMESPACE/NAME` of those
 * policies, `member/SET/ELEMENT` of the sets that they name. Pods go by uid: a pod is bound by its policies before it has an address.
 */
export type PolicyTableRow = PolicyPodRow | PolicyRow | PolicyMemberRow

export interface PolicyPodRow {
  type: 'pod'
  podUid: string
  /** `NAMESPACE/NAME` of the policies that isolate it in this direction; absent: not isolated. */
  ingress?: string[]
  egress?: string[]
}

export interface PolicyRow {
  type: 'policy'
  /** `NAMESPACE/NAME`. */
  key: string
  ingress: PolicyRule[]
  egress: PolicyRule[]
}

export interface PolicyMemberRow {
  type: 'member'
  set: string
  element: string
}

/** Requests of streams, by verb. */
export interface LogsRequest {
  namespace: string
  pod: string
  container: string
  follow: boolean
  previous: boolean
  timestamps: boolean
  tailLines?: number
  sinceTime?: string
  limitBytes?: number
}

/**
 * `exec`; `attach` is the same without `command`. The agent's last frame, on channel `error`, is a `metav1.Status` as JSON:
 * Success, or reason NonZeroExitCode with a cause ExitCode that holds the number. The API server passes it on as it is.
 */
export interface ExecRequest {
  namespace: string
  pod: string
  container: string
  command: string[]
  stdin: boolean
  stdout: boolean
  stderr: boolean
  tty: boolean
}

/** `imageLoad` and `imageImport`: the archive follows on the stdin channel; progress lines come on stdout. */
export interface ImageLoadRequest {
  /** Name for an archive that holds none; required for `imageImport` (a plain root file system). */
  reference?: string
}

/** `imagePull`: progress lines come on stdout. */
export interface ImagePullRequest {
  reference: string
}

export interface ImageRemoveRequest {
  reference: string
  /** Also when containers use it. */
  force: boolean
}

/** Answer of `imageList` on stdout, JSON. */
export interface ImageListEntry {
  names: string[]
  digest: string
  sizeBytes: number
  createdAt: string
}

/** What a node's check of itself found. Answer of the stream verb `nodeFsck`: a list of these, as JSON. */
export interface NodeDamage {
  /** A DamagePart (see src/base/damage.ts). */
  part: string
  subject: string
  problem: string
  /** Only where it was to be mended. */
  mended?: boolean
  /** Why it is not. */
  error?: string
}

/** How fast something uses the node, over a window that ends now. */
export interface UsageRates {
  cpuNanoCores: number
  memoryWorkingSetBytes: number
  windowMs: number
}

export interface PodUsage {
  namespace: string
  name: string
  containers: (UsageRates & { name: string })[]
}

/** What a node answers on the stream `usage`. */
export interface NodeUsage {
  /** Milliseconds since the epoch. */
  atMs: number
  node: UsageRates
  pods: PodUsage[]
}
