/** What the agent's parts share. Made once, in agent.ts. */
import type { Pod } from '../api/pod.ts'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { NodeUsage } from '../rpc/tables.ts'
import type { Desired } from './desired.ts'
import type { DnsDriver } from './dns/dns.ts'
import type { FenceGuard } from './fence/guard.ts'
import type { PodCare } from './fsck.ts'
import type { ImageDriver } from './images/images.ts'
import type { NetworkDriver } from './network/network.ts'
import type { NodeFiles } from './node_files.ts'
import type { ContainerState, RuntimeDriver } from './runtime/runtime.ts'
import type { SharedList } from './shared_list.ts'
import type { StatusReporter } from './status_reporter.ts'
import type { TokenWish } from './token_requests.ts'
import type { VolumeDriver } from './volumes/volumes.ts'

export interface Drivers {
  runtime: RuntimeDriver
  images: ImageDriver
  network: NetworkDriver
  volumes: VolumeDriver
  dns: DnsDriver
}

/** Events about pods, for people; losing one must not stop work. */
export interface PodEvents {
  record(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void
}

export interface AgentContext {
  nodeName: string
  nodeAddress: string
  /** Logs of containers lie below it. */
  logsDir: string
  /** The node's own seccomp profiles lie below it. */
  seccompDir: string
  /** Kernel parameters that pods may set besides the safe ones; `net.core.*` allows many. */
  allowedSysctls: readonly string[]
  /** Processes and threads that one container may have; 0: as many as the host gives. */
  containerPidsLimit: number
  clusterDomain(): string
  nodeCpuMillis: number
  nodeMemoryBytes: number
  /** Of the file system of the data directory, as the node says it of itself; 0 when unknown. */
  nodeStorageBytes: number
  clock: Clock
  random: Random
  log: Logger
  drivers: Drivers
  files: NodeFiles
  containers: SharedList<ContainerState[]>
  desired: Desired
  reporter: StatusReporter
  events: PodEvents
  /** Absent: exclusive pods run like any other, and nothing keeps a second copy away. */
  fence?: FenceGuard
  /** Who looks after pods, for the node's check of itself. */
  care?: PodCare
  /** What the node's pods use; absent where nothing is measured. */
  usage?: { read(): Promise<NodeUsage> }
  /** An image has come or gone. */
  imagesChanged(): void
  /** Asks a server for a token by which a pod speaks. */
  requestToken(wish: TokenWish): Promise<string>
  /** By whom the API's certificate is signed. PEM. */
  clusterCa(): string
  /** Whether pods can have interfaces. */
  networkReady(): boolean
}
