/**
 * Drivers of one agent over a simulated host. Every call takes time, may fail, and may be cut off by the agent's or the
 * machine's death before or after it has had its effect.
 */
import type { Drivers } from '../../src/agent/context.ts'
import type { Image } from '../../src/agent/images/images.ts'
import type { NodeFiles } from '../../src/agent/node_files.ts'
import { NOTE } from '../../src/agent/pod/facts.ts'
import { DroverError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type { PolicyTableRow } from '../../src/rpc/tables.ts'
import { fakeDns, noSocket } from '../support/fake_drivers.ts'
import { latencyMs } from './latency.ts'
import { behaviourOf, type SimHost } from './sim_host.ts'
import type { SimProcess } from './sim_process.ts'

/** A program that serves answers its probe this long after it was started. */
const READY_AFTER_MS: Readonly<Record<string, number>> = { app: 150, slow: 6_000, stubborn: 150, crash: 150 }

interface CallTime {
  leastMs: number
  mostMs: number
}

const LOOK: CallTime = { leastMs: 0.5, mostMs: 8 }
const CHANGE: CallTime = { leastMs: 2, mostMs: 60 }
const START: CallTime = { leastMs: 40, mostMs: 400 }
const PULL: CallTime = { leastMs: 100, mostMs: 5_000 }

type Call = <T>(what: string, time: CallTime, work: () => T) => Promise<T>

export function simDrivers(host: SimHost, agent: SimProcess, random: Random): Drivers & { files: NodeFiles } {
  const call: Call = (what, callTime, work) =>
    new Promise((resolve, reject) => {
      const boot = host.boots
      const { time } = host.options
      const delayMs = latencyMs(random, callTime.leastMs, callTime.mostMs) * host.slowness
      const act = (): void => {
        if (host.down || host.boots !== boot) return
        // A child process may outlive the agent that started it, but not its successor's start.
        if (!agent.alive && (host.agent !== agent || random.next() < 0.5)) return
        try {
          if (callTime !== LOOK && random.next() < host.failureRate) {
            throw new DroverError('unavailable', `${what}: the disk does not answer`)
          }
          const value = work()
          time.schedule(0, () => agent.enter(() => resolve(value)))
        } catch (error) {
          time.schedule(0, () => agent.enter(() => reject(error)))
        }
      }
      time.schedule(delayMs, () => host.whenGoing(act))
    })
  return {
    runtime: runtimeOf(host, call),
    images: imagesOf(host, call, random),
    network: networkOf(host, call),
    volumes: volumesOf(host, call),
    files: filesOf(host, call),
    dns: fakeDns({ named: undefined }),
  }
}

function runtimeOf(host: SimHost, call: Call): Drivers['runtime'] {
  /** Begun by this agent and not started; of another's only the disk tells. */
  const begun = new Set<string>()
  const startContainer: Drivers['runtime']['startContainer'] = async (request, signal) => {
    await request.prerequisites
    await request.ready
    return call('startContainer', START, () => {
      if (signal.aborted) throw new DroverError('cancelled', 'cancelled')
      if (begun.has(request.id)) host.containers.delete(request.id)
      const state = host.start(request, request.annotations[NOTE.image] ?? '')
      begun.delete(request.id)
      return state
    })
  }
  return {
    initialize: () => call('initialize', LOOK, () => undefined),
    version: () => call('version', LOOK, () => 'sim://1.0'),
    handlers: async () => [],
    ensureSandbox: ({ podUid, hostname, hostNetwork, resources }) =>
      call('ensureSandbox', CHANGE, () => {
        const known = host.sandboxes.get(podUid)
        if (known !== undefined) return known
        const sandbox = {
          podUid,
          hostname,
          ...(hostNetwork ? {} : { netNamespacePath: `/sim/${podUid}/net` }),
          ipcNamespacePath: `/sim/${podUid}/ipc`,
          utsNamespacePath: `/sim/${podUid}/uts`,
          ...(resources === undefined ? {} : { resources }),
        }
        host.sandboxes.set(podUid, sandbox)
        return sandbox
      }),
    listSandboxes: () => call('listSandboxes', LOOK, () => [...host.sandboxes.values()]),
    removeSandbox: (podUid) =>
      call('removeSandbox', CHANGE, () => {
        if ([...host.containers.values()].some(({ state }) => state.podUid === podUid)) {
          throw new DroverError('internal', `the sandbox of ${podUid} still has containers`)
        }
        host.sandboxes.delete(podUid)
      }),
    startContainer,
    beginContainer(head) {
      const { id } = head
      host.begin(head, head.annotations[NOTE.image] ?? '')
      begun.add(id)
      const forget = (): void => {
        begun.delete(id)
        host.containers.delete(id)
      }
      return {
        start: (request, signal) =>
          startContainer(request, signal).catch((error: unknown) => {
            forget()
            throw error
          }),
        dismiss: () => call('dismiss', LOOK, forget),
      }
    },
    listContainers: (podUid) =>
      call('listContainers', LOOK, () => {
        const states = [...host.containers.values()].map(({ state }) => state)
        return podUid === undefined ? states : states.filter((one) => one.podUid === podUid && !begun.has(one.id))
      }),
    podOf: (id) => host.containers.get(id)?.state.podUid,
    signalContainer: (id, signal) => call('signalContainer', LOOK, () => host.signal(id, signal)),
    removeContainer: (id) =>
      call('removeContainer', CHANGE, () => {
        const container = host.containers.get(id)
        if (container === undefined) return
        host.end(container, 137)
        host.containers.delete(id)
      }),
    onExit: (listener) => host.onExit(listener),
    execSync: (id) =>
      call('execSync', LOOK, () => {
        const container = host.containers.get(id)
        if (container?.state.phase !== 'running') throw new DroverError('notFound', `container ${id} does not run`)
        const readyAfterMs = READY_AFTER_MS[behaviourOf(container.image)] ?? Number.POSITIVE_INFINITY
        const ready = host.options.time.nowMs - container.startedMs >= readyAfterMs
        return { exitCode: ready ? 0 : 1, output: '' }
      }),
    exec: () => unsupported(),
    attach: () => unsupported(),
    terminationMessage: () => call('terminationMessage', LOOK, () => ''),
    cgroupPathOf: (podUid) => `/sim/${podUid}`,
    usage: () => undefined,
    cpuSeconds: () => undefined,
    reopenLog: async () => undefined,
    writableLayerOf: () => undefined,
    emptyLayer: async () => undefined,
  }
}

async function unsupported(): Promise<never> {
  throw new DroverError('unsupported', 'the simulated host does not do this')
}

function imageOf(reference: string): Image {
  return {
    id: `sha256:${reference}`,
    digest: '',
    names: [reference],
    sizeBytes: 1 << 20,
    createdAt: '2026-01-01T00:00:00Z',
    config: {
      env: [],
      entrypoint: ['/serve'],
      cmd: [],
      workingDirectory: '',
      user: '',
      stopSignal: '',
      exposedPorts: [],
      labels: {},
    },
    layerDirectories: ['/sim/layer'],
  }
}

function imagesOf(host: SimHost, call: Call, random: Random): Drivers['images'] {
  return {
    initialize: () => call('initialize', LOOK, () => undefined),
    find: (reference) => call('findImage', LOOK, () => (host.images.has(reference) ? imageOf(reference) : undefined)),
    list: () => call('listImages', LOOK, () => [...host.images].map(imageOf)),
    pull: (reference, { signal }) =>
      call('pull', PULL, () => {
        if (signal.aborted) throw new DroverError('cancelled', 'cancelled')
        if (behaviourOf(reference) === 'missing') throw new DroverError('notFound', `no image ${reference}`)
        if (random.next() < host.pullFailureRate) throw new DroverError('unavailable', 'the registry does not answer')
        host.images.add(reference)
        return imageOf(reference)
      }),
    load: unsupported,
    tag: unsupported,
    push: unsupported,
    save: unsupported,
    importRootfs: unsupported,
    remove: unsupported,
    resolveUser: () => call('resolveUser', LOOK, () => ({ uid: 0, gid: 0, additionalGids: [], home: '/' })),
  }
}

function networkOf(host: SimHost, call: Call): Drivers['network'] {
  let ready = false
  let noted: readonly PolicyTableRow[] = []
  const turns = new Map<string, Promise<unknown>>()
  /** As the driver's contract has it: one call at a time for a pod. */
  const inTurn = <T>(podUid: string, work: () => Promise<T>): Promise<T> => {
    const turn = (turns.get(podUid) ?? Promise.resolve()).then(work, work)
    turns.set(podUid, turn)
    return turn
  }
  return {
    initialize: () => call('initialize', LOOK, () => undefined),
    ensureNode: (config) =>
      call('ensureNode', CHANGE, () => {
        host.setUpNetwork(config)
        ready = true
      }),
    applyPeers: (peers) =>
      call('applyPeers', CHANGE, () => {
        host.peers = structuredClone(peers)
      }),
    applyServices: (services) =>
      call('applyServices', CHANGE, () => {
        host.services = structuredClone(services)
      }),
    notePolicies(rows) {
      noted = rows
    },
    applyPolicies: () =>
      call('applyPolicies', CHANGE, () => {
        host.policies = structuredClone(noted)
      }),
    // Host ports are the kernel's matter: the simulation has no packets that would go through one.
    noteHostPorts: () => undefined,
    applyHostPorts: async () => undefined,
    ensurePod: (podUid, path, onAddress) =>
      inTurn(podUid, async () => {
        if (ready) onAddress?.(host.addressOf(podUid))
        await path
        return call('ensurePod', CHANGE, () => {
          if (!ready) throw new DroverError('internal', 'ensureNode must resolve before any other call')
          return { podUid, address: host.addressOf(podUid) }
        })
      }),
    ensureLoopback: () => call('ensureLoopback', CHANGE, () => undefined),
    openSocket: (_path, port) => noSocket(port),
    traffic: async () => new Map(),
    listPods: () =>
      call('listPods', LOOK, () => [...host.interfaces].map(([podUid, address]) => ({ podUid, address }))),
    removePod: (podUid) => inTurn(podUid, () => call('removePod', CHANGE, () => host.freeAddress(podUid))),
    teardown: async () => undefined,
  }
}

function volumesOf(host: SimHost, call: Call): Drivers['volumes'] {
  return {
    initialize: () => call('initialize', LOOK, () => undefined),
    ensureVolumes: (pod, sources) =>
      call('ensureVolumes', CHANGE, () => {
        const data: Record<string, string> = {}
        for (const { configMap } of pod.spec.volumes ?? []) {
          if (configMap === undefined) continue
          const source = sources.configMap(configMap.name ?? '')
          if (source === undefined && configMap.optional === true) continue
          if (source === undefined) throw new DroverError('notFound', `configmap "${configMap.name}" not found`)
          for (const [key, value] of Object.entries(source.data ?? {})) data[`${configMap.name}/${key}`] = value
        }
        host.volumes.set(pod.metadata.uid ?? '', data)
        return new Map((pod.spec.volumes ?? []).map(({ name }) => [name, `/sim/${pod.metadata.uid}/${name}`]))
      }),
    ensureAccess: async (pod, make) => {
      await make(undefined)
      return call('ensureAccess', CHANGE, () => `/sim/${pod.metadata.uid}/access`)
    },
    emptyDirs: () => new Map(),
    resolveSubPath: async (path, subPath) => `${path}/${subPath}`,
    makeMountPoint: async () => undefined,
    ensureEtcFiles: (podUid, files, onKnown) => {
      const paths = new Map(Object.keys(files).map((path) => [path, `/sim/${podUid}${path}`]))
      onKnown?.(paths)
      return call('ensureEtcFiles', CHANGE, () => {
        if (!host.volumes.has(podUid)) host.volumes.set(podUid, {})
        return paths
      })
    },
    removeVolume: () => call('removeVolume', CHANGE, () => undefined),
    listPods: () => call('listVolumes', LOOK, () => [...host.volumes.keys()]),
    removePod: (podUid) =>
      call('removeVolumes', CHANGE, () => {
        host.volumes.delete(podUid)
      }),
  }
}

function filesOf(host: SimHost, call: Call): NodeFiles {
  return {
    read: (path) => call('read', LOOK, () => (path.endsWith('/boot_id') ? `${host.name}-boot-${host.boots}` : '')),
    end: () => call('readFile', LOOK, () => Buffer.alloc(0)),
    makeDirectory: (path) =>
      call('makeDirectory', LOOK, () => {
        host.files.add(path)
      }),
    remove: (path) =>
      call('remove', LOOK, () => {
        for (const file of host.files) if (file === path || file.startsWith(`${path}/`)) host.files.delete(file)
      }),
    list: (directory) =>
      call('list', LOOK, () => {
        const below = [...host.files].filter((file) => file.startsWith(`${directory}/`))
        return [...new Set(below.map((file) => file.slice(directory.length + 1).split('/')[0] ?? ''))]
      }),
    diskBytes: async () => 2 ** 36,
  }
}
