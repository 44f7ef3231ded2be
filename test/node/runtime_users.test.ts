/** Pods with users of their own (`hostUsers: false`): root in the container is nobody on the host, and files keep their numbers. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ContainerRequest, SandboxRequest } from '../../src/agent/runtime/runtime.ts'
import { freeRanges, listRanges, takeRange } from '../../src/agent/runtime/user_ranges.ts'
import { kernelCalls, mountCall, tryUnmount } from '../../src/base/kernel_calls.ts'
import { describeRuntimes } from '../support/describe_runtimes.ts'
import { eventually } from '../support/eventually.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const signal = new AbortController().signal

describeRuntimes('users of a pod’s own', (runtime, itOnce) => {
  let host: RuntimeHost
  beforeAll(async () => {
    host = await createRuntimeHost(runtime)
  })
  afterAll(() => host.destroy())

  async function start(podUid: string, changes: Partial<ContainerRequest>, sandbox: Partial<SandboxRequest> = {}) {
    const made = await host.sandbox(podUid, { ownUsers: true, ...sandbox })
    const request = host.request(made, { terminationMessagePath: '/dev/termination-log', ...changes })
    const { pid = 0 } = await host.driver.startContainer(request, signal)
    return { id: request.id, pid, podUid, users: made.users ?? { namespacePath: '', firstId: 0, size: 0 } }
  }
  const said = async (id: string, script: string): Promise<string> =>
    (await host.driver.execSync(id, ['/bin/sh', '-c', script], 10_000)).output.trim()
  async function remove({ id, podUid }: { id: string; podUid: string }): Promise<void> {
    await host.driver.removeContainer(id)
    await host.driver.removeSandbox(podUid)
  }

  it('stand for ids of the host that no other pod has, and own the pod’s namespaces', async () => {
    const [a, b] = await Promise.all([start('a', {}), start('b', {})])
    for (const { pid, users } of [a, b]) {
      expect(readFileSync(`/proc/${pid}/uid_map`, 'utf8').trim().split(/\s+/).map(Number)).toEqual([
        0,
        users.firstId,
        65_536,
      ])
      expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(new RegExp(`^[UG]id:\\s+${users.firstId}\\s`, 'm'))
      expect(statSync(`/proc/${pid}`).uid).toBe(users.firstId)
      expect(readlinkSync(`/proc/${pid}/ns/user`)).not.toBe(readlinkSync('/proc/self/ns/user'))
    }
    expect(Math.abs(a.users.firstId - b.users.firstId)).toBeGreaterThanOrEqual(65_536)
    expect(await said(a.id, 'id -u; cat /proc/self/uid_map')).toMatch(/^0\n\s+0\s+\d+\s+65536$/)
    // Root enough for its own namespaces, and no more.
    expect(await said(a.id, 'hostname inside 2>&1; cat /proc/sys/kernel/hostname')).toMatch(/inside|not permitted/)
    expect(await said(a.id, 'ip link show lo')).toContain('UP')
    // A driver made anew, as after a restart of the agent, finds the same and gives nobody the same ids.
    const next = await host.again()
    const again = await next.ensureSandbox({
      ...{ podUid: 'a', namespace: 'default', podName: 'a', hostname: 'drvt-host', hostNetwork: false, ownUsers: true },
    })
    expect(again.users).toEqual(a.users)
    expect((await next.listContainers()).map(({ phase }) => phase)).toEqual(['running', 'running'])
    const c = await start('c', {})
    expect([a.users.firstId, b.users.firstId]).not.toContain(c.users.firstId)
    expect(await host.driver.findDamage?.()).toEqual([])
    for (const each of [a, b, c]) await remove(each)
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  it('own the image’s files and those of volumes, whose numbers on disk do not change', async () => {
    const volume = join(host.directory, 'volume')
    mkdirSync(volume, { mode: 0o755 })
    writeFileSync(join(volume, 'root-only'), 'secret', { mode: 0o600 })
    const file = join(host.directory, 'hosts')
    writeFileSync(file, '127.0.0.1 localhost\n')
    const second = join(host.directory, 'second')
    mkdirSync(join(second, 'tmp'), { recursive: true })
    writeFileSync(join(second, 'upper-layer'), 'two')
    const one = await start('files', {
      layerDirectories: [host.layer, second],
      mounts: [
        { hostPath: volume, containerPath: '/data', readOnly: false },
        { hostPath: volume, containerPath: '/fixed', readOnly: true },
        { hostPath: file, containerPath: '/etc/hosts', readOnly: false },
      ],
    })
    expect(await said(one.id, 'stat -c %u:%g / /bin/busybox /data /etc/hosts /dev/shm /upper-layer')).toBe(
      '0:0\n'.repeat(6).trim(),
    )
    expect(
      await said(one.id, 'cat /data/root-only; echo new > /data/new; chown 7:8 /data/new; ls -ln /data/new'),
    ).toMatch(/^secret.* 7 +8 /)
    const { uid, gid } = statSync(join(volume, 'new'))
    expect([uid, gid]).toEqual([7, 8])
    expect(await said(one.id, 'echo x > /fixed/y')).toContain('Read-only file system')
    expect(await said(one.id, 'echo x > /tmp/y && echo x > /dev/shm/y && cat /etc/hosts')).toContain('localhost')
    const upper = host.driver.writableLayerOf(one.id) ?? ''
    expect(statSync(join(upper, 'tmp/y')).uid).toBe(one.users.firstId)
    await said(one.id, 'echo goodbye > /dev/termination-log')
    expect(await host.driver.terminationMessage(one.id)).toBe('goodbye\n')
    await remove(one)
    expect(existsSync(join(volume, 'root-only'))).toBe(true)
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('may do nothing to what is not theirs', async () => {
    const one = await start('bounds', { privileged: true, seccomp: 'unconfined' })
    for (const attempt of [
      'mkdir -p /mnt; for disk in /dev/vda /dev/sda /dev/nvme0n1; do mount -o ro $disk /mnt && exit 0; done; exit 1',
      // The value that stands there, so that it would harm nobody.
      'v=$(cat /proc/sys/kernel/panic); echo $v > /proc/sys/kernel/panic',
      ': > /proc/sysrq-trigger',
      'mknod /tmp/disk b 254 0 && cat /tmp/disk',
      'cat /proc/kcore',
    ]) {
      const { exitCode } = await host.driver.execSync(one.id, ['/bin/sh', '-c', `${attempt} >/dev/null 2>&1`], 10_000)
      expect(exitCode, attempt).not.toBe(0)
    }
    await remove(one)
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('are refused what goes beyond them', async () => {
    const user = { uid: 70_000, gid: 0, additionalGids: [] }
    await expect(start('beyond', { user })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('with hostUsers: false a pod has the ids 0 to 65535'),
    })
    const mounts = [{ hostPath: '/tmp', containerPath: '/x', readOnly: false, propagation: 'Bidirectional' as const }]
    await expect(start('beyond', { mounts })).rejects.toThrow('does not go with hostUsers: false')
    const odd = [{ hostPath: '/proc', containerPath: '/x', readOnly: false }]
    await expect(start('beyond', { mounts: odd })).rejects.toMatchObject({ code: 'unsupported' })
    await host.driver.removeSandbox('beyond')
    expect(host.remains()).toEqual([])
  })

  it('are shared by containers that see each other’s processes', async () => {
    const one = await start('shared', {}, { shareProcesses: true })
    const [own, shared] = (await said(one.id, 'ps -o pid,user,args')).split('\n').filter((line) => /sleep/.test(line))
    expect(own).toMatch(/^\s*1 0 .*sleep infinity/)
    expect(shared).toMatch(/ 0 .*sleep 1000/)
    await remove(one)
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('are taken by a file that says whose they are, or not at all', async () => {
    const directory = join(host.directory, 'ranges')
    mkdirSync(directory)
    const calls = [mountCall({ source: 'drvt', target: directory, type: 'tmpfs', flags: 0, data: 'size=4k' })]
    await kernelCalls(calls)
    try {
      // There is room for a file and for nothing in it: the same is seen where its maker dies in between.
      writeFileSync(join(directory, 'filler'), 'x')
      await expect(takeRange(directory, '/s/a')).rejects.toMatchObject({ code: 'ENOSPC' })
      expect(readdirSync(directory)).toEqual(['filler'])
      rmSync(join(directory, 'filler'))
      const first = await takeRange(directory, '/s/a')
      expect(await listRanges(directory)).toEqual([
        { path: join(directory, String(first.firstId / 65_536)), owner: '/s/a' },
      ])
      await freeRanges(directory, '/s/a')
      expect(readdirSync(directory)).toEqual([])
      expect(await takeRange(directory, '/s/b')).toEqual(first)
    } finally {
      await tryUnmount([directory])
    }
  })

  itOnce('are found and given back by the check of the node when nobody has them', async () => {
    const one = await start('lost', {})
    await remove(one)
    const ids = '/run/drover-users/ids'
    const path = join(ids, String(0x7ffd))
    writeFileSync(path, join(host.directory, 'run/s/lost'), { flag: 'wx' })
    const left = join('/run/drover-users', host.cgroupParent.slice(1), 'gone')
    mkdirSync(join(left, 'm/0'), { recursive: true })
    const damage = (await host.driver.findDamage?.()) ?? []
    expect(damage.map(({ subject }) => subject).sort()).toEqual([left, path].sort())
    for (const { mend } of damage) await mend()
    expect(host.remains()).toEqual([])
    expect(readdirSync(ids)).not.toContain(String(0x7ffd))
  })
})
