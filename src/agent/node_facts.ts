/** The node as its agent sees it: capacity, addresses, node info. */
import { arch, availableParallelism, hostname, release, totalmem } from 'node:os'
import { handlerLabel, LABEL } from '../api/names.ts'
import type { Node, Taint } from '../api/node.ts'
import type { NodeFiles } from './node_files.ts'
import type { RuntimeHandler } from './runtime/runtime.ts'

export interface NodeFactsOptions {
  nodeName: string
  nodeAddress: string
  labels: Readonly<Record<string, string>>
  taints: readonly Taint[]
  /** Quantities that replace what was measured: cpu, memory, pods, ephemeral-storage. */
  capacity: Readonly<Record<string, string>>
  dataDir: string
  files: NodeFiles
  version: string
  runtimeVersion: string
  /** All that were looked for. */
  handlers: readonly RuntimeHandler[]
}

const MAX_PODS = 110
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64', ia32: '386' }

/** Kubelets count memory and disks so. */
export const wholeKib = (bytes: number): number => Math.floor(bytes / 1024)

async function readLine(files: NodeFiles, path: string): Promise<string> {
  return (await files.read(path)).trim()
}

/** The host's boot id, or an empty text where the kernel gives none. */
export function readBootId(files: NodeFiles): Promise<string> {
  return readLine(files, '/proc/sys/kernel/random/boot_id')
}

export async function observeNode(options: NodeFactsOptions): Promise<Node> {
  const { nodeName, nodeAddress, labels, files, version, runtimeVersion, handlers } = options
  const [bootID, machineID, osRelease, storageBytes] = await Promise.all([
    readBootId(files),
    readLine(files, '/etc/machine-id'),
    readLine(files, '/etc/os-release'),
    files.diskBytes(options.dataDir),
  ])
  const architecture = ARCHITECTURES[arch()] ?? arch()
  const capacity: Record<string, string> = {
    cpu: String(availableParallelism()),
    memory: `${wholeKib(totalmem())}Ki`,
    pods: String(MAX_PODS),
    'ephemeral-storage': `${wholeKib(storageBytes)}Ki`,
    ...options.capacity,
  }
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: nodeName,
      labels: {
        [LABEL.hostname]: nodeName,
        [LABEL.os]: 'linux',
        [LABEL.arch]: architecture,
        // One that has gone is said to be gone: a label that is only left out stays on the node.
        ...Object.fromEntries(handlers.map(({ name, problem }) => [handlerLabel(name), String(problem === undefined)])),
        ...labels,
      },
    },
    ...(options.taints.length === 0 ? {} : { spec: { taints: [...options.taints] } }),
    status: {
      capacity,
      allocatable: capacity,
      addresses: [
        { type: 'InternalIP', address: nodeAddress },
        { type: 'Hostname', address: nodeName },
      ],
      nodeInfo: {
        machineID,
        systemUUID: machineID,
        bootID,
        kernelVersion: release(),
        osImage: /^PRETTY_NAME="?([^"\n]*)/m.exec(osRelease)?.[1] ?? hostname(),
        containerRuntimeVersion: runtimeVersion,
        kubeletVersion: version,
        kubeProxyVersion: version,
        operatingSystem: 'linux',
        architecture,
      },
      runtimeHandlers: handlers.flatMap(({ name, problem }) => (problem === undefined ? [{ name }] : [])),
      // Empty too: it takes the place of what was said before.
      handlerProblems: Object.fromEntries(
        handlers.flatMap(({ name, problem }) => (problem === undefined ? [] : [[name, problem]])),
      ),
    },
  }
}
