/** A local cluster's record on disk: what it is made of. Everything else is observed. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isDnsLabel } from '../api/names.ts'
import { DroverError } from '../base/errors.ts'
import { readJsonIfExists, writeFileAtomic } from '../base/files.ts'
import { LOCAL_STATE_ROOT, localRunDir, localStateDir } from '../base/paths.ts'

export interface HostRecord {
  name: string
  /** Labels of the host's node, e.g. its zone. */
  labels: Record<string, string>
}

export interface ClusterRecord {
  name: string
  /** Five hex digits; names links in the root namespace, which are bound to 15 characters. */
  id: string
  /** The hosts' underlay, e.g. `10.89.3.0/24`; chosen when the network is first made. */
  subnet?: string
  hosts: HostRecord[]
  /** REST API, on loopback and on the underlay's gateway address. */
  apiPort: number
  /** Node sessions, on the underlay's gateway address. */
  nodePort: number
  /** Servers beyond the first, which runs etcd for all. */
  moreServers?: { apiPort: number; nodePort: number }[]
  /** Registry proxy for the hosts, on the underlay's gateway address. */
  proxyPort: number
  proxySecret: string
  clusterCidr: string
  serviceCidr: string
}

export interface ServerRecord {
  /** `server`, `server-2`, …: names its process. */
  name: string
  apiPort: number
  nodePort: number
}

export function serversOf({ apiPort, nodePort, moreServers = [] }: ClusterRecord): ServerRecord[] {
  return [{ apiPort, nodePort }, ...moreServers].map((ports, index) => ({
    name: index === 0 ? 'server' : `server-${index + 1}`,
    ...ports,
  }))
}

/** Long names would not fit beside the rest of a socket's path. */
const MAX_NAME_LENGTH = 20

export function checkClusterName(name: string): void {
  if (isDnsLabel(name) && name.length <= MAX_NAME_LENGTH) return
  throw new DroverError(
    'invalid',
    `"${name}" is no name for a cluster: lower case letters, digits and "-", at most ${MAX_NAME_LENGTH}`,
  )
}

export interface ClusterPaths {
  state: string
  run: string
  record: string
  /** Of the first server; holds the CA and etcd. */
  server: string
  otherServer(name: string): string
  kubeconfig: string
  logs: string
  pids: string
  host(name: string): string
  hostRun(name: string): string
}

export function clusterPaths(name: string): ClusterPaths {
  const state = localStateDir(name)
  const run = localRunDir(name)
  return {
    state,
    run,
    record: join(state, 'cluster.json'),
    server: join(state, 'server'),
    otherServer: (server) => join(state, 'servers', server),
    kubeconfig: join(state, 'kubeconfig'),
    logs: join(state, 'logs'),
    pids: join(run, 'pids'),
    host: (host) => join(state, 'hosts', host),
    hostRun: (host) => join(run, host),
  }
}

export function loadCluster(name: string): ClusterRecord | undefined {
  return readJsonIfExists<ClusterRecord>(clusterPaths(name).record)
}

export function saveCluster(record: ClusterRecord): void {
  writeFileAtomic(clusterPaths(record.name).record, `${JSON.stringify(record, null, 2)}\n`, 0o600)
}

export function listClusters(): ClusterRecord[] {
  let names: string[]
  try {
    names = readdirSync(LOCAL_STATE_ROOT)
  } catch {
    return []
  }
  return names.map(loadCluster).filter((record) => record !== undefined)
}
