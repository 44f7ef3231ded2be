/**
 * A pod's /etc/resolv.conf. Pure. Source: Kubernetes "DNS for Services and Pods"; resolv.conf(5). Pods with search lists
 * or an `ndots` of their own ask the server that completes no names: it could not know what they want tried first.
 */
import type { Pod } from '../../api/pod.ts'

export interface DnsAddresses {
  /** The node's name server, with completion of search paths, and without. */
  address: string
  plainAddress: string
}

export interface ResolvConfContext {
  clusterDomain: string
  /** The node's own file. */
  hostResolvConf: string
  dns: DnsAddresses
}

interface Settings {
  nameservers: string[]
  searches: string[]
  options: string[]
}

/** More is cut off by the C libraries, or makes them refuse the file. */
const MAX_NAMESERVERS = 3
const MAX_SEARCHES = 32
const CLUSTER_OPTIONS = ['ndots:5']

export function resolvConf(pod: Pod, context: ResolvConfContext): string {
  const { dnsConfig = {} } = pod.spec
  if (isHosts(pod) && pod.spec.dnsConfig === undefined) return context.hostResolvConf
  const base = baseSettings(pod, context)
  const options = [...base.options]
  for (const { name = '', value } of dnsConfig.options ?? []) {
    const word = value === undefined || value === '' ? name : `${name}:${value}`
    const known = options.findIndex((option) => option.split(':')[0] === name)
    if (known >= 0) options[known] = word
    else options.push(word)
  }
  return format({
    nameservers: unique([...base.nameservers, ...(dnsConfig.nameservers ?? [])]).slice(0, MAX_NAMESERVERS),
    searches: unique([...base.searches, ...(dnsConfig.searches ?? [])]).slice(0, MAX_SEARCHES),
    options,
  })
}

/** Whether the pod looks names up as its node does. */
function isHosts({ spec: { dnsPolicy = 'ClusterFirst', hostNetwork } }: Pod): boolean {
  return dnsPolicy === 'Default' || (dnsPolicy === 'ClusterFirst' && hostNetwork === true)
}

function baseSettings(pod: Pod, { clusterDomain, hostResolvConf, dns }: ResolvConfContext): Settings {
  const { dnsPolicy, dnsConfig } = pod.spec
  if (dnsPolicy === 'None') return { nameservers: [], searches: [], options: [] }
  const host = parse(hostResolvConf)
  if (isHosts(pod)) return host
  const { namespace } = pod.metadata
  const own = (dnsConfig?.searches ?? []).length > 0 || (dnsConfig?.options ?? []).some(({ name }) => name === 'ndots')
  return {
    nameservers: [own ? dns.plainAddress : dns.address],
    searches: [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain, ...host.searches],
    options: CLUSTER_OPTIONS,
  }
}

function parse(text: string): Settings {
  const settings: Settings = { nameservers: [], searches: [], options: [] }
  for (const line of text.split('\n')) {
    const [word, ...values] = line.trim().split(/\s+/)
    if (word === 'nameserver') settings.nameservers.push(...values.slice(0, 1))
    else if (word === 'search' || word === 'domain') settings.searches = values
    else if (word === 'options') settings.options.push(...values)
  }
  return settings
}

function format({ nameservers, searches, options }: Settings): string {
  const lines = [
    ...(searches.length === 0 ? [] : [`search ${searches.join(' ')}`]),
    ...nameservers.map((address) => `nameserver ${address}`),
    ...(options.length === 0 ? [] : [`options ${options.join(' ')}`]),
  ]
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

const unique = (list: readonly string[]): string[] => [...new Set(list)]
