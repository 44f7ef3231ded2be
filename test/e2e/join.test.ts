/**
 * Machines of their own: joined by the line that the server prints, refused in words, at work while no server is there,
 * removed and joined again.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { writeFileAtomic } from '../../src/base/files.ts'
import { SAMPLE_IMAGE, sampleRootfs } from '../../src/local/sample_image.ts'
import { eventually } from '../support/eventually.ts'
import { JoinedCluster } from '../support/joined_cluster.ts'
import { output, ROOT, runProgram } from '../support/local_cluster.ts'

const WAIT = { timeoutMs: 30_000, intervalMs: 100 }
const cluster = new JoinedCluster()

beforeAll(async () => {
  await cluster.open(['h1', 'h2', 'h3'])
})
afterAll(() => cluster.close())

async function nodes(): Promise<Node[]> {
  return (JSON.parse(await cluster.ask(['get', 'nodes', '-o', 'json'])) as { items: Node[] }).items
}

const isReady = async (name: string): Promise<boolean> =>
  (await nodes()).some((node) => node.metadata.name === name && isNodeReady(node))

const answers = async (host: string): Promise<boolean> => {
  const url = `http://${cluster.host(host).address}:30080/`
  const { code, stdout } = await runProgram('curl', ['-sS', '--max-time', '2', url])
  return code === 0 && stdout.includes('Hello from')
}

async function newToken(...flags: string[]): Promise<string> {
  return (await cluster.ask(['token', 'create', '--token-only', ...flags])).trim()
}

const secretOf = (token: string): string => token.split('.').at(-1) ?? ''
const tokens: string[] = []

describe('joining', () => {
  it('works by the line that the server prints at its first start', async () => {
    const server = await cluster.startServer('--join-line')
    const printed = await eventually(() => {
      const line = /drover agent (--join (\S+) --server \S+)/.exec(readFileSync(`${server.log}.out`, 'utf8'))
      return line === null ? undefined : line
    }, WAIT)
    const [, args = '', token = ''] = printed ?? []
    tokens.push(token)
    expect(args).toContain(`--server ${cluster.nodeAddress}`)
    cluster.startAgent(
      'h1',
      ...args.split(' '),
      '--node-name',
      'h1',
      '--label',
      'zone=a',
      '--taint',
      'x=y:PreferNoSchedule',
    )
    await eventually(() => isReady('h1'), WAIT)
    const [node] = await nodes()
    expect(node?.metadata.labels).toMatchObject({ zone: 'a', 'kubernetes.io/hostname': 'h1' })
    expect(node?.spec?.taints).toContainEqual({ key: 'x', value: 'y', effect: 'PreferNoSchedule' })
    // The address by which it reaches the server, without having been told.
    expect(node?.status?.addresses).toContainEqual({ type: 'InternalIP', address: cluster.host('h1').address })
  })

  it('works by a token from a file, and later starts need none', async () => {
    const token = await newToken('--ttl', '1h', '--description', 'for h2')
    tokens.push(token)
    const file = join(cluster.directory, 'token')
    writeFileAtomic(file, `${token}\n`, 0o600)
    cluster.startAgent('h2', '--join', file, '--server', cluster.nodeAddress, '--node-name', 'h2')
    await eventually(() => isReady('h2'), WAIT)
    expect(await cluster.ask(['token', 'list'])).toMatch(/ID +GOOD FOR +DESCRIPTION\n(.*\n)*.*for h2/)
    await cluster.stop('h2')
    await eventually(async () => !(await isReady('h2')), WAIT)
    cluster.startAgent('h2')
    await eventually(() => isReady('h2'), WAIT)
  })

  it('has one agent a node: neither another nor a reset gets beside it, from wherever; one that is killed has a successor at once', async () => {
    const held = /(another|an) agent \(process \d+, since .* works with the data directory \S+\/h1/
    const cases: [string, string[]][] = [
      ['h1', ['--node-name', 'h1']],
      ['h1', ['--reset']],
      // A network namespace of another's makes no difference.
      ['h2', ['--data-dir', join(cluster.directory, 'h1'), '--node-name', 'h1']],
    ]
    for (const [host, args] of cases) {
      const { code, stderr } = await cluster.refusedAgent(host, ...args)
      expect([code, stderr]).toEqual([1, expect.stringMatching(held)])
    }
    const run = await cluster.refusedAgent(
      'h2',
      '--run-dir',
      join(cluster.directory, 'r-h1'),
      '--data-dir',
      join(cluster.directory, 'x'),
      '--cgroup-parent',
      '/drover/x',
    )
    expect([run.code, run.stderr]).toEqual([1, expect.stringMatching(/works with the run directory \S+\/r-h1/)])
    expect(await isReady('h1')).toBe(true)
    await cluster.stop('h1', 'SIGKILL')
    cluster.startAgent('h1', '--node-name', 'h1')
    // Ready may be what was stored before; this one is asked.
    await eventually(async () => (await cluster.drover('image', 'ls', '-o', 'json')).stdout.includes('"h1"'), WAIT)
  })

  it('opens nothing on the node that the control plane would call', async () => {
    // Sessions are the nodes' own connections: what listens is the name server, the tunnel, and health on loopback.
    const listening = await eventually(async () => {
      const space = `--net=${cluster.host('h1').namespacePath}`
      const text = await output('nsenter', [space, 'ss', '-H', '-l', '-n', '-t', '-u'])
      const all = text
        .trim()
        .split('\n')
        .map((line) => line.split(/\s+/))
        .map(([protocol = '', , , , local = '']) => `${protocol} ${local.replace(/%\w+/, '')}`)
      // As long as it may take until the node has its range, and with it its tunnel.
      return all.includes('udp 0.0.0.0:4789') ? all : undefined
    }, WAIT)
    const reachable = listening.filter((at) => !/^tcp 127\.|^(udp|tcp) 169\.254\.20\.5[34]:53$/.test(at))
    expect([...new Set(reachable)].filter((at) => !/^udp \S+:4789$/.test(at))).toEqual([])
    expect(listening).toContain('udp 169.254.20.53:53')
  })

  it('is refused with a clear word and an exit code', async () => {
    const server = ['--server', cluster.nodeAddress]
    const token = await newToken()
    const named = ['--node-name', 'h3']
    const wrong = token.replace(/.{4}$/, token.endsWith('0000') ? '1111' : '0000')
    const cases: [string[], number, RegExp][] = [
      [[...server, ...named], 2, /has not joined a cluster/],
      [['--join', 'nonsense', ...server], 2, /no join token/],
      [['--join', wrong, ...server, ...named], 4, /not known to this cluster/],
      [
        ['--join', token.replace(/^drover1\.[0-9a-f]{4}/, 'drover1.0000'), ...server, ...named],
        1,
        /not of the cluster that made this token/,
      ],
      [['--join', token, '--server', '127.0.0.1:1', ...named], 4, /cannot reach 127.0.0.1:1/],
      [['--join', token, ...server, '--node-name', 'No_Name'], 2, /no name for a node/],
      [['--join', token, ...server, '--node-name', 'h1'], 1, /"h1" is in use by a live node/],
    ]
    for (const [args, code, words] of cases) {
      const refused = await cluster.refusedAgent('h3', ...args)
      expect(refused.stderr).toMatch(words)
      expect(refused.code, refused.stderr).toBe(code)
    }
    await cluster.ask(['token', 'revoke', token.split('.')[2] ?? ''])
    const revoked = await cluster.refusedAgent('h3', '--join', token, ...server, ...named)
    expect([revoked.code, revoked.stderr]).toEqual([4, expect.stringMatching(/revoked/)])
    const short = await newToken('--ttl', '1s')
    const expired = await eventually(async () => {
      const outcome = await cluster.refusedAgent('h3', '--join', short, ...server, '--node-name', 'No_Name')
      return outcome.stderr.includes('expired') ? outcome : undefined
    }, WAIT)
    expect(expired?.code).toBe(4)
    tokens.push(token, short)
    expect((await nodes()).map(({ metadata }) => metadata.name).sort()).toEqual(['h1', 'h2'])
  })
})

describe('while no server is there', () => {
  it('an agent that is killed comes back from its disk: services answer, and what dies is started again', async () => {
    const image = join(cluster.directory, 'hello.tar')
    writeFileAtomic(image, await buffer(await sampleRootfs()))
    await cluster.ask(['image', 'import', image, SAMPLE_IMAGE])
    await cluster.ask(['apply', '-f', join(ROOT, 'deploy/examples/hello.yaml')])
    await cluster.ask(['rollout', 'status', 'deploy/hello', '--timeout', '60'])
    await eventually(() => answers('h1'), WAIT)
    await eventually(() => answers('h2'), WAIT)
    const { items: pods } = JSON.parse(await cluster.ask(['get', 'pods', '-o', 'json'])) as { items: Pod[] }
    const here = pods.filter((pod) => pod.spec.nodeName === 'h2')
    expect(here.length).toBeGreaterThan(0)
    // What has been saved is a fifth of a second behind.
    await eventually(
      () => readFileSync(join(cluster.directory, 'h2/tables/assignments.json'), 'utf8').includes('Hello from'),
      WAIT,
    )

    await cluster.stop('server')
    await cluster.stop('h2', 'SIGKILL')
    expect(await answers('h2')).toBe(true)
    cluster.startAgent('h2')
    const before = await containerInits('h2')
    expect(before).toHaveLength(here.length)
    for (const pid of before) process.kill(pid, 'SIGKILL')
    await eventually(async () => {
      const now = await containerInits('h2')
      return now.length === here.length && now.every((pid) => !before.includes(pid))
    }, WAIT)
    await eventually(() => answers('h2'), WAIT)
    expect(await answers('h1')).toBe(true)

    await cluster.startServer()
    await eventually(() => isReady('h2'), WAIT)
    await eventually(async () => {
      const { items } = JSON.parse(await cluster.ask(['get', 'pods', '-o', 'json'])) as { items: Pod[] }
      const same = items.filter((pod) => here.some((old) => old.metadata.uid === pod.metadata.uid))
      return (
        same.length === here.length && same.every((pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) > 0)
      )
    }, WAIT)
  })
})

describe('leaving', () => {
  it('a node in use is not removed by mistake; one that was removed stops its pods and joins again', async () => {
    expect(await cluster.ask(['node', 'ls'])).toMatch(/^NAME +STATUS +PODS .*\nh1 +Ready +\d/)
    const refused = await cluster.drover('node', 'rm', 'h2')
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/h2 is Ready and takes pods.*--force/)])
    await cluster.ask(['node', 'cordon', 'h2'])
    expect(await cluster.ask(['node', 'ls'])).toMatch(/h2 +Ready,SchedulingDisabled/)
    await cluster.ask(['node', 'uncordon', 'h2'])

    await cluster.ask(['node', 'rm', 'h2', '--force'])
    await eventually(async () => (await containerInits('h2')).length === 0, WAIT)
    await eventually(() => cluster.logs().includes('removed from the cluster; join again'), WAIT)
    await cluster.ask(['rollout', 'status', 'deploy/hello', '--timeout', '60'])
    expect((await nodes()).map(({ metadata }) => metadata.name)).toEqual(['h1'])

    await cluster.stop('h2')
    const token = await newToken()
    tokens.push(token)
    cluster.startAgent('h2', '--join', token)
    await eventually(() => isReady('h2'), WAIT)
    await eventually(() => answers('h2'), WAIT)
  })

  it('no secret was ever logged', () => {
    expect(tokens.length).toBeGreaterThan(3)
    for (const token of tokens) expect(cluster.logs()).not.toContain(secretOf(token))
    expect(cluster.logs()).not.toContain('PRIVATE KEY')
  })
})

/** Children of the conmons of a host. */
async function containerInits(host: string): Promise<number[]> {
  const listing = await output('ps', ['-eo', 'pid=,comm=,args='])
  const monitors = listing
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, program, ...args]) => program === 'conmon' && args.join(' ').includes(`${cluster.directory}/${host}/`))
  const inits = monitors.flatMap(([pid]) => {
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    } catch {
      return []
    }
  })
  return inits.filter((pid) => pid !== '').map(Number)
}
