/**
 * Drivers of an agent over a host that exists only in memory. The host outlives drivers, as a real one outlives an
 * agent: make drivers anew over the same host to play an agent that was killed.
 */
import { PassThrough, Readable } from 'node:stream'
import type { DnsDriver } from '../../src/agent/dns/dns.ts'
import type { ImageDriver } from '../../src/agent/images/images.ts'
import type { HostPortRow, NetworkDriver, NodeNetworkConfig, PodSocket } from '../../src/agent/network/network.ts'
import type {
  ContainerHead,
  ContainerRequest,
  ContainerState,
  RuntimeDriver,
  Sandbox,
} from '../../src/agent/runtime/runtime.ts'
import { containerState, startErrorRecord } from '../../src/agent/runtime/state.ts'
import type { VolumeDriver } from '../../src/agent/volumes/volumes.ts'
import { DroverError } from '../../src/base/errors.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import type { PeerRow, PolicyTableRow, ServiceRow } from '../../src/rpc/tables.ts'

export interface FakeContainer {
  state: ContainerState
  request: ContainerRequest
}

export class FakeHost {
  readonly containers = new Map<string, FakeContainer>()
  readonly sandboxes = new Map<string, Sandbox>()
  readonly interfaces = new Map<string, string>()
  readonly volumes = new Map<string, Record<string, Record<string, string>>>()
  /** Files by which pods speak to the API. */
  readonly access = new Map<string, Record<string, string>>()
  readonly images = new Set<string>(['app:1', 'app:2', 'init:1'])
  /** Images that a pull can find. */
  readonly registry = new Set<string>()
  readonly log: string[] = []
  /** Containers made, whether or not their program was started in the end. */
  readonly created: string[] = []
  readonly started: string[] = []
  network: NodeNetworkConfig | undefined
  /** What the driver says of peers that cannot be reached. */
  peerProblems: string[] = []
  peers: readonly PeerRow[] = []
  services: readonly ServiceRow[] = []
  /** Services that the name server answers from; undefined before it was told of any. */
  named: readonly ServiceRow[] | undefined
  policies: readonly PolicyTableRow[] = []
  hostPorts: readonly HostPortRow[] = []
  /** Signals that containers of this name heed; SIGKILL is always heeded. */
  ignoresTerm = new Set<string>()
  /** Containers of this name end at once with this code. */
  exitsAtOnce = new Map<string, number>()
  /** Programs of containers of this name cannot be started, and what the runtime says of that. */
  cannotStart = new Map<string, string>()
  /** Called before each change of the host; may throw to play a crash. */
  before: (call: string) => void = () => undefined
  /** What a sandbox waits for after it is known what it will be; may throw. */
  sandboxGate: () => Promise<void> = async () => undefined
  /** What an interface waits for after its address is chosen; may throw. */
  interfaceGate: () => Promise<void> = async () => undefined
  now: () => number = () => Date.now()
  execHandler: (args: readonly string[]) => { exitCode: number; output: string } = () => ({ exitCode: 0, output: '' })
  /** No address is left. */
  full = false
  /** Agents that were killed here: none of them dismisses anything any more. */
  kills = 0
  #nextAddress = 2
  readonly #exitListeners = new Set<(id: string) => void>()

  act(call: string): void {
    this.before(call)
    this.log.push(call)
  }

  exit(id: string, code: number, signal?: number): void {
    const container = this.containers.get(id)
    if (container?.state.phase !== 'running') return
    const { pid: _pid, ...state } = container.state
    container.state = {
      ...state,
      phase: 'exited',
      exit: { code, oomKilled: false, finishedAtMs: this.now(), ...(signal === undefined ? {} : { signal }) },
    }
    for (const listener of this.#exitListeners) listener(id)
  }

  onExit(listener: (id: string) => void): () => void {
    this.#exitListeners.add(listener)
    return () => this.#exitListeners.delete(listener)
  }

  nextAddress(): string {
    return `10.244.0.${this.#nextAddress++}`
  }

  running(name?: string): FakeContainer[] {
    return [...this.containers.values()].filter(
      ({ state }) => state.phase === 'running' && (name === undefined || state.name === name),
    )
  }
}

export function fakeDrivers(host: FakeHost) {
  return {
    runtime: fakeRuntime(host),
    images: fakeImages(host),
    network: fakeNetwork(host),
    volumes: fakeVolumes(host),
    dns: fakeDns(host),
  }
}

const halfMade = (head: ContainerHead): ContainerState => containerState(head, 'created', undefined, undefined)

function fakeRuntime(host: FakeHost): RuntimeDriver {
  /** Containers that were begun and are not started: whoever comes after us finds them half made. */
  const begun = new Set<string>()
  const { kills } = host
  const runtime: RuntimeDriver = {
    initialize: async () => undefined,
    version: async () => 'fake://1.0',
    handlers: async () => [{ name: 'runc', version: 'fake://1.0' }],
    async ensureSandbox({ podUid, hostname, hostNetwork, resources }, onKnown) {
      const sandbox: Sandbox = {
        podUid,
        hostname,
        ...(hostNetwork ? {} : { netNamespacePath: `/fake/${podUid}/net` }),
        ipcNamespacePath: `/fake/${podUid}/ipc`,
        utsNamespacePath: `/fake/${podUid}/uts`,
        ...(resources === undefined ? {} : { resources }),
      }
      onKnown?.(sandbox)
      await host.sandboxGate()
      host.act(`ensureSandbox ${podUid}`)
      host.sandboxes.set(podUid, sandbox)
      return sandbox
    },
    listSandboxes: async () => [...host.sandboxes.values()],
    async removeSandbox(podUid) {
      host.act(`removeSandbox ${podUid}`)
      const left = [...host.containers.values()].filter(({ state }) => state.podUid === podUid)
      if (left.length > 0) throw new DroverError('internal', `sandbox of ${podUid} still has containers`)
      host.sandboxes.delete(podUid)
    },
    async startContainer(request) {
      host.created.push(request.id)
      await request.prerequisites
      await request.ready
      host.act(`startContainer ${request.id}`)
      if (begun.delete(request.id)) host.containers.delete(request.id)
      if (host.containers.has(request.id)) throw new DroverError('alreadyExists', `container ${request.id} exists`)
      if (!host.sandboxes.has(request.podUid)) throw new DroverError('notFound', 'no sandbox')
      const { id, name } = request
      const said = host.cannotStart.get(name)
      if (said !== undefined) {
        const ended = containerState(request, 'exited', undefined, startErrorRecord(said, host.now()))
        host.containers.set(id, { state: ended, request })
        return ended
      }
      const state: ContainerState = { ...halfMade(request), phase: 'running', pid: 1, startedAtMs: host.now() }
      host.containers.set(id, { state, request })
      host.started.push(id)
      const code = host.exitsAtOnce.get(name)
      if (code !== undefined) host.exit(id, code)
      return state
    },
    beginContainer(head) {
      host.act(`beginContainer ${head.id}`)
      if (host.containers.has(head.id)) throw new DroverError('alreadyExists', `container ${head.id} exists`)
      host.containers.set(head.id, { state: halfMade(head), request: head as ContainerRequest })
      begun.add(head.id)
      const forget = (): void => {
        begun.delete(head.id)
        host.containers.delete(head.id)
      }
      return {
        start: (request, signal) =>
          runtime.startContainer(request, signal).catch((error: unknown) => {
            if (begun.has(head.id)) forget()
            throw error
          }),
        async dismiss() {
          if (host.kills !== kills) return
          // Whatever becomes of it, it is hidden no more.
          begun.delete(head.id)
          host.act(`dismiss ${head.id}`)
          forget()
        },
      }
    },
    listContainers: async (podUid) =>
      [...host.containers.values()].flatMap(({ state }) =>
        podUid === undefined || (state.podUid === podUid && !begun.has(state.id)) ? [state] : [],
      ),
    podOf: (id) => host.containers.get(id)?.state.podUid,
    async signalContainer(id, signal) {
      host.act(`signal ${signal} ${id}`)
      const name = host.containers.get(id)?.state.name ?? ''
      if (signal === 'SIGKILL') host.exit(id, 137, 9)
      else if (!host.ignoresTerm.has(name)) host.exit(id, 143, 15)
    },
    async removeContainer(id) {
      host.act(`removeContainer ${id}`)
      if (host.containers.get(id)?.state.phase === 'running') throw new DroverError('internal', `${id} still runs`)
      host.containers.delete(id)
    },
    onExit: (listener) => host.onExit(listener),
    execSync: async (_id, args) => host.execHandler(args),
    async exec(_id, { args }, stream) {
      const { exitCode, output } = host.execHandler(args)
      for await (const { channel, data } of stream.frames) {
        if (channel === CHANNEL.stdin) await stream.send({ channel: CHANNEL.stdout, data })
      }
      await stream.send({ channel: CHANNEL.stdout, data: Buffer.from(output) })
      return { exitCode }
    },
    attach: async () => undefined,
    terminationMessage: async () => '',
    cgroupPathOf: (podUid) => `/fake/${podUid}`,
    usage: () => undefined,
    cpuSeconds: () => undefined,
    reopenLog: async () => undefined,
    writableLayerOf: (id) => `/nonexistent/${id}`,
    emptyLayer: async () => undefined,
  }
  return runtime
}

function fakeImages(host: FakeHost): ImageDriver {
  const image = (reference: string) => ({
    id: `sha256:${reference}`,
    digest: '',
    names: [reference],
    sizeBytes: 1,
    createdAt: '2026-01-01T00:00:00Z',
    config: {
      env: ['PATH=/bin', 'FROM_IMAGE=yes'],
      entrypoint: ['/entry'],
      cmd: ['serve'],
      workingDirectory: '',
      user: '',
      stopSignal: '',
      exposedPorts: [],
      labels: {},
    },
    layerDirectories: ['/fake/layer'],
  })
  const unsupported = async (): Promise<never> => {
    throw new DroverError('unsupported', 'the fake host reads no archives')
  }
  return {
    initialize: async () => undefined,
    find: async (reference) => (host.images.has(reference) ? image(reference) : undefined),
    list: async () => [...host.images].map(image),
    async pull(reference) {
      host.act(`pull ${reference}`)
      if (!host.registry.has(reference)) throw new DroverError('notFound', `no image ${reference} in the registry`)
      host.images.add(reference)
      return image(reference)
    },
    load: unsupported,
    tag: unsupported,
    push: unsupported,
    save: unsupported,
    importRootfs: unsupported,
    remove: async (reference) => {
      host.images.delete(reference)
    },
    async resolveUser(_image, user) {
      const [uid = 0, gid = 0] = user.split(':').map(Number)
      return { uid: uid || 0, gid: gid || 0, additionalGids: [], home: '/' }
    },
  }
}

function fakeNetwork(host: FakeHost): NetworkDriver {
  return {
    initialize: async () => undefined,
    async ensureNode(config) {
      host.act('ensureNode')
      host.network = config
    },
    async applyPeers(peers) {
      host.act('applyPeers')
      host.peers = peers
    },
    peerProblems: () => host.peerProblems,
    async applyServices(services) {
      host.act('applyServices')
      host.services = services
    },
    notePolicies(rows) {
      host.policies = rows
    },
    async applyPolicies() {
      host.act('applyPolicies')
    },
    noteHostPorts(rows) {
      host.hostPorts = rows
    },
    async applyHostPorts() {
      host.act('applyHostPorts')
    },
    async ensurePod(podUid, path, onAddress) {
      if (host.full && !host.interfaces.has(podUid)) throw new DroverError('unavailable', 'no pod address is free')
      const address = host.interfaces.get(podUid) ?? host.nextAddress()
      onAddress?.(address)
      await path
      await host.interfaceGate()
      host.act(`ensurePod ${podUid}`)
      host.interfaces.set(podUid, address)
      return { podUid, address }
    },
    async ensureLoopback(path) {
      host.act(`ensureLoopback ${path}`)
    },
    openSocket: (_path, port) => noSocket(port),
    traffic: async () => new Map(),
    isFull: () => host.full,
    listPods: async () => [...host.interfaces].map(([podUid, address]) => ({ podUid, address })),
    async removePod(podUid) {
      host.act(`removePod ${podUid}`)
      host.interfaces.delete(podUid)
    },
    teardown: async () => undefined,
  }
}

/** Programs of these hosts are not there: nobody listens. */
export function noSocket(port: number): PodSocket {
  const ended = Promise.reject(new DroverError('unavailable', `port ${port}: connection refused`))
  ended.catch(() => undefined)
  return { input: new PassThrough(), output: Readable.from([]), ended, close: () => undefined }
}

function fakeVolumes(host: FakeHost): VolumeDriver {
  return {
    initialize: async () => undefined,
    async ensureVolumes(pod, sources) {
      const uid = pod.metadata.uid ?? ''
      host.act(`ensureVolumes ${uid}`)
      const made: Record<string, Record<string, string>> = {}
      for (const { name, configMap } of pod.spec.volumes ?? []) {
        if (configMap === undefined) {
          made[name] = {}
          continue
        }
        const source = sources.configMap(configMap.name ?? '')
        if (source === undefined) throw new DroverError('notFound', `configmap "${configMap.name}" not found`)
        made[name] = { ...source.data }
      }
      host.volumes.set(uid, made)
      return new Map(Object.keys(made).map((name) => [name, `/fake/${uid}/volumes/${name}`]))
    },
    async ensureAccess(pod, make) {
      const uid = pod.metadata.uid ?? ''
      const known = host.access.get(uid)
      host.access.set(uid, await make(known?.token))
      return `/fake/${uid}/access`
    },
    emptyDirs: () => new Map(),
    resolveSubPath: async (path, subPath) => `${path}/${subPath}`,
    makeMountPoint: async () => undefined,
    async ensureEtcFiles(podUid, files) {
      return new Map(Object.keys(files).map((path) => [path, `/fake/${podUid}${path}`]))
    },
    async removeVolume(name) {
      host.act(`removeVolume ${name}`)
    },
    listPods: async () => [...host.volumes.keys()],
    async removePod(podUid) {
      host.act(`removeVolumes ${podUid}`)
      host.volumes.delete(podUid)
      host.access.delete(podUid)
    },
  }
}

export function fakeDns(host: Pick<FakeHost, 'named'>): DnsDriver {
  return {
    address: '169.254.20.53',
    plainAddress: '169.254.20.54',
    initialize: async () => undefined,
    applyServices(services) {
      host.named = services
    },
    mendDrift: async () => false,
    close: async () => undefined,
    teardown: async () => undefined,
  }
}
