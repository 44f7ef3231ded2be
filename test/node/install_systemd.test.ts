/**
 * The install script on a bare Debian with systemd: installed, rebooted, taken away. It fetches a Debian from its mirror, so
 * it runs on demand: DROVER_SYSTEMD=1 npx vitest run test/node/install_systemd.test.ts
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isPodReady } from '../../src/api/conditions.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { writeFileAtomic } from '../../src/base/files.ts'
import { SAMPLE_IMAGE, sampleRootfs } from '../../src/local/sample_image.ts'
import { DebianMachine } from '../support/debian_machine.ts'
import { eventually } from '../support/eventually.ts'
import { output, ROOT } from '../support/local_cluster.ts'

const WAIT = { timeoutMs: 90_000, intervalMs: 200 }
const KUBECONFIG = '/var/lib/drover/server/kubeconfig'
const INSTALL = '/root/drover/deploy/install.sh'
const machine = new DebianMachine()

const install = (...args: string[]) => machine.run([INSTALL, ...args], { world: true, timeoutMs: 300_000 })
const drover = (...args: string[]) => machine.ask('drover', '--kubeconfig', KUBECONFIG, ...args)
const property = async (unit: string, name: string) =>
  (await machine.ask('systemctl', 'show', '--value', '-p', name, unit)).trim()
const allActive = async (): Promise<boolean> =>
  (await machine.run(['systemctl', 'is-active', 'drover-server', 'drover-agent'])).stdout === 'active\nactive\n'

async function list<T>(kind: string): Promise<T[]> {
  return (JSON.parse(await drover('get', kind, '-o', 'json')) as { items: T[] }).items
}

const isReady = async (): Promise<boolean> => (await list<Node>('nodes')).some(isNodeReady)

/** The pod answers at the service's port on the machine's own address. */
async function serves(): Promise<boolean> {
  const { stdout } = await machine.inNetwork('curl', '-sS', '--max-time', '2', `http://${machine.address}:30080/`)
  return stdout.includes('Hello from')
}

describe.runIf(process.env.DROVER_SYSTEMD === '1')('deploy/install.sh under systemd', () => {
  beforeAll(async () => {
    await machine.install()
    const home = join(machine.root, 'root')
    mkdirSync(home, { recursive: true })
    await output(join(ROOT, 'deploy/bundle.sh'), [join(home, 'drover.tar.gz')], { timeoutMs: 300_000 })
    await output('tar', ['-C', home, '-xzf', join(home, 'drover.tar.gz')])
    writeFileAtomic(join(home, 'hello.tar'), await buffer(await sampleRootfs()))
    await machine.boot()
  }, 900_000)
  afterAll(() => machine.remove(), 120_000)

  it('brings the packages that it needs, and starts what it installed', async () => {
    const server = await install('--role', 'server', '--advertise', machine.address)
    expect([server.code, server.stderr]).toEqual([0, expect.any(String)])
    await eventually(async () => (await machine.run(['test', '-e', KUBECONFIG])).code === 0, WAIT)
    await eventually(
      async () => (await machine.run(['drover', '--kubeconfig', KUBECONFIG, 'get', 'ns'])).code === 0,
      WAIT,
    )
    const token = (await drover('token', 'create', '--token-only')).trim()
    const agent = await install('--role', 'agent', '--join', token, '--server', `${machine.address}:6444`)
    expect(agent.code, agent.stderr).toBe(0)
    await eventually(allActive, WAIT)
    await eventually(isReady, WAIT)
    expect(await machine.ask('systemctl', 'is-enabled', 'drover-server', 'drover-agent')).toBe('enabled\nenabled\n')
    for (const unit of ['drover-server', 'drover-agent']) {
      const variables = (await machine.ask('cat', `/proc/${await property(unit, 'MainPID')}/environ`)).split('\0')
      expect(variables).toContain('NODE_OPTIONS=--max-semi-space-size=2')
      expect(variables).toContain('MALLOC_ARENA_MAX=2')
    }
  }, 600_000)

  it('runs pods; a second run and the death of either process disturb none', async () => {
    await drover('image', 'import', '/root/hello.tar', SAMPLE_IMAGE)
    await drover('apply', '-f', '/opt/drover/deploy/examples/hello.yaml')
    await drover('rollout', 'status', 'deploy/hello', '--timeout', '60')
    await eventually(serves, WAIT)
    const mains = await Promise.all(['drover-server', 'drover-agent'].map((unit) => property(unit, 'MainPID')))
    expect((await install('--role', 'server')).code).toBe(0)
    expect((await install('--role', 'agent')).code).toBe(0)
    expect(await Promise.all(['drover-server', 'drover-agent'].map((unit) => property(unit, 'MainPID')))).toEqual(mains)

    const containers = async (): Promise<string> => machine.ask('pgrep', '-x', 'conmon')
    const before = await containers()
    await machine.ask('kill', '-KILL', ...mains)
    expect(await serves()).toBe(true)
    await eventually(allActive, WAIT)
    await eventually(
      async () => (await machine.run(['drover', '--kubeconfig', KUBECONFIG, 'get', 'ns'])).code === 0,
      WAIT,
    )
    await eventually(isReady, WAIT)
    expect(await containers()).toBe(before)
  }, 300_000)

  it('after a reboot everything is there again without help', async () => {
    await machine.shutDown()
    await machine.boot()
    await eventually(allActive, WAIT)
    await eventually(isReady, WAIT)
    await eventually(async () => (await list<Pod>('pods')).filter(isPodReady).length === 3, WAIT)
    await eventually(serves, WAIT)
  }, 300_000)

  it('--uninstall --purge leaves nothing', async () => {
    const { code, stderr } = await machine.run([INSTALL, '--uninstall', '--purge'])
    expect(code, stderr).toBe(0)
    const look =
      'find / -xdev \\( -path /root -o -path /proc -o -path /sys -o -path /var/log \\) -prune -o -name "*drover*" -print'
    expect(await machine.ask('sh', '-c', look)).toBe('')
    expect(await machine.ask('sh', '-c', 'find /run /sys/fs/cgroup -name "*drover*"')).toBe('')
    expect((await machine.run(['pgrep', '-a', 'conmon|drover|etcd'])).stdout).toBe('')
    expect(await machine.ask('grep', '-c', 'drover', '/proc/self/mounts').catch(() => '0')).toBe('0')
    expect(await machine.ask('nft', 'list', 'tables')).toBe('')
    const links = (await machine.ask('ip', '-o', 'link')).trim().split('\n')
    expect(links.map((line) => /^\d+: ([^:@]+)/.exec(line)?.[1]).sort()).toEqual(['cable', 'eth0', 'lo'])
    expect((await machine.run(['systemctl', 'list-unit-files', 'drover*', '--no-legend'])).stdout).toBe('')
    expect((await machine.ask('systemctl', '--failed', '--no-legend')).trim()).toBe('')
  }, 120_000)
})
