/**
 * UDP flows that lead where no service leads any more. The kernel remembers a UDP "connection" for as long as the client keeps
 * sending, and would send it to a dead pod, or through a node port that is gone, for ever. Judged by what the kernel holds, not
 * by what changed: what changed while the agent was down is found as well.
 *
 * TCP is left alone: an endpoint that leaves gets no new connections and finishes those it has (a rollout counts on it); a pod
 * that ends closes its own.
 */
import { isObject } from '../../base/json.ts'
import type { ServiceRow } from '../../rpc/tables.ts'
import type { HostPortTarget } from './plan_host_ports.ts'

export interface Flow {
  /** Where the client sends to. */
  address: string
  port: number
  /** Who answers. */
  endpoint: string
  endpointPort: number
}

/** What the node translates: endpoints `ADDRESS:PORT` by frontend, and what counts as one. */
interface Frontends {
  addresses: Map<string, Set<string>>
  nodePorts: Map<number, Set<string>>
}

function frontends(services: readonly ServiceRow[]): Frontends {
  const found: Frontends = { addresses: new Map(), nodePorts: new Map() }
  for (const { clusterIP, externalIPs, ports } of services) {
    for (const { protocol, port, nodePort, endpoints } of ports) {
      if (protocol !== 'UDP') continue
      const targets = new Set(endpoints.map((endpoint) => `${endpoint.address}:${endpoint.port}`))
      for (const address of [clusterIP, ...externalIPs]) {
        if (address !== '' && address !== 'None') found.addresses.set(`${address}:${port}`, targets)
      }
      if (nodePort > 0) found.nodePorts.set(nodePort, targets)
    }
  }
  return found
}

/** Whether any UDP frontend has lost an endpoint, or is gone: only then can flows be stale. */
export function losesDatagrams(before: readonly ServiceRow[], after: readonly ServiceRow[]): boolean {
  const [old, next] = [frontends(before), frontends(after)]
  const lost = <K>(from: Map<K, Set<string>>, to: Map<K, Set<string>>): boolean =>
    [...from].some(([key, targets]) => [...targets].some((target) => to.get(key)?.has(target) !== true))
  return lost(old.addresses, next.addresses) || lost(old.nodePorts, next.nodePorts)
}

/** Reads `conntrack -L -p udp --dst-nat`: the first four fields are the client's view, the last four the answer's. */
export function parseFlows(listing: string): Flow[] {
  return listing.split('\n').flatMap((line) => {
    const fields = [...line.matchAll(/\b(src|dst|sport|dport)=(\S+)/g)].map((match) => match[2] ?? '')
    const [, address = '', , port = '', endpoint = '', , endpointPort = ''] = fields
    if (fields.length !== 8) return []
    return [{ address, port: Number(port), endpoint, endpointPort: Number(endpointPort) }]
  })
}

export interface FlowContext {
  services: readonly ServiceRow[]
  /** Of UDP. */
  hostPorts: readonly HostPortTarget[]
  /** Whether an address is that of a pod of this node. */
  isOwnPod(address: string): boolean
  isServiceAddress(address: string): boolean
  /** Addresses of this host: where node ports are. */
  localAddresses: ReadonlySet<string>
  nodePortRange: { from: number; to: number }
}

/** Flows of ours that lead to no endpoint of their frontend, each pair of addresses once. Others' translations are not judged. */
export function staleFlows(flows: readonly Flow[], context: FlowContext): Flow[] {
  const { addresses, nodePorts } = frontends(context.services)
  const { from, to } = context.nodePortRange
  const targets = new Set(context.hostPorts.map((target) => `${target.port} ${target.endpoint}:${target.endpointPort}`))
  const stale = new Map<string, Flow>()
  for (const flow of flows) {
    const { address, port, endpoint, endpointPort } = flow
    const isLocal = context.localAddresses.has(address)
    if (isLocal && targets.has(`${port} ${endpoint}:${endpointPort}`)) continue
    const isNodePort = isLocal && port >= from && port <= to
    const frontend = addresses.get(`${address}:${port}`) ?? (isNodePort ? nodePorts.get(port) : undefined)
    const isHostPort = isLocal && context.isOwnPod(endpoint)
    const ours = frontend !== undefined || isNodePort || isHostPort || context.isServiceAddress(address)
    if (!ours || frontend?.has(`${endpoint}:${endpointPort}`) === true) continue
    stale.set(`${address} ${port} ${endpoint} ${endpointPort}`, flow)
  }
  return [...stale.values()]
}

/** UDP host ports of `these` that are not among `those`, or lead elsewhere there. */
export function datagramPortsBeyond(
  these: readonly HostPortTarget[],
  those: readonly HostPortTarget[],
): HostPortTarget[] {
  const known = new Set(those.map((target) => JSON.stringify(target)))
  return these.filter((target) => target.protocol === 'udp' && !known.has(JSON.stringify(target)))
}

/**
 * Clients that went on sending to a port before a pod had it: the kernel remembers that their datagrams were for the host
 * itself. `flows` are those to `port`.
 */
export function untranslatedFlows(flows: readonly Flow[], localAddresses: ReadonlySet<string>): Flow[] {
  return flows.filter(({ address, endpoint }) => address === endpoint && localAddresses.has(address))
}

export function deleteArguments({ address, port, endpoint, endpointPort }: Flow): string[] {
  const client = ['--orig-dst', address, '--orig-port-dst', String(port)]
  return ['-D', '-p', 'udp', ...client, '--reply-src', endpoint, '--reply-port-src', String(endpointPort)]
}

/** Addresses from `ip -j -4 addr show`. */
export function addressesOf(listing: unknown): Set<string> {
  const items = Array.isArray(listing) ? listing.filter(isObject) : []
  const infos = items.flatMap(({ addr_info }) => (Array.isArray(addr_info) ? addr_info.filter(isObject) : []))
  return new Set(infos.map(({ local }) => String(local)))
}
