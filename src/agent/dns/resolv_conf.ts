/** The host's own resolver settings. Pure. Source: resolv.conf(5). */
import { isIP } from 'node:net'
import { parseName } from './wire.ts'

export interface UpstreamAddress {
  address: string
  port: number
}

export interface HostResolver {
  upstreams: UpstreamAddress[]
  searchDomains: string[]
}

const DNS_PORT = 53
/** MAXNS of the C libraries. */
const MAX_UPSTREAMS = 3
const MAX_SEARCH_DOMAINS = 6

/** `own`: addresses of this server, which must never ask itself. */
export function parseResolvConf(text: string, own: readonly string[]): HostResolver {
  const upstreams: UpstreamAddress[] = []
  let searchDomains: string[] = []
  for (const line of text.split('\n')) {
    const [word, ...values] = line.trim().split(/\s+/)
    const [address = ''] = values
    const isOurs = own.includes(address) || address === '0.0.0.0' || address === '::'
    if (word === 'nameserver' && isIP(address.replace(/%.*$/, '')) !== 0 && !isOurs) {
      upstreams.push({ address, port: DNS_PORT })
    }
    if (word === 'search' || word === 'domain') {
      searchDomains = values.flatMap((value) => parseName(value) || []).slice(0, MAX_SEARCH_DOMAINS)
    }
  }
  return { upstreams: upstreams.slice(0, MAX_UPSTREAMS), searchDomains }
}
