/**
 * Which names may leave the cluster, and what a name that ends with a pod's search domain may stand for. Pure.
 *
 * A pod's libc asks for `example.com` as `example.com.NAMESPACE.svc.DOMAIN` first, for its resolv.conf says ndots:5.
 * The name itself says in which namespace it was asked, so no table of clients is needed, and pods of the host network
 * are served alike. Whatever this does not complete gets "no such name", on which libc goes on with its own list: being
 * careful costs a question, never a wrong answer.
 */
import { isWithin, TYPE } from './wire.ts'
import type { Zone } from './zone.ts'

/** Questions that people's names meet in search lists. */
const COMPLETED_TYPES: ReadonlySet<number> = new Set([TYPE.A, TYPE.AAAA, TYPE.SRV, TYPE.TXT, TYPE.MX])
/** What may be asked of a name of one label, a top level domain. */
const TOP_LEVEL_TYPES: ReadonlySet<number> = new Set([TYPE.NS, TYPE.SOA, TYPE.DS, TYPE.DNSKEY])

/**
 * Whether the name may be asked outside. A name of one label is a service's or a host's short name, and nobody's outside
 * (RFC 7085 and the dnsmasq option domain-needed); `.svc` is the middle of the cluster's names; no top level domain is a
 * number, but some programs ask for addresses as if they were names.
 */
export function mayLeave(name: string, type: number): boolean {
  const labels = name.split('.').filter((label) => !label.startsWith('_'))
  if (labels.length < 2) return TOP_LEVEL_TYPES.has(type)
  const last = labels.at(-1) ?? ''
  return last !== 'svc' && !/^[0-9]+$/.test(last)
}

export interface Completion {
  /** Names of the cluster's own, in order. */
  inside: string[]
  /** Names to be asked outside, in order, if none of the others exists. */
  outside: string[]
}

/** What the name may stand for beyond itself; undefined when it is not one that a search list made. */
export function planCompletion(
  zone: Zone,
  question: { name: string; type: number },
  hostSearch: readonly string[],
): Completion | undefined {
  const { name, type } = question
  const services = `svc.${zone.domain}`
  if (!COMPLETED_TYPES.has(type) || !isWithin(name, services) || name === services) return undefined
  const labels = name.slice(0, -services.length - 1).split('.')
  const namespace = labels.pop() ?? ''
  const rest = labels.join('.')
  const last = labels.at(-1)
  // Below a service that exists, or could: `db-0.db` is an endpoint that is not there, no host of a domain named db.
  if (rest === '' || last === undefined || zone.hasService(namespace, last)) return undefined
  if (isWithin(rest, zone.domain)) return { inside: [rest], outside: [] }
  const inside = [`${rest}.${services}`, `${rest}.${zone.domain}`]
  // `web.shop`, where shop is a namespace with services: a service that is not there (yet).
  const isService = labels.length < 2 || zone.find(`${last}.${services}`) !== undefined
  if (isService || !mayLeave(rest, type)) return { inside, outside: [] }
  const searched = hostSearch.filter((domain) => !isWithin(domain, zone.domain)).map((domain) => `${rest}.${domain}`)
  return { inside, outside: [...searched, rest] }
}
