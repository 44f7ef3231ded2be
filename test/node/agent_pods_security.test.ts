/** What a pod's security settings and its class of service come to, in the processes themselves. One agent for all. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Container, Pod } from '../../src/api/pod.ts'
import { AgentPods } from '../support/agent_pods.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let runtimeHost: RuntimeHost
let pods: AgentPods
let dataDir: string

beforeAll(async () => {
  runtimeHost = await createRuntimeHost()
  dataDir = mkdtempSync(join(runtimeHost.directory, 'agent-'))
  pods = new AgentPods(runtimeHost)
  await pods.open(() => ({}), { dataDir, allowedSysctls: ['net.core.somaxconn'] })
})
afterAll(async () => {
  await pods.close()
  rmSync(dataDir, { recursive: true, force: true })
  await runtimeHost.destroy()
})

/** Programs here do nothing that needs a good end. */
const stopping: Partial<Container> = { lifecycle: { stopSignal: 'SIGKILL' } }
const run = (name: string, container: Partial<Container>, spec: Partial<Pod['spec']> = {}): Promise<void> =>
  pods.run(name, { ...stopping, ...container }, spec)
const statusLine = async (name: string, field: string): Promise<string> =>
  (await pods.exec(name, ['/bin/grep', `${field}:`, '/proc/1/status'])).split(/\s+/)[1] ?? ''

describe('seccomp', () => {
  const profiled = (seccompProfile: object): Partial<Container> => ({ securityContext: { seccompProfile } }) as never

  test('the usual profile unless it is told otherwise; none only where that is asked for', async () => {
    await run('usual', {})
    await run('named', profiled({ type: 'RuntimeDefault' }))
    await run('open', profiled({ type: 'Unconfined' }))
    for (const name of ['usual', 'named', 'open']) await pods.ready(name)
    expect(await statusLine('usual', 'Seccomp')).toBe('2')
    expect(await statusLine('named', 'Seccomp')).toBe('2')
    expect(await statusLine('open', 'Seccomp')).toBe('0')
    expect(await statusLine('usual', 'NoNewPrivs')).toBe('1')
    for (const name of ['usual', 'named', 'open']) await pods.remove(name)
  })

  test('a file of the node: its absence is told by name, and its coming starts the container', async () => {
    await run('own', profiled({ type: 'Localhost', localhostProfile: 'team/none.json' }))
    await pods.holds(() =>
      expect(pods.container('own')?.state?.waiting?.message).toContain(
        'seccomp profile "team/none.json" is not on this node',
      ),
    )
    const folder = join(dataDir, 'seccomp/team')
    mkdirSync(folder, { recursive: true })
    const refused = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 }
    writeFileSync(join(folder, 'none.json'), JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [refused] }))
    await pods.ready('own')
    expect(await pods.exec('own', ['/bin/mkdir', '/tmp/x'])).toContain('Operation not supported')
    expect(await pods.exec('own', ['/bin/touch', '/tmp/y'])).toBe('')
    await pods.remove('own')
  })
})

test('kernel parameters: those that the node allows, and no others', async () => {
  const sysctls = (name: string, value: string) => ({
    hostNetwork: false,
    securityContext: { sysctls: [{ name, value }] },
  })
  const before = readFileSync('/proc/sys/net/core/somaxconn', 'utf8')
  await pods.harness.giveCidr('n1')
  await run('tuned', {}, sysctls('net.core.somaxconn', '77'))
  await run('greedy', {}, sysctls('net.core.rmem_max', '77'))
  await pods.ready('tuned')
  expect(await pods.exec('tuned', ['/bin/cat', '/proc/sys/net/core/somaxconn'])).toBe('77')
  expect(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')).toBe(before)
  await pods.holds(() =>
    expect(pods.status('greedy')).toMatchObject({
      phase: 'Failed',
      reason: 'SysctlForbidden',
      message: expect.stringContaining('net.core.rmem_max'),
    }),
  )
  await pods.remove('tuned')
  await pods.remove('greedy')
})

test('capabilities, the root file system and users are as the pod says', async () => {
  await run(
    'bare',
    {
      securityContext: {
        capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
        readOnlyRootFilesystem: true,
        runAsUser: 0,
      },
    },
    { securityContext: { runAsUser: 1_000, runAsGroup: 2_000 } },
  )
  await run('plain', {}, { securityContext: { runAsUser: 1_000, runAsGroup: 2_000 } })
  await run('rootless', {}, { securityContext: { runAsNonRoot: true } })
  await pods.ready('bare')
  await pods.ready('plain')
  expect(BigInt(`0x${await statusLine('bare', 'CapEff')}`)).toBe(1n << 10n)
  expect(BigInt(`0x${await statusLine('bare', 'CapBnd')}`)).toBe(1n << 10n)
  expect(await pods.exec('bare', ['/bin/touch', '/x'])).toContain('Read-only file system')
  // A container's word goes before its pod's.
  expect(await pods.exec('bare', ['/bin/id', '-u'])).toBe('0')
  expect(await pods.exec('plain', ['/bin/sh', '-c', 'id -u; id -g'])).toBe('1000\n2000')
  expect(BigInt(`0x${await statusLine('plain', 'CapEff')}`)).toBe(0n)
  await pods.holds(() =>
    expect(pods.container('rootless')?.state?.waiting?.message).toContain('runAsNonRoot and would run as root'),
  )
  for (const name of ['bare', 'plain', 'rootless']) await pods.remove(name)
})

test('the kernel kills first who asked for nothing, last who asked for all; shares follow requests', async () => {
  const limits = { cpu: '200m', memory: '64Mi' }
  await run('nothing', {})
  await run('all', { resources: { limits } })
  await run('some', { resources: { limits } }, { containers: [{ name: 'b', image: 'busybox:1', ...stopping }] })
  for (const name of ['nothing', 'all', 'some']) await pods.ready(name)
  const floor = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'))
  const score = async (name: string, container?: string): Promise<number> =>
    Number(await pods.exec(name, ['/bin/cat', '/proc/1/oom_score_adj'], container))
  expect(pods.status('nothing')?.qosClass).toBe('BestEffort')
  expect(pods.status('all')?.qosClass).toBe('Guaranteed')
  expect(pods.status('some')?.qosClass).toBe('Burstable')
  expect(await score('nothing')).toBe(1_000)
  // Without the right to go lower than we are ourselves, no lower than that.
  expect([-997, floor]).toContain(await score('all'))
  expect(await score('some')).toBeGreaterThan(800)
  expect(await score('some', 'b')).toBe(999)
  // 200 thousandths of 1024, or what cgroups of the second version make of it.
  const weight = 'cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || cat /sys/fs/cgroup/cpu.weight'
  expect(await pods.exec('all', ['/bin/sh', '-c', weight])).toMatch(/^(204|8)$/)
  expect(await pods.exec('nothing', ['/bin/sh', '-c', weight])).toMatch(/^(2|1)$/)
  for (const name of ['nothing', 'all', 'some']) await pods.remove(name)
  await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
})
