/** What of the node's devices and ways is in the kernel, from what `ip` and `bridge` print. */
import { isObject } from '../../base/json.ts'
import { type Link, parseLinks } from './links.ts'
import { VXLAN } from './names.ts'
import { type ObservedPeers, ROUTE_PROTOCOL } from './plan_peers.ts'
import type { Programs } from './programs.ts'

export interface Route {
  destination: string
  gateway: string
  source: string
  device: string
  protocol: string
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

function parseRoutes(routes: unknown): Route[] {
  return list(routes).map((route) => ({
    destination: String(route.dst),
    gateway: String(route.gateway ?? ''),
    source: String(route.prefsrc ?? ''),
    device: String(route.dev),
    protocol: String(route.protocol),
  }))
}

export async function observeRoutes({ json }: Programs): Promise<Route[]> {
  return parseRoutes(await json('ip', ['-j', '-4', 'route', 'show']))
}

/** Devices with their addresses, and routes. */
export async function observeNode({ ipJson }: Programs): Promise<{ links: Link[]; routes: Route[] }> {
  const [links, addresses, routes] = await ipJson(['link show', 'addr show', 'route show'])
  return { links: parseLinks(links, addresses), routes: parseRoutes(routes) }
}

export async function observePeers(
  { json }: Programs,
  routes: readonly Route[],
  tunnel: boolean,
): Promise<ObservedPeers> {
  const [neighbours, forwards] = await Promise.all([
    tunnel ? json('ip', ['-j', 'neigh', 'show', 'dev', VXLAN]) : [],
    tunnel ? json('bridge', ['-j', 'fdb', 'show', 'dev', VXLAN]) : [],
  ])
  return {
    routes: routes.filter(({ device, protocol }) => device === VXLAN || protocol === String(ROUTE_PROTOCOL)),
    neighbours: list(neighbours).map((item) => ({
      address: String(item.dst),
      mac: String(item.lladdr ?? ''),
      permanent: Array.isArray(item.state) && item.state.includes('PERMANENT'),
    })),
    forwards: list(forwards)
      .filter((item) => typeof item.dst === 'string')
      .map((item) => ({ mac: String(item.mac), destination: String(item.dst) })),
  }
}
