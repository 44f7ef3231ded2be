/**
 * The container runtime driver: runc (or any OCI runtime) under conmon. It knows containers and sandboxes, nothing of
 * pods' meaning: restart, probes and status are the worker's. Everything it reports is read from disk and the kernel,
 * so that a driver made anew after a SIGKILL sees the same.
 */
import type { Damage } from '../../base/damage.ts'
import type { FrameStream } from '../../base/stream.ts'

/** A user namespace: 0 in it is `firstId` on the host, and so on. */
export interface SandboxUsers {
  namespacePath: string
  firstId: number
  size: number
}

/** What the containers of a pod ask for and may take together. */
export interface PodResources {
  cpuRequestMillis: number
  /** 0: no limit, as for memory. */
  cpuLimitMillis: number
  memoryLimitBytes: number
}

/** Pinned namespaces that the containers of a pod share. */
export interface Sandbox {
  podUid: string
  /** What the kernel tells the pod's programs. */
  hostname: string
  /** Files that hold the namespaces; absent for those shared with the host. */
  netNamespacePath?: string
  ipcNamespacePath: string
  utsNamespacePath: string
  /** Present when the pod's containers see each other's processes. */
  pidNamespacePath?: string
  /** Present when the pod has users of its own: its other namespaces belong to this one. */
  users?: SandboxUsers
  /** As they were asked for with it: what the pod's cgroup is given before a container of it starts. */
  resources?: PodResources
}

export interface SandboxRequest {
  podUid: string
  namespace: string
  podName: string
  hostname: string
  hostNetwork: boolean
  /** The pod's containers see each other's processes. */
  shareProcesses?: boolean
  /** The pod's user 0 is nobody on the host. */
  ownUsers?: boolean
  /** Absent: the pod weighs as the kernel's default does, and only its containers are bounded. */
  resources?: PodResources
}

export interface Mount {
  hostPath: string
  containerPath: string
  readOnly: boolean
  /** What is mounted below it is read-only too. */
  recursiveReadOnly?: boolean
  /** Whether mounts made later on one side show on the other. */
  propagation?: 'HostToContainer' | 'Bidirectional'
}

export interface ContainerResources {
  /** 0: no limit. */
  cpuLimitMillis: number
  cpuRequestMillis: number
  memoryLimitBytes: number
  memoryRequestBytes: number
  pidsLimit: number
  /** Whom the kernel kills when the node is short of memory; where it is not said, these resources tell. */
  oomRank?: 'first' | 'byRequest' | 'last'
}

/** No profile, or one in the form of the OCI runtime specification. */
export type SeccompRequest = 'unconfined' | Readonly<Record<string, unknown>>

/** A program that runs containers, by the name that runtime classes have for it. */
export interface RuntimeHandler {
  name: string
  /** `crun://1.8.1`; absent where there is none. */
  version?: string
  /** Why it cannot run containers here, and what would mend that. */
  problem?: string
}

/** What of a container is known before its pod has been prepared. */
export interface ContainerHead {
  /** Unique on the node and over restarts: `<podUid>-<name>-<attempt>`, shortened by the worker. */
  id: string
  podUid: string
  name: string
  attempt: number
  /** Who runs it; absent: the node's main runtime. */
  handler?: string
  /** Directories of the image's unpacked layers, lowest first. */
  layerDirectories: readonly string[]
  tty: boolean
  stdin: boolean
  /** Close the container's stdin when the first attached client goes away. */
  stdinOnce?: boolean
  /** CRI-format log; the file belongs to the caller and outlives the container. */
  logPath: string
  /** Where the container finds the file that `terminationMessage` reads; absent: none is mounted. */
  terminationMessagePath?: string
  annotations: Readonly<Record<string, string>>
}

export interface ContainerRequest extends ContainerHead {
  sandbox: Sandbox
  args: readonly string[]
  env: readonly string[]
  workingDirectory: string
  user: { uid: number; gid: number; additionalGids: readonly number[] }
  mounts: readonly Mount[]
  resources: ContainerResources
  readOnlyRootFilesystem: boolean
  /** It sees the host's processes. */
  hostPid?: boolean
  /** It shares System V IPC, message queues and /dev/shm with the host. */
  hostIpc?: boolean
  privileged: boolean
  addCapabilities: readonly string[]
  dropCapabilities: readonly string[]
  noNewPrivileges: boolean
  /** Absent: the runtime's own profile. */
  seccomp?: SeccompRequest
  /** Kernel parameters of the pod's namespaces, by name. */
  sysctls?: Readonly<Record<string, string>>
  /** What its creation needs and is still being made, such as its sandbox: nothing is created before this resolves. */
  prerequisites?: Promise<unknown>
  /** What is still being made of the pod's network: the program is started only once it resolves. */
  ready?: Promise<unknown>
}

/** A container of which everything is under way that needs no more than its head. Either of its calls is made, once. */
export interface BegunContainer {
  /** As `startContainer`, with a request that has the same head. */
  start(request: ContainerRequest, signal: AbortSignal): Promise<ContainerState>
  /** Nothing of it is left. */
  dismiss(): Promise<void>
}

export type ContainerPhase = 'created' | 'running' | 'exited'

export interface ContainerExit {
  code: number
  signal?: number
  oomKilled: boolean
  finishedAtMs: number
  /** Of one that never ran, for its program could not be started: `START_ERROR`, and what the runtime said. */
  reason?: string
  message?: string
}

export interface ContainerState {
  id: string
  podUid: string
  name: string
  attempt: number
  phase: ContainerPhase
  /** Process id in the host's view, while running. */
  pid?: number
  startedAtMs?: number
  exit?: ContainerExit
  annotations: Readonly<Record<string, string>>
}

/** Time that tasks lost for want of a resource: some of them; all of them. */
export interface Stalled {
  waitingSeconds: number
  stalledSeconds: number
}

/** Counted since the container began; memory as it is now. What is absent this kernel does not tell. */
export interface CgroupUsage {
  cpuSeconds: number
  memoryBytes: number
  /** Without what the kernel would give back first (inactive file pages). */
  memoryWorkingSetBytes: number
  memoryRssBytes?: number
  memoryCacheBytes?: number
  processes?: number
  throttling?: { periods: number; throttledPeriods: number; throttledSeconds: number }
  disk?: { readBytes: number; writtenBytes: number }
  pressure?: { cpu?: Stalled; memory?: Stalled; io?: Stalled }
}

export interface ExecOptions {
  args: readonly string[]
  env?: readonly string[]
  tty: boolean
}

export interface RuntimeDriver {
  /** Prepares directories and checks programs; fails with `unsupported` in words that say what to install. */
  initialize(): Promise<void>
  /** Name and version, for node info: `runc://1.1.5`. */
  version(): Promise<string>
  /** What pods can choose to be run by. */
  handlers(): Promise<RuntimeHandler[]>

  /**
   * `onKnown` hears what it will be, where that is known before it is made. A pod that has containers already, which another
   * agent may have made, is given its resources at once.
   */
  ensureSandbox(request: SandboxRequest, onKnown?: (sandbox: Sandbox) => void): Promise<Sandbox>
  /** Sandboxes that exist, whether or not anyone still wants them. */
  listSandboxes(): Promise<Sandbox[]>
  /** Makes sandboxes before any pod asks for one, for as long as it runs. */
  keepSpares?(count: number, signal: AbortSignal): Promise<void>
  /** Removes those; call it when `keepSpares` does not run. */
  removeSpares?(): Promise<void>
  /** Removes pins, cgroups and directories of the pod. All its containers must have been removed. Idempotent. */
  removeSandbox(podUid: string): Promise<void>

  /**
   * Creates and starts. A container whose program cannot be started is no failure of the call but has ended: it is kept, and its exit
   * says why. On failure nothing of the container is left.
   */
  startContainer(request: ContainerRequest, signal: AbortSignal): Promise<ContainerState>
  /** Begins one before the rest is known, in a pod without users of its own. Until it is started, `listContainers` of its pod has it not. */
  beginContainer?(head: ContainerHead): BegunContainer
  /**
   * Every container that has a directory, in any state, read from disk and the kernel; of one pod, or of all. Of all, one that ran
   * and left no exit file may be told as running for up to 10 s after its end: whoever acts on that asks for the pod.
   */
  listContainers(podUid?: string): Promise<ContainerState[]>
  /** Whose a container is; undefined when there is none of this id. */
  podOf(containerId: string): string | undefined
  /** Sends a signal to the container's init (all its processes with `all`). A container that is gone is no error. */
  signalContainer(id: string, signal: NodeJS.Signals, all?: boolean): Promise<void>
  /** Removes a container with its mounts, cgroup and directory, killing it if it still runs. Idempotent. */
  removeContainer(id: string): Promise<void>
  /** Calls back with the id when a container has exited, driven by the exit files. Returns how to stop. */
  onExit(listener: (id: string) => void): () => void

  /** Runs a program in the container; its output is bounded. Rejects with `timeout` past the bound, having killed it. */
  execSync(id: string, args: readonly string[], timeoutMs: number): Promise<{ exitCode: number; output: string }>
  /**
   * Connects a stream to a new program in the container; resolves with its exit code (126, 127: it could not be run).
   * Frames that end cleanly close the program's stdin; a stream that fails kills the program and its children.
   */
  exec(id: string, options: ExecOptions, stream: FrameStream): Promise<{ exitCode: number }>
  /** The container's own standard streams. */
  attach(id: string, stream: FrameStream): Promise<void>
  /** Bytes of the termination message file, bounded; empty when there is none. */
  terminationMessage(id: string): Promise<string>
  /** What a pod's container uses; undefined once its cgroup is gone. `details`: with what is absent otherwise. */
  usage(podUid: string, containerId: string, details: boolean): CgroupUsage | undefined
  /** Of that the processor's time alone, which is asked for often. */
  cpuSeconds(podUid: string, containerId: string): number | undefined
  /**
   * Has a container's log file be opened anew, after it was renamed: one that is still there is replaced. A container that has ended is
   * no error; rejects when its monitor lives and is not told.
   */
  reopenLog(containerId: string): Promise<void>
  /** Directory of what a container has written over its image. */
  writableLayerOf(containerId: string): string | undefined
  /** Frees what a container that has ended has written. Idempotent. */
  emptyLayer(containerId: string): Promise<void>
  /** Path below each cgroup hierarchy's mount point: of the pod, or of one of its containers. */
  cgroupPathOf(podUid: string, containerId?: string): string
  /** What is there that no container or sandbox explains, and what a sandbox lacks while containers run in it. */
  findDamage?(): Promise<Damage[]>
}
