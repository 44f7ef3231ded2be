/** The host name that a pod's programs see. */
import { expect, test } from 'vitest'
import { kernelHostname } from '../../src/agent/pod/etc_files.ts'
import type { Pod } from '../../src/api/pod.ts'

const hostnameOf = (spec: Partial<Pod['spec']>): string => {
  const metadata = { name: 'p', namespace: 'ns' }
  const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [], nodeName: 'n1', ...spec } }
  return kernelHostname(pod, 'cluster.local')
}

test.each<[string, Partial<Pod['spec']>]>([
  ['p', {}],
  ['h', { hostname: 'h' }],
  ['p.s.ns.svc.cluster.local', { subdomain: 's', setHostnameAsFQDN: true }],
  ['n1', { hostNetwork: true }],
  ['h', { hostNetwork: true, hostname: 'h' }],
])('%s by %j', (expected, spec) => expect(hostnameOf(spec)).toBe(expected))
