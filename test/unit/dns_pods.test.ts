/** What pods are told: resolv.conf, variables of services; and what the table is told of pods. */
import { describe, expect, test } from 'vitest'
import { etcFiles } from '../../src/agent/pod/etc_files.ts'
import { resolvConf } from '../../src/agent/pod/resolv_conf.ts'
import { serviceLinks } from '../../src/agent/pod/service_links.ts'
import type { EndpointSlice } from '../../src/api/endpointslice.ts'
import type { Pod, PodSpec } from '../../src/api/pod.ts'
import { validatePodDns } from '../../src/api/pod_dns.ts'
import type { Service } from '../../src/api/service.ts'
import { planSlices } from '../../src/controllers/endpointslice/plan.ts'
import { serviceRow } from '../../src/dispatch/service_rows.ts'
import { port, row } from '../support/dns.ts'

const HOST = 'search corp\nnameserver 192.0.2.53\noptions timeout:1\n'
const CONTEXT = {
  clusterDomain: 'cluster.local',
  hostResolvConf: HOST,
  dns: { address: '169.254.20.53', plainAddress: '169.254.20.54' },
}
const SEARCH = 'ns.svc.cluster.local svc.cluster.local cluster.local corp'

function podOf(spec: Partial<PodSpec> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'ns', uid: 'u' },
    spec: { containers: [{ name: 'app', image: 'app:1' }], ...spec },
  }
}

describe('resolv.conf', () => {
  test.each<[string, Partial<PodSpec>, string]>([
    ['ClusterFirst', {}, `search ${SEARCH}\nnameserver 169.254.20.53\noptions ndots:5\n`],
    ['on the host network', { hostNetwork: true }, HOST],
    ['Default', { dnsPolicy: 'Default' }, HOST],
    [
      'on the host network, with names of the cluster',
      { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' },
      `search ${SEARCH}\nnameserver 169.254.20.53\noptions ndots:5\n`,
    ],
    [
      'None',
      { dnsPolicy: 'None', dnsConfig: { nameservers: ['1.1.1.1'], searches: ['a.b'], options: [{ name: 'edns0' }] } },
      'search a.b\nnameserver 1.1.1.1\noptions edns0\n',
    ],
    [
      'with more of its own, which goes last',
      { dnsConfig: { nameservers: ['1.1.1.1', '169.254.20.53'], options: [{ name: 'timeout', value: '2' }] } },
      `search ${SEARCH}\nnameserver 169.254.20.53\nnameserver 1.1.1.1\noptions ndots:5 timeout:2\n`,
    ],
    [
      'with a search list of its own: nothing is completed for it',
      { dnsConfig: { searches: ['a.b', 'corp'] } },
      `search ${SEARCH} a.b\nnameserver 169.254.20.54\noptions ndots:5\n`,
    ],
    [
      'with ndots of its own',
      { dnsConfig: { options: [{ name: 'ndots', value: '1' }] } },
      `search ${SEARCH}\nnameserver 169.254.20.54\noptions ndots:1\n`,
    ],
    [
      'Default and more',
      { dnsPolicy: 'Default', dnsConfig: { searches: ['a.b'] } },
      'search corp a.b\nnameserver 192.0.2.53\noptions timeout:1\n',
    ],
  ])('%s', (_, spec, expected) => expect(resolvConf(podOf(spec), CONTEXT)).toBe(expected))

  test.each<[{ dnsPolicy?: string; dnsConfig?: NonNullable<PodSpec['dnsConfig']> }, string[]]>([
    [{ dnsPolicy: 'None', dnsConfig: { nameservers: ['1.1.1.1', 'fd00::1'], searches: ['.', 'a.b.', '_x.c'] } }, []],
    [{ dnsPolicy: 'None' }, ['spec.dnsConfig.nameservers']],
    [
      { dnsConfig: { nameservers: ['a', '1.1.1.1', '1.1.1.2', '1.1.1.3'] } },
      ['spec.dnsConfig.nameservers', 'spec.dnsConfig.nameservers[0]'],
    ],
    [
      { dnsConfig: { searches: ['a b', 'x\nnameserver 6.6.6.6'] } },
      ['spec.dnsConfig.searches[0]', 'spec.dnsConfig.searches[1]'],
    ],
    [
      { dnsConfig: { options: [{ value: '1' }, { name: 'a\nb' }] } },
      ['spec.dnsConfig.options[0].name', 'spec.dnsConfig.options[1]'],
    ],
  ])('%j', (spec, paths) => expect(validatePodDns(spec, 'spec').map(({ path }) => path)).toEqual(paths))
})

test('a pod with a subdomain has its full name in /etc/hosts', () => {
  const context = { ...CONTEXT, podIP: '10.244.0.2', hostHosts: '' }
  expect(etcFiles(podOf({ hostname: 'h', subdomain: 's' }), context)['/etc/hosts']).toContain(
    '10.244.0.2\th.s.ns.svc.cluster.local\th\n',
  )
  expect(etcFiles(podOf(), context)['/etc/hosts']).toContain('10.244.0.2\tp\n')
})

describe('variables of services', () => {
  const rows = [
    row('my-db', {
      namespace: 'ns',
      clusterIP: '10.96.0.5',
      ports: [port('sql', 5432), { ...port('dns', 53), protocol: 'UDP' }],
    }),
    row('headless', { namespace: 'ns', ports: [port('', 1)] }),
    row('other', { namespace: 'far', clusterIP: '10.96.0.6', ports: [port('', 1)] }),
    row('kubernetes', { clusterIP: '10.96.0.1', ports: [port('https', 443)] }),
  ]

  test('are those of the namespace, and of the API', () => {
    const env = Object.fromEntries(serviceLinks(rows, { namespace: 'ns', enabled: true }))
    expect(env).toMatchObject({
      MY_DB_SERVICE_HOST: '10.96.0.5',
      MY_DB_SERVICE_PORT: '5432',
      MY_DB_SERVICE_PORT_SQL: '5432',
      MY_DB_SERVICE_PORT_DNS: '53',
      MY_DB_PORT: 'tcp://10.96.0.5:5432',
      MY_DB_PORT_5432_TCP: 'tcp://10.96.0.5:5432',
      MY_DB_PORT_5432_TCP_PROTO: 'tcp',
      MY_DB_PORT_5432_TCP_PORT: '5432',
      MY_DB_PORT_5432_TCP_ADDR: '10.96.0.5',
      MY_DB_PORT_53_UDP: 'udp://10.96.0.5:53',
      KUBERNETES_SERVICE_HOST: '10.96.0.1',
    })
    expect(Object.keys(env).filter((name) => /OTHER|HEADLESS/.test(name))).toEqual([])
  })

  test('are left out where the pod says so, all but those of the API', () => {
    const names = [...serviceLinks(rows, { namespace: 'ns', enabled: false }).keys()]
    expect(names.every((name) => name.startsWith('KUBERNETES_'))).toBe(true)
    expect(names).toContain('KUBERNETES_SERVICE_PORT_HTTPS')
  })
})

describe('rows', () => {
  const service = (spec: Service['spec']): Service => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'db', namespace: 'ns' },
    spec,
  })
  const slice: EndpointSlice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 's', namespace: 'ns' },
    addressType: 'IPv4',
    ports: [],
    endpoints: [
      { addresses: ['10.244.0.3'], conditions: { ready: true } },
      { addresses: ['10.244.0.2'], conditions: { ready: true }, hostname: 'db-0' },
      { addresses: ['10.244.0.4'], conditions: { ready: false, serving: true, terminating: true }, hostname: 'db-1' },
    ],
  }

  test('of headless services name every ready endpoint, without ports too; or all that are published', () => {
    const ready = [{ address: '10.244.0.2', hostname: 'db-0' }, { address: '10.244.0.3' }]
    expect(serviceRow(service({ clusterIP: 'None' }), [slice])?.hosts).toEqual(ready)
    const all = service({ clusterIP: 'None', publishNotReadyAddresses: true })
    expect(serviceRow(all, [slice])?.hosts).toEqual([...ready, { address: '10.244.0.4', hostname: 'db-1' }])
  })

  test('of other services name endpoints that have names', () => {
    const hosts = [{ address: '10.244.0.2', hostname: 'db-0' }]
    expect(serviceRow(service({ clusterIP: '10.96.0.1' }), [slice])?.hosts).toEqual(hosts)
  })

  test("an endpoint has its pod's name where the pod names the service its subdomain", () => {
    const pod = (uid: string, subdomain: string) => ({
      ...podOf({ hostname: 'h', subdomain }),
      metadata: { name: uid, namespace: 'ns', uid, resourceVersion: '1' },
      status: { podIP: '10.244.0.9' },
    })
    const plan = planSlices({
      service: {
        ...service({ clusterIP: 'None', selector: { a: 'b' } }),
        metadata: { name: 'db', namespace: 'ns', uid: 's', resourceVersion: '1' },
      } as never,
      pods: [pod('a', 'db'), pod('b', 'else')] as never,
      slices: [],
      zoneOf: () => undefined,
    })
    expect(plan.create.flatMap(({ endpoints }) => endpoints.map(({ hostname }) => hostname))).toEqual(['h', undefined])
  })
})
