/** What a pod's containers share with each other and with the host: processes, IPC, names. */
import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Container } from '../../src/api/pod.ts'
import { AgentPods } from '../support/agent_pods.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let runtimeHost: RuntimeHost
let pods: AgentPods

beforeAll(async () => {
  runtimeHost = await createRuntimeHost()
  pods = new AgentPods(runtimeHost)
  await pods.open()
})
afterAll(async () => {
  await pods.close()
  await runtimeHost.destroy()
})

const stopping: Partial<Container> = { lifecycle: { stopSignal: 'SIGKILL' } }
const holders = (): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`=${runtimeHost.directory}/`)
    } catch {
      return false
    }
  })

/** Processes with these arguments, as the container sees them. */
async function pidsOf(args: string): Promise<string[]> {
  const listed = await pods.exec('shared', ['/bin/ps', '-o', 'pid,args'])
  return listed.split('\n').flatMap((line) => (line.trim().endsWith(args) ? [line.trim().split(' ')[0] ?? ''] : []))
}

describe('a pod', () => {
  test('whose containers share processes: they see and signal each other, and one ends without the others', async () => {
    const second = {
      name: 'b',
      image: 'busybox:1',
      command: ['/bin/sh', '-c', 'sleep 900 & exec sleep 800'],
      ...stopping,
    }
    await pods.run(
      'shared',
      { command: ['/bin/sleep', '700'], ...stopping },
      { shareProcessNamespace: true, containers: [second] },
    )
    await pods.ready('shared')
    const listed = await pods.exec('shared', ['/bin/ps', '-o', 'pid,args'])
    expect(listed).toContain('sleep 700')
    expect(listed).toContain('sleep 800')
    expect(listed).toMatch(/^\s*1 .*sleep infinity/m)
    const first = pods.container('shared')?.containerID
    await pods.exec('shared', ['/bin/kill', '-9', (await pidsOf('sleep 800'))[0] ?? ''])
    await pods.holds(() => expect(pods.container('shared', 'b')).toMatchObject({ restartCount: 1, ready: true }))
    expect(pods.container('shared')).toMatchObject({ restartCount: 0, containerID: first })
    // What the program had left behind went with it; the new one has made its own.
    await pods.holds(async () => expect(await pidsOf('sleep 900')).toHaveLength(1))
    expect(await pods.exec('shared', ['/bin/sh', '-c', 'ps -o stat | grep -c Z'])).toMatch(/0$/)
    expect(holders()).toHaveLength(1)

    // The namespace is lost with its holder: the pod's containers are made again in a new one.
    for (const pid of holders()) process.kill(Number(pid), 'SIGKILL')
    await pods.holds(() => expect(pods.container('shared')).toMatchObject({ restartCount: 1, ready: true }))
    expect(await pidsOf('sleep 700')).toHaveLength(1)
    expect(holders()).toHaveLength(1)
    await pods.remove('shared')
    expect(holders()).toEqual([])
    await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
  })

  test('that sees the host’s processes and shared memory', async () => {
    const path = `/dev/shm/drvt-${process.pid}`
    writeFileSync(path, 'host')
    try {
      await pods.run(
        'host',
        { command: ['/bin/sh', '-c', 'sleep 950 & exec sleep 850'], ...stopping },
        { hostPID: true, hostIPC: true },
      )
      await pods.ready('host')
      expect(await pods.exec('host', ['/bin/cat', `/proc/${process.pid}/comm`])).toBe(
        readFileSync('/proc/self/comm', 'utf8').trim(),
      )
      expect(await pods.exec('host', ['/bin/cat', path])).toBe('host')
      const seen = await pods.exec('host', ['/bin/sh', '-c', 'readlink /proc/self/ns/ipc'])
      expect(seen).toBe(readlinkSync('/proc/self/ns/ipc'))
      await pods.remove('host')
      await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
    } finally {
      rmSync(path)
    }
  })

  test('with its full name for a host name, and further names in its hosts file', async () => {
    const command = ['/bin/sh', '-c', 'exec sleep 600']
    await pods.run(
      'named',
      { command, ...stopping },
      {
        hostname: 'db-0',
        subdomain: 'db',
        setHostnameAsFQDN: true,
        hostAliases: [{ ip: '192.0.2.7', hostnames: ['old.example', 'old'] }],
      },
    )
    await pods.ready('named')
    expect(await pods.exec('named', ['/bin/hostname'])).toBe('db-0.db.default.svc.cluster.local')
    expect(await pods.exec('named', ['/bin/cat', '/etc/hostname'])).toBe('db-0.db.default.svc.cluster.local')
    expect(await pods.exec('named', ['/bin/cat', '/etc/hosts'])).toContain('192.0.2.7\told.example\told')
    const long = { hostname: 'a'.repeat(60), subdomain: 'db', setHostnameAsFQDN: true }
    await pods.run('too-long', { command }, long)
    await pods.holds(() =>
      expect(pods.harness.events).toContainEqual(
        expect.objectContaining({ name: 'too-long', message: expect.stringContaining('setHostnameAsFQDN allows 64') }),
      ),
    )
    await pods.remove('named')
    await pods.remove('too-long')
  })

  test('whose groups are those that it names, and not the image’s', async () => {
    const spec = {
      securityContext: { runAsUser: 0, supplementalGroups: [4_711], supplementalGroupsPolicy: 'Strict' as const },
    }
    await pods.run('groups', { ...stopping }, spec)
    await pods.ready('groups')
    expect(await pods.exec('groups', ['/bin/grep', 'Groups', '/proc/1/status'])).toMatch(/^Groups:\s*4711$/)
    await pods.remove('groups')
  })
})
