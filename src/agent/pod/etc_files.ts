/** Files that a pod finds in /etc. Pure. Source: Kubernetes "DNS for Services and Pods", "HostAliases". */
import type { Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import { type ResolvConfContext, resolvConf } from './resolv_conf.ts'

export interface EtcContext extends ResolvConfContext {
  podIP: string
  /** The node's own file. */
  hostHosts: string
}

const MAX_HOSTNAME = 63
/** Linux's own bound. */
const MAX_KERNEL_HOSTNAME = 64

export function podHostname(pod: Pod): string {
  return (pod.spec.hostname ?? pod.metadata.name ?? '').slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '')
}

/**
 * What the kernel and programs are told: the short name, or the full one where the pod asks for that. In the host's
 * network a pod is the node to all who see it, so it has the node's name too, unless it gives one itself.
 */
export function kernelHostname(pod: Pod, clusterDomain: string): string {
  const { hostNetwork, hostname, nodeName } = pod.spec
  if (hostNetwork === true && !hostname && nodeName) return nodeName.slice(0, MAX_KERNEL_HOSTNAME)
  const short = podHostname(pod)
  const [full] = pod.spec.setHostnameAsFQDN === true ? fullName(pod, clusterDomain, short) : []
  if (full !== undefined && full.length > MAX_KERNEL_HOSTNAME) {
    const message = `the host name ${full} has ${full.length} characters; setHostnameAsFQDN allows ${MAX_KERNEL_HOSTNAME}`
    throw new DroverError('invalid', message)
  }
  return full ?? short
}

/** Text of each file by its path in the container. */
export function etcFiles(pod: Pod, context: EtcContext): Record<string, string> {
  return {
    '/etc/hosts': hostsFile(pod, context),
    '/etc/hostname': `${kernelHostname(pod, context.clusterDomain)}\n`,
    '/etc/resolv.conf': resolvConf(pod, context),
  }
}

/** The full name of a pod that has a subdomain, where the service of that name is headless. */
function fullName({ metadata, spec }: Pod, clusterDomain: string, hostname: string): string[] {
  const { subdomain } = spec
  return subdomain ? [`${hostname}.${subdomain}.${metadata.namespace}.svc.${clusterDomain}`] : []
}

function hostsFile(pod: Pod, { podIP, hostHosts, clusterDomain }: EtcContext): string {
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
          [podIP, ...fullName(pod, clusterDomain, podHostname(pod)), podHostname(pod)].join('\t'),
        ]
  return `${[...own, ...aliases].join('\n').trimEnd()}\n`
}
