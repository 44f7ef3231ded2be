/** What a host of a local cluster holds of services and peers, read from its kernel and its name server. */
import { output, runProgram } from './local_cluster.ts'

export interface HostTables {
  /** By service: `ADDRESS:PORT` of its endpoints, sorted. */
  endpoints: Map<string, string[]>
  /** UDP flows that are led elsewhere: to which service's address, and to whom. */
  flows: { service: string; endpoint: string }[]
}

const enter = (space: string, ...command: string[]): Promise<string> =>
  output('nsenter', [`--net=/run/netns/${space}`, ...command])

/** Pure: endpoints by service from `nft list table ip drover`, of chains that lead to cluster addresses. */
export function endpointsOf(listing: string): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const [, name = '', body = ''] of listing.matchAll(/^\tchain svc-[0-9a-f]+\/(\S+) \{\n([\s\S]*?)^\t\}/gm)) {
    const service = name.split('/').slice(0, 2).join('/')
    const targets = [...body.matchAll(/(\d+\.\d+\.\d+\.\d+)(?: \. |:)(\d+)/g)].map(([, to, port]) => `${to}:${port}`)
    found.set(service, targets.sort())
  }
  return found
}

export async function hostTables(space: string): Promise<HostTables> {
  const [table, tracked] = await Promise.all([
    enter(space, 'nft', 'list', 'table', 'ip', 'drover'),
    enter(space, 'conntrack', '-L', '-p', 'udp', '--dst-nat'),
  ])
  const flows = [...tracked.matchAll(/^udp .*?dst=(\S+) .*?src=(\S+) .*$/gm)].map(([line, service = '']) => {
    const sources = [...line.matchAll(/src=(\S+)/g)].map(([, source = '']) => source)
    return { service, endpoint: sources[1] ?? '' }
  })
  return { endpoints: endpointsOf(table), flows }
}

/** Addresses that the host's name server gives, sorted; none for a name that is not there. */
export async function hostLookup(space: string, name: string): Promise<string[]> {
  const ask = [`--net=/run/netns/${space}`, 'busybox', 'nslookup', '-type=a', name, '169.254.20.53']
  const { stdout } = await runProgram('nsenter', ask)
  return [...stdout.matchAll(/^Address: (\S+)$/gm)].map(([, address = '']) => address).sort()
}

export interface HostPeers {
  /** Pod ranges that have a route through the overlay. */
  routes: string[]
  /** Underlay addresses that the tunnel sends to. */
  tunnels: string[]
}

export async function hostPeers(space: string): Promise<HostPeers> {
  const [routes, forwards] = await Promise.all([
    enter(space, 'ip', '-j', 'route', 'show', 'dev', 'drover.vx'),
    enter(space, 'bridge', '-j', 'fdb', 'show', 'dev', 'drover.vx'),
  ])
  const list = (text: string): { dst?: string }[] => JSON.parse(text) as { dst?: string }[]
  const to = (text: string): string[] =>
    list(text)
      .flatMap(({ dst }) => (dst === undefined ? [] : [dst]))
      .sort()
  return { routes: to(routes), tunnels: to(forwards) }
}
