/** What `ip -j -d addr show` says, as much of it as the driver looks at. */
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { PodInterface } from './network.ts'

export interface Link {
  name: string
  kind: string
  mac: string
  mtu: number
  up: boolean
  master: string
  alias: string
  hairpin: boolean
  addresses: { address: string; prefixLength: number }[]
  /** Attributes of the kind, e.g. a VXLAN device's id. */
  data: Record<string, unknown>
}

const object = (value: unknown): Record<string, unknown> => (isObject(value) ? value : {})
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

export function parseLinks(listing: unknown): Link[] {
  if (!Array.isArray(listing)) throw new DroverError('internal', '`ip -j addr` did not print a list')
  return listing.filter(isObject).map((item) => {
    const info = object(item.linkinfo)
    const addresses = Array.isArray(item.addr_info) ? item.addr_info.filter(isObject) : []
    return {
      name: text(item.ifname),
      kind: text(info.info_kind),
      mac: text(item.address),
      mtu: Number(item.mtu ?? 0),
      up: Array.isArray(item.flags) && item.flags.includes('UP'),
      master: text(item.master),
      alias: text(item.ifalias),
      hairpin: object(info.info_slave_data).hairpin === true,
      addresses: addresses
        .filter(({ family }) => family === 'inet')
        .map(({ local, prefixlen }) => ({ address: text(local), prefixLength: Number(prefixlen) })),
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
