/** Files that a pod finds in /etc. Pure. Source: Kubernetes "DNS for Services and Pods", "HostAliases". */
import type { Pod } from '../../api/pod.ts'

export interface EtcContext {
  podIP: string
  clusterDomain: string
  /** The node's own files. */
  hostResolvConf: string
  hostHosts: string
}

const MAX_HOSTNAME = 63

export function podHostname(pod: Pod): string {
  return (pod.spec.hostname ?? pod.metadata.name ?? '').slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '')
}

/** Text of each file by its path in the container. */
export function etcFiles(pod: Pod, context: EtcContext): Record<string, string> {
  return {
    '/etc/hosts': hostsFile(pod, context),
    '/etc/hostname': `${podHostname(pod)}\n`,
    '/etc/resolv.conf': resolvConf(pod, context),
  }
}

function hostsFile(pod: Pod, { podIP, hostHosts }: EtcContext): string {
  const aliases = (pod.spec.hostAliases ?? []).map(({ ip, hostnames = [] }) => `${ip}\t${hostnames.join('\t')}`)
  const own =
    pod.spec.hostNetwork === true
      ? hostHosts.split('\n')
      : [
          '127.0.0.1\tlocalhost',
          '::1\tlocalhost ip6-localhost ip6-loopback',
          'fe00::0\tip6-localnet',
          'ff02::1\tip6-allnodes',
          'ff02::2\tip6-allrouters',
          `${podIP}\t${podHostname(pod)}`,
        ]
  return `${[...own, ...aliases].join('\n').trimEnd()}\n`
}

function resolvConf(pod: Pod, { clusterDomain, hostResolvConf }: EtcContext): string {
  const policy = pod.spec.dnsPolicy ?? 'ClusterFirst'
  const ownOnly = policy === 'Default' || (policy === 'ClusterFirst' && pod.spec.hostNetwork === true)
  if (ownOnly) return hostResolvConf
  const lines = hostResolvConf.split('\n').map((line) => line.trim())
  const nameservers = lines.filter((line) => /^nameserver\s/.test(line))
  const hostSearch =
    lines
      .findLast((line) => /^search\s/.test(line))
      ?.split(/\s+/)
      .slice(1) ?? []
  const { namespace } = pod.metadata
  const search = [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain, ...hostSearch]
  return `${[`search ${search.join(' ')}`, ...nameservers, 'options ndots:5'].join('\n')}\n`
}
