/** The range of a local cluster's underlay: a /24 that nothing on this machine uses. */
import { type Cidr, cidrsOverlap, formatCidr, parseCidr, subnet } from '../base/cidr.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'

/** 10.89 to 10.99 are seldom used by other programs; the defaults for services and pods are left out below. */
const POOL = Array.from({ length: 11 }, (_, i) => parseCidr(`10.${89 + i}.0.0/16`))
const PREFIX_LENGTH = 24
const PER_BLOCK = 256
/** Drover's own defaults (and Kubernetes'), which routes do not show as long as no cluster runs. */
export const DEFAULT_AVOID: readonly string[] = ['10.96.0.0/12', '10.244.0.0/16']

/**
 * The first free range, looking from a place that follows from `id`: clusters made at the same moment do not choose the
 * same one, and one cluster finds its own again after a reboot.
 */
export function chooseSubnet(used: readonly Cidr[], id: string, avoid: readonly string[]): string {
  const taken = [...used, ...avoid.map(parseCidr)]
  const count = POOL.length * PER_BLOCK
  const start = [...id].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % count, 7)
  for (let step = 0; step < count; step++) {
    const index = (start + step) % count
    const block = POOL[Math.floor(index / PER_BLOCK)]
    const candidate = block && subnet(block, PREFIX_LENGTH, index % PER_BLOCK)
    if (candidate !== undefined && !taken.some((range) => cidrsOverlap(range, candidate))) return formatCidr(candidate)
  }
  throw new DroverError(
    'unavailable',
    'no /24 between 10.89.0.0 and 10.99.255.255 is free on this machine: routes or addresses cover them all; ' +
      'name a range that you know to be free',
  )
}

/** Ranges that routes and addresses use beside those of our own link, from `ip -j route show table all` and `ip -j addr show`. */
export function usedRanges(routes: unknown, addresses: unknown, ownLink: string): Cidr[] {
  const texts: string[] = []
  for (const route of Array.isArray(routes) ? routes.filter(isObject) : []) {
    if (route.dev === ownLink) continue
    if (typeof route.dst === 'string' && route.dst !== 'default') texts.push(route.dst)
  }
  for (const link of Array.isArray(addresses) ? addresses.filter(isObject) : []) {
    if (link.ifname === ownLink) continue
    for (const item of Array.isArray(link.addr_info) ? link.addr_info.filter(isObject) : []) {
      texts.push(`${String(item.local)}/${String(item.prefixlen)}`)
    }
  }
  return texts.flatMap((text) => {
    try {
      const range = parseCidr(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`)
      return range.prefixLength === 0 ? [] : [range]
    } catch {
      return [] // Multipath and other oddities name no range of their own.
    }
  })
}
