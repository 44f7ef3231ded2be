/** What `ip -j -d link show` and `ip -j -4 addr show` say: the one leaves out addresses, the other aliases. */
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { PodInterface } from './network.ts'

export interface Link {
  index: number
  name: string
  kind: string
  mac: string
  mtu: number
  up: boolean
  master: string
  alias: string
  hairpin: boolean
  /** As a bridge's port: reaches no other isolated port. */
  isolated: boolean
  addresses: { address: string; prefixLength: number }[]
  /** Attributes of the kind, e.g. a VXLAN device's id. */
  data: Record<string, unknown>
}

const object = (value: unknown): Record<string, unknown> => (isObject(value) ? value : {})
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

function objects(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

export function parseLinks(links: unknown, addresses: unknown = []): Link[] {
  if (!Array.isArray(links)) throw new DroverError('internal', '`ip -j link` did not print a list')
  const held = new Map(objects(addresses).map((item) => [item.ifname, objects(item.addr_info)]))
  return objects(links).map((item) => {
    const info = object(item.linkinfo)
    return {
      index: Number(item.ifindex ?? 0),
      name: text(item.ifname),
      kind: text(info.info_kind),
      mac: text(item.address),
      mtu: Number(item.mtu ?? 0),
      up: Array.isArray(item.flags) && item.flags.includes('UP'),
      master: text(item.master),
      alias: text(item.ifalias),
      hairpin: object(info.info_slave_data).hairpin === true,
      isolated: object(info.info_slave_data).isolated === true,
      addresses: (held.get(item.ifname) ?? []).map(({ local, prefixlen }) => ({
        address: text(local),
        prefixLength: Number(prefixlen),
      })),
      data: object(info.info_data),
    }
  })
}

/** A pod's link says in its alias whose it is, so that the kernel alone can tell after a loss of all files. */
export function linkAlias(pod: PodInterface): string {
  return `pod ${pod.podUid} ${pod.address}`
}

export function parseAlias(alias: string): PodInterface | undefined {
  const [word, podUid, address, ...rest] = alias.split(' ')
  if (word !== 'pod' || podUid === undefined || address === undefined || rest.length > 0) return undefined
  return { podUid, address }
}
