/** Names and variables by which containers find services, asked from inside pods on every host of a real cluster. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Pod } from '../../src/api/pod.ts'
import type { Service } from '../../src/api/service.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster, type Outcome, runProgram } from '../support/local_cluster.ts'

const IMAGE = 'drover.local/hello:1'
const DOMAIN = 'cluster.local'
const WAIT = { timeoutMs: 60_000, intervalMs: 200 }
const cluster = new LocalCluster()
let clients: Pod[] = []

function sleeper(name: string, spec: object = {}, labels: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name, ...labels } },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: IMAGE, command: ['sh', '-c', "trap 'exit 0' TERM; sleep 100000 & wait"] }],
      ...spec,
    },
  }
}

function service(name: string, spec: object): object {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec }
}

/** busybox' nslookup in a pod; an address is turned into its name below in-addr.arpa only where no type is given. */
function lookup(pod: Pod, name: string, type: string): Promise<Outcome> {
  return inside(pod, 'nslookup', ...(type === 'ptr' ? [] : [`-type=${type}`]), name)
}

function inside(pod: Pod, ...command: string[]): Promise<Outcome> {
  return cluster.drover(['exec', pod.metadata.name ?? '', '--', ...command])
}

async function everywhere(name: string, expected: string | RegExp, type = 'a'): Promise<void> {
  for (const pod of clients) {
    await eventually(async () => {
      const { stdout } = await lookup(pod, name, type)
      return typeof expected === 'string' ? stdout.includes(expected) : expected.test(stdout)
    }, WAIT)
  }
}

const podsIP = async (name: string): Promise<string> =>
  (await cluster.json<Pod>('get', `pod/${name}`)).status?.podIP ?? ''

beforeAll(async () => {
  await cluster.start('--nodes', '2', '--sample')
  const hosts = cluster.record().hosts.map(({ name }) => name)
  const pinned = (host: string) => ({ nodeSelector: { 'kubernetes.io/hostname': host } })
  await cluster.apply([
    service('db', { clusterIP: 'None', selector: { role: 'db' }, ports: [{ name: 'sql', port: 5432 }] }),
    service('outer', { type: 'ExternalName', externalName: `hello.default.svc.${DOMAIN}` }),
    ...hosts.flatMap((host, index) => [
      sleeper(`client-${index}`, pinned(host)),
      sleeper(`db-${index}`, { ...pinned(host), hostname: `db-${index}`, subdomain: 'db' }, { role: 'db' }),
    ]),
  ])
  const names = hosts.flatMap((_, index) => [`client-${index}`, `db-${index}`])
  await eventually(async () => {
    const { items } = await cluster.json<{ items: Pod[] }>('get', 'pods')
    clients = items.filter(({ metadata }) => metadata.name?.startsWith('client-'))
    const ready = items.filter(({ status }) =>
      status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True'),
    )
    return names.every((name) => ready.some(({ metadata }) => metadata.name === name))
  }, WAIT)
})

afterAll(() => cluster.remove())

describe('names', () => {
  it('have one client on each host', () => {
    expect(new Set(clients.map(({ spec }) => spec.nodeName)).size).toBe(2)
  })

  it('of a service lead to its address, in full and by what the search list makes of it', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    await everywhere(`hello.default.svc.${DOMAIN}`, spec.clusterIP ?? 'none')
    for (const pod of clients) {
      expect((await inside(pod, 'wget', '-qO-', 'http://hello/')).stdout).toContain('Hello from')
      expect((await inside(pod, 'wget', '-qO-', 'http://hello.default/')).stdout).toContain('Hello from')
    }
  })

  it('of a headless service lead to its pods, each by its own name too', async () => {
    for (const index of [0, 1]) {
      await everywhere(`db.default.svc.${DOMAIN}`, await podsIP(`db-${index}`))
      await everywhere(`db-${index}.db.default.svc.${DOMAIN}`, await podsIP(`db-${index}`))
    }
  })

  it('tell ports, and addresses tell names', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    await everywhere(`_sql._tcp.db.default.svc.${DOMAIN}`, `5432 db-1.db.default.svc.${DOMAIN}`, 'srv')
    await everywhere(spec.clusterIP ?? '', `hello.default.svc.${DOMAIN}`, 'ptr')
    await everywhere(await podsIP('db-1'), `db-1.db.default.svc.${DOMAIN}`, 'ptr')
  })

  it('of an ExternalName service lead to what it stands for', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    await everywhere(`outer.default.svc.${DOMAIN}`, spec.clusterIP ?? 'none')
  })

  it('go when the service goes', async () => {
    await cluster.apply(service('brief', { selector: { app: 'none' }, ports: [{ port: 80 }] }))
    await everywhere(`brief.default.svc.${DOMAIN}`, /Address: 10\.\d+/)
    await cluster.ask('delete', 'svc/brief')
    await everywhere(`brief.default.svc.${DOMAIN}`, /NXDOMAIN/)
  })
})

describe('a pod', () => {
  it('has its full name in /etc/hosts, and the server in resolv.conf', async () => {
    const db = await cluster.json<Pod>('get', 'pod/db-0')
    const hosts = await inside(db, 'cat', '/etc/hosts')
    expect(hosts.stdout).toContain(`\tdb-0.db.default.svc.${DOMAIN}\tdb-0\n`)
    const resolv = await inside(db, 'cat', '/etc/resolv.conf')
    expect(resolv.stdout).toContain('nameserver 169.254.20.53\n')
    expect(resolv.stdout).toContain(`search default.svc.${DOMAIN} svc.${DOMAIN} ${DOMAIN}`)
  })

  it('has its own settings, and reaches the server from the network of its host', async () => {
    const dnsConfig = { searches: ['corp.example'], options: [{ name: 'ndots', value: '2' }] }
    await cluster.apply([
      sleeper('own', { dnsConfig }),
      sleeper('outside', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }),
    ])
    for (const name of ['own', 'outside']) {
      const pod = await cluster.json<Pod>('get', `pod/${name}`)
      await eventually(async () => (await inside(pod, 'wget', '-qO-', 'http://hello/')).stdout.includes('Hello'), WAIT)
    }
    const own = await inside(await cluster.json<Pod>('get', 'pod/own'), 'cat', '/etc/resolv.conf')
    expect(own.stdout).toContain('nameserver 169.254.20.54\n')
    expect(own.stdout).toMatch(/^search .* corp\.example$/m)
    expect(own.stdout).toContain('options ndots:2\n')
  })

  it('has variables of the services that were there before it', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    await cluster.apply(sleeper('late'))
    const late = await cluster.json<Pod>('get', 'pod/late')
    let stdout = ''
    await eventually(async () => {
      stdout = (await inside(late, 'env')).stdout
      return stdout.includes('HOSTNAME=late')
    }, WAIT)
    expect(stdout).toContain(`HELLO_SERVICE_HOST=${spec.clusterIP}\n`)
    expect(stdout).toContain(`HELLO_PORT_80_TCP=tcp://${spec.clusterIP}:80\n`)
    expect(stdout).not.toContain('DB_SERVICE_HOST')
  })
})

describe('without a server', () => {
  it('names lead where they led', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    const db = await podsIP('db-1')
    const server = cluster.pid('server')
    process.kill(server, 'SIGSTOP')
    try {
      // No exec without a server: asked from the network of each host, where the pods ask too.
      for (const { name } of cluster.record().hosts) {
        const ask = (question: string) =>
          runProgram('nsenter', [
            `--net=/run/netns/drover-${cluster.name}-${name}`,
            'busybox',
            'nslookup',
            '-type=a',
            question,
            '169.254.20.53',
          ])
        expect((await ask(`hello.default.svc.${DOMAIN}`)).stdout).toContain(spec.clusterIP)
        expect((await ask(`db-1.db.default.svc.${DOMAIN}`)).stdout).toContain(db)
      }
    } finally {
      process.kill(server, 'SIGCONT')
    }
    await eventually(async () => (await cluster.drover(['get', 'pods'])).code === 0, WAIT)
  })
})
