/** Names and variables by which containers find services, asked from inside pods on every one of five hosts of a real cluster. */
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
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

/** busybox' nslookup in a pod. */
function lookup(pod: Pod, name: string, type: string): Promise<Outcome> {
  return inside(pod, 'nslookup', `-type=${type}`, name)
}

function inside(pod: Pod, ...command: string[]): Promise<Outcome> {
  return cluster.drover(['exec', pod.metadata.name ?? '', '--', ...command])
}

interface Asked {
  name: string
  expected: string | RegExp
  type?: string
}

const NEXT = '--- next'

/** All questions come to be answered so, from pods on all hosts; asked in one go, since each `exec` costs a process here. */
async function everywhere(...questions: Asked[]): Promise<void> {
  // An address is turned into its name below in-addr.arpa only where no type is given.
  const script = questions
    .map(({ name, type = 'a' }) => `nslookup ${type === 'ptr' ? '' : `-type=${type}`} '${name}'; echo '${NEXT}'`)
    .join('; ')
  const isSo = (answer: string, expected: string | RegExp): boolean =>
    typeof expected === 'string' ? answer.includes(expected) : expected.test(answer)
  await Promise.all(
    clients.map((pod) =>
      eventually(async () => {
        const answers = (await inside(pod, 'sh', '-c', script)).stdout.split(NEXT)
        return questions.every(({ expected }, index) => isSo(answers[index] ?? '', expected))
      }, WAIT),
    ),
  )
}

/** A name server that knows one address for everything. */
async function nameServer(at: string, answer: readonly number[]): Promise<() => void> {
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) => {
    const reply = Buffer.from(query)
    reply.writeUInt16BE(0x8180, 2)
    reply.writeUInt16BE(1, 6)
    // The question's name, type A, class IN, for a minute.
    const record = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...answer]
    socket.send(Buffer.concat([reply, Buffer.from(record)]), port, address)
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(53, at, resolve)
  })
  return () => socket.close()
}

const podsIP = async (name: string): Promise<string> =>
  (await cluster.json<Pod>('get', `pod/${name}`)).status?.podIP ?? ''

beforeAll(async () => {
  await cluster.start('--nodes', '5', '--sample')
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
    expect(new Set(clients.map(({ spec }) => spec.nodeName)).size).toBe(5)
  })

  it('of a service lead to its address, in full and by what the search list makes of it', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    await everywhere({ name: `hello.default.svc.${DOMAIN}`, expected: spec.clusterIP ?? 'none' })
    const both = 'wget -qO- http://hello/ && wget -qO- http://hello.default/'
    const answers = await Promise.all(clients.map((pod) => inside(pod, 'sh', '-c', both)))
    for (const { stdout } of answers) expect(stdout).toMatch(/^Hello from .*\nHello from .*\n$/)
  })

  it('of a headless service lead to its pods, each by its own name too', async () => {
    const [first, last] = [await podsIP('db-0'), await podsIP('db-4')]
    await everywhere(
      { name: `db.default.svc.${DOMAIN}`, expected: first },
      { name: `db.default.svc.${DOMAIN}`, expected: last },
      { name: `db-0.db.default.svc.${DOMAIN}`, expected: first },
      { name: `db-4.db.default.svc.${DOMAIN}`, expected: last },
    )
    const all = await lookup(clients[2] as Pod, `db.default.svc.${DOMAIN}`, 'a')
    expect(all.stdout.match(/^Address: /gm)).toHaveLength(5)
  })

  it('tell ports, and addresses tell names', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    const full = `db-4.db.default.svc.${DOMAIN}`
    await everywhere(
      { name: `_sql._tcp.db.default.svc.${DOMAIN}`, expected: `5432 ${full}`, type: 'srv' },
      { name: spec.clusterIP ?? '', expected: `hello.default.svc.${DOMAIN}`, type: 'ptr' },
      { name: await podsIP('db-4'), expected: full, type: 'ptr' },
    )
  })

  it('of an ExternalName service lead to what it stands for', async () => {
    const { spec } = await cluster.json<Service>('get', 'svc/hello')
    await everywhere({ name: `outer.default.svc.${DOMAIN}`, expected: spec.clusterIP ?? 'none' })
    expect((await inside(clients[3] as Pod, 'wget', '-qO-', 'http://outer/')).stdout).toContain('Hello from')
  })

  it('go when the service goes', async () => {
    await cluster.apply(service('brief', { selector: { app: 'none' }, ports: [{ port: 80 }] }))
    await everywhere({ name: `brief.default.svc.${DOMAIN}`, expected: /Address: 10\.\d+/ })
    await cluster.ask('delete', 'svc/brief')
    await everywhere({ name: `brief.default.svc.${DOMAIN}`, expected: /NXDOMAIN/ })
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

  it('asks whom it says, or whom its host asks', async () => {
    const gateway = cluster.hostAddress(0)
    const stop = await nameServer(gateway, [192, 0, 2, 77])
    try {
      await cluster.apply([
        sleeper('none', { dnsPolicy: 'None', dnsConfig: { nameservers: [gateway], searches: ['corp.example'] } }),
        sleeper('plain', { dnsPolicy: 'Default' }),
      ])
      const [none, plain] = await Promise.all(['none', 'plain'].map((name) => cluster.json<Pod>('get', `pod/${name}`)))
      await eventually(async () => (await lookup(none as Pod, 'what.example', 'a')).stdout.includes('192.0.2.77'), WAIT)
      expect((await inside(none as Pod, 'cat', '/etc/resolv.conf')).stdout).toMatch(/^search corp\.example$/m)
      const hosts = /^nameserver \S+$/m.exec(readFileSync('/etc/resolv.conf', 'utf8'))?.[0] ?? 'nameserver'
      await eventually(async () => (await inside(plain as Pod, 'cat', '/etc/resolv.conf')).stdout.includes(hosts), WAIT)
    } finally {
      stop()
    }
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
    const db = await podsIP('db-4')
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
        expect((await ask(`db-4.db.default.svc.${DOMAIN}`)).stdout).toContain(db)
      }
    } finally {
      process.kill(server, 'SIGCONT')
    }
    await eventually(async () => (await cluster.drover(['get', 'pods'])).code === 0, WAIT)
  })
})
