/** What the roles are told on the command line, and how it is read. */
import { DroverError } from '../base/errors.ts'
import type { LogLevel } from '../base/log.ts'

export interface RoleContext {
  version: string
  signal: AbortSignal
}

export interface HostPort {
  host: string
  port: number
}

export interface ServerFlags {
  clusterName: string
  dataDir: string
  runDir: string
  listen: string[]
  nodeListen: string
  etcd?: string
  etcdCa?: string
  etcdCert?: string
  etcdKey?: string
  etcdQuota: string
  clusterCidr: string
  serviceCidr: string
  nodeCidrLength: string
  overlay: string
  nodePortRange: string
  notReadyAfter: string
  kubeconfigOut?: string
  advertise?: string[]
  /** Life of the server's own certificates, and the most of a node's; may be a fraction. */
  certificateDays: string
  /** False: no join line is printed. */
  joinLine: boolean
  /** The key that tokens were signed with is lost: go on with another. */
  forgetTokenKey?: boolean
  tokenFile?: string
  logLevel: LogLevel
}

export interface AgentFlags {
  /** Default: the name that it joined under, or the host's. */
  nodeName?: string
  server?: string[]
  /** A join token, or the path of a file that holds one. */
  join?: string
  dataDir: string
  runDir: string
  ca?: string
  cert?: string
  key?: string
  nodeAddress?: string
  cgroupParent: string
  runtime: string
  runtimeHandler?: string[]
  label?: string[]
  taint?: string[]
  registryProxy?: string
  registryProxySecretFile?: string
  insecureRegistry?: string[]
  /** `docker.io=https://mirror.local`, in the order in which they are asked. */
  registryMirror?: string[]
  imageHighPercent: string
  allowSysctl?: string[]
  maxContainerPids: string
  leaveMemory: string
  leaveDisk: string
  leavePids: string
  pressureHold: string
  logMaxSize: string
  logMaxFiles: string
  logMaxTotal: string
  imageLowPercent: string
  listen?: string
  manageSysctls?: boolean
  reset?: boolean
  logLevel: LogLevel
}

/** Reads `host:port` and `[ipv6]:port`. */
export function parseHostPort(text: string, option: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) throw new DroverError('invalid', `${option} takes HOST:PORT, not "${text}"`)
  return { host: match[1] ?? match[2] ?? '', port }
}

export function parsePortRange(text: string): { from: number; to: number } {
  const match = /^(\d+)-(\d+)$/.exec(text)
  const [from, to] = [Number(match?.[1]), Number(match?.[2])]
  if (match === null || from < 1 || to > 65535 || from > to) {
    throw new DroverError('invalid', `--node-port-range takes FROM-TO, e.g. 30000-32767, not "${text}"`)
  }
  return { from, to }
}
