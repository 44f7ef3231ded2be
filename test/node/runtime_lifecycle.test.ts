import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { detectCgroups } from '../../src/agent/runtime/cgroups.ts'
import { overlayOf } from '../../src/agent/runtime/overlay.ts'
import type { ContainerRequest, ContainerState, RuntimeDriver } from '../../src/agent/runtime/runtime.ts'
import { kernelCalls } from '../../src/base/kernel_calls.ts'
import { run, runOk } from '../../src/base/process.ts'
import { readText } from '../../src/base/records.ts'
import { describeRuntimes } from '../support/describe_runtimes.ts'
import { eventually } from '../support/eventually.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const signal = new AbortController().signal

const RUNC = 'runc create failed: unable to start container process: '

const commandOf = (pid: string): string[] => (readText(`/proc/${pid}/cmdline`) ?? '').split('\0')

describeRuntimes('containers under conmon', (runtime, itOnce) => {
  let host: RuntimeHost
  let pods = 0
  beforeAll(async () => {
    host = await createRuntimeHost(runtime)
  })
  afterAll(() => host.destroy())

  async function start(changes: Partial<ContainerRequest>): Promise<{ id: string; podUid: string; pid: number }> {
    const podUid = `pod${pods++}`
    const request = host.request(await host.sandbox(podUid), changes)
    const state = await host.driver.startContainer(request, signal)
    return { id: request.id, podUid, pid: state.pid ?? 0 }
  }
  async function stateOf(id: string, driver: RuntimeDriver = host.driver) {
    return (await driver.listContainers()).find((one) => one.id === id)
  }
  async function ended(id: string): Promise<ContainerState> {
    return eventually<ContainerState>(async () => {
      const state = await stateOf(id)
      if (state?.phase !== 'exited') throw new Error(`container ${id} is ${state?.phase}`)
      return state
    })
  }
  async function remove({ id, podUid }: { id: string; podUid: string }): Promise<void> {
    await host.driver.removeContainer(id)
    await host.driver.removeSandbox(podUid)
    await eventually(() => expect(host.remains()).toEqual([]))
  }

  it('runs, logs in CRI format, reports the exit code and leaves nothing', async () => {
    const container = await start({
      args: ['/bin/sh', '-c', 'hostname; echo $A; printf partial; echo oops >&2; exit 3'],
      env: ['PATH=/bin', 'A=one two'],
      annotations: { 'drover.dev/spec-hash': 'abc' },
    })
    const state = await ended(container.id)
    expect(state).toMatchObject({ podUid: container.podUid, name: 'main', attempt: 0, phase: 'exited' })
    expect(state).toMatchObject({ exit: { code: 3, oomKilled: false }, annotations: { 'drover.dev/spec-hash': 'abc' } })
    expect(state.exit?.finishedAtMs).toBeGreaterThanOrEqual((state.startedAtMs ?? 0) - 1000)
    const lines = host.log(container.id).trim().split('\n')
    expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d) stdout F drvt-host$/)
    expect(lines.some((line) => line.endsWith(' stdout F one two'))).toBe(true)
    expect(lines.some((line) => line.endsWith(' stdout P partial'))).toBe(true)
    expect(lines.some((line) => line.endsWith(' stderr F oops'))).toBe(true)
    // As of a monitor that was killed while it wrote the exit file.
    writeFileSync(join(host.directory, 'run/exits', `${container.id}.AB12CD`), '3')
    await remove(container)
    await remove(container)
  })

  itOnce('tells what a container uses, and nothing once it is gone', async () => {
    const container = await start({
      args: ['/bin/sh', '-c', 'head -c 8000000 /dev/zero > /tmp/f; while :; do :; done'],
    })
    const usage = await eventually(() => {
      const now = host.driver.usage(container.podUid, container.id, true)
      if (now === undefined || now.cpuSeconds < 0.2) throw new Error('it has not worked yet')
      return now
    })
    expect(usage.memoryBytes).toBeGreaterThan(0)
    expect(usage.memoryWorkingSetBytes).toBeLessThanOrEqual(usage.memoryBytes)
    expect(usage.memoryRssBytes).toBeLessThanOrEqual(usage.memoryBytes)
    expect(usage.processes).toBeGreaterThanOrEqual(1)
    const written = statSync(join(host.driver.writableLayerOf(container.id) ?? '', 'tmp/f')).size
    expect(written).toBe(8_000_000)
    await remove(container)
    expect(host.driver.usage(container.podUid, container.id, true)).toBeUndefined()
  })

  it('passes signals, and removes a container that ignores them', async () => {
    const script = 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done'
    const container = await start({ args: ['/bin/sh', '-c', script] })
    await eventually(() => host.log(container.id).includes('ready'))
    await host.driver.signalContainer(container.id, 'SIGTERM')
    expect((await ended(container.id)).exit).toMatchObject({ code: 7 })
    await host.driver.signalContainer(container.id, 'SIGTERM')
    await remove(container)
    const stubborn = await start({ args: ['/bin/sh', '-c', 'trap "" TERM; sleep 1000 & wait; sleep 1000'] })
    await host.driver.signalContainer(stubborn.id, 'SIGTERM', true)
    await remove(stubborn)
  })

  it('calls back when init is killed, and reports 137 by signal 9', async () => {
    const gone: string[] = []
    const stop = host.driver.onExit((id) => gone.push(id))
    const container = await start({})
    expect(await stateOf(container.id)).toMatchObject({ phase: 'running', pid: container.pid })
    process.kill(container.pid, 'SIGKILL')
    await eventually(() => gone.includes(container.id))
    expect(await stateOf(container.id)).toMatchObject({
      phase: 'exited',
      exit: { code: 137, signal: 9, oomKilled: false },
    })
    stop()
    await remove(container)
  })

  it('tells an OOM kill', async () => {
    const container = await start({
      args: ['/bin/sh', '-c', 'dd if=/dev/zero of=/dev/null bs=100M count=1; exit 9'],
      resources: {
        cpuLimitMillis: 500,
        cpuRequestMillis: 100,
        memoryLimitBytes: 16 << 20,
        memoryRequestBytes: 0,
        pidsLimit: 50,
      },
    })
    expect((await ended(container.id)).exit).toMatchObject({ code: 9, oomKilled: true })
    await remove(container)
  })

  it('is adopted by a driver made anew, which hears its end', async () => {
    const container = await start({ args: ['/bin/sh', '-c', 'while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 5'] })
    const next = await host.again()
    expect(await stateOf(container.id, next)).toMatchObject({ phase: 'running', pid: container.pid })
    const gone: string[] = []
    const stop = next.onExit((id) => gone.push(id))
    expect(await next.execSync(container.id, ['/bin/touch', '/tmp/go'], 5000)).toMatchObject({ exitCode: 0 })
    await eventually(() => gone.includes(container.id))
    expect(await stateOf(container.id, next)).toMatchObject({ exit: { code: 5 } })
    stop()
    await remove(container)
  })

  it('reports a container whose monitor and init were killed as killed', async () => {
    const container = await start({})
    const monitor = Number(readFileSync(join(host.directory, 'run/c', container.id, 'conmon.pid'), 'utf8'))
    process.kill(monitor, 'SIGKILL')
    expect(await stateOf(container.id)).toMatchObject({ phase: 'running' })
    process.kill(container.pid, 'SIGKILL')
    expect((await ended(container.id)).exit).toMatchObject({ code: 137, signal: 9 })
    await remove(container)
  })

  it('leaves nothing of a container that cannot be made, and says why', async () => {
    const sandbox = await host.sandbox('bad')
    const wrong: [Partial<ContainerRequest>, RegExp][] = [
      [{ args: [] }, /nothing to run/],
      [{ layerDirectories: [join(host.directory, 'absent')] }, /mount/],
      [{ mounts: [{ hostPath: '/etc', containerPath: '/proc/x', readOnly: true }] }, /over \/proc/],
      [{ mounts: [{ hostPath: '/no/such', containerPath: '/x', readOnly: true }] }, /\/no\/such/],
    ]
    for (const [changes, message] of wrong) {
      await expect(host.driver.startContainer(host.request(sandbox, changes), signal)).rejects.toThrow(message)
    }
    expect(await host.driver.listContainers()).toEqual([])
    await host.driver.removeSandbox('bad')
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  it('keeps a container whose program cannot be started as one that has ended, and says why', async () => {
    writeFileSync(join(host.layer, 'bin/plain'), 'text\n', { mode: 0o644 })
    const limited = (memoryLimitBytes: number): Partial<ContainerRequest> => ({
      resources: { cpuLimitMillis: 0, cpuRequestMillis: 0, memoryLimitBytes, memoryRequestBytes: 0, pidsLimit: 0 },
    })
    const said = (runc: string, crun: string): string => (runtime === 'runc' ? `${RUNC}${runc}` : crun)
    // As runc 1.1.5 and crun 1.8.1 say it.
    const faulty: [Partial<ContainerRequest>, string | RegExp][] = [
      [
        { args: ['sleeps'], tty: true },
        said(
          'exec: "sleeps": executable file not found in $PATH',
          'executable file `sleeps` not found in $PATH: No such file or directory',
        ),
      ],
      [
        { args: ['/bin/nothing'], user: { uid: 1000, gid: 1000, additionalGids: [] } },
        said(
          'exec: "/bin/nothing": stat /bin/nothing: no such file or directory',
          'executable file `/bin/nothing` not found in $PATH: No such file or directory',
        ),
      ],
      [{ args: ['/etc'] }, said('exec: "/etc": permission denied', 'open executable: Operation not permitted')],
      [{ args: ['/bin/plain'] }, said('exec: "/bin/plain": permission denied', 'open executable: Permission denied')],
      [
        { workingDirectory: '/bin/plain' },
        said('error during container init: mkdir /bin/plain: not a directory', 'chdir `/bin/plain`: Not a directory'),
      ],
      // Runtimes themselves need more; which of them notices, and where, is a matter of the moment.
      [limited(4 << 10), /memory limit/],
    ]
    for (const [i, [changes, message]] of faulty.entries()) {
      const podUid = `faulty${i}`
      const request = host.request(await host.sandbox(podUid), changes)
      // The one way and the other.
      const starting = i % 2 === 0 ? host.driver : host.driver.beginContainer?.(request)
      const state =
        starting !== undefined && 'start' in starting
          ? await starting.start(request, signal)
          : await host.driver.startContainer(request, signal)
      expect(state).toMatchObject({ id: request.id, phase: 'exited', attempt: 0 })
      expect(state.exit).toMatchObject({ code: 128, oomKilled: false, reason: 'StartError' })
      if (typeof message === 'string') expect(state.exit?.message).toBe(message)
      else expect(state.exit?.message).toMatch(message)
      // Whoever comes after us still knows, and finds nothing to mend; nothing of it runs.
      const next = await host.again()
      expect(await next.listContainers(podUid)).toEqual([state])
      expect(await next.findDamage?.()).toEqual([])
      expect(host.remains().filter((entry) => entry.startsWith('process'))).toEqual([])
      await expect(host.driver.startContainer(request, signal)).rejects.toMatchObject({ code: 'alreadyExists' })
      await next.removeContainer(request.id)
      await remove({ id: request.id, podUid })
    }
  })

  itOnce('tells a container that was killed before its start from one that its memory limit killed', async () => {
    const resources = {
      ...{ cpuLimitMillis: 0, cpuRequestMillis: 0, memoryLimitBytes: 16 << 20, memoryRequestBytes: 0, pidsLimit: 0 },
    }
    const begin = async (podUid: string) => {
      let go: () => void = () => undefined
      const ready = new Promise<void>((resolve) => {
        go = resolve
      })
      const request = host.request(await host.sandbox(podUid), { ready, resources })
      const starting = host.driver.startContainer(request, signal)
      const record = join(host.directory, 'run/c', request.id, 'started.json')
      const pid: number = await eventually(() => JSON.parse(readFileSync(record, 'utf8')).init.pid)
      return { id: request.id, starting, pid, go }
    }
    const killed = await begin('killed')
    process.kill(killed.pid, 'SIGKILL')
    killed.go()
    await expect(killed.starting).rejects.toMatchObject({ code: 'internal' })
    expect(await stateOf(killed.id)).toBeUndefined()
    await host.driver.removeSandbox('killed')

    const starved = await begin('starved')
    const cgroup = host.driver.cgroupPathOf('starved', starved.id)
    const { hierarchies } = detectCgroups()
    const memory = hierarchies.find(({ controllers }) => controllers.includes('memory')) ?? hierarchies[0]
    const greedy = `echo $$ > ${memory?.mountPoint}${cgroup}/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs=100M count=1`
    await run('sh', ['-c', greedy])
    if (existsSync(`/proc/${starved.pid}`)) process.kill(starved.pid, 'SIGKILL')
    starved.go()
    expect(await starved.starting).toMatchObject({
      phase: 'exited',
      exit: { code: 128, reason: 'StartError', message: expect.stringContaining('memory limit is too low') },
    })
    await remove({ id: starved.id, podUid: 'starved' })
  })

  it('runs a file that turns out to be no program, which then ends by itself', async () => {
    // The runtime has seen a file that may be run; that the kernel will not, it sees only in the last step of the start.
    writeFileSync(join(host.layer, 'bin/garbage'), 'text\n', { mode: 0o755 })
    const container = await start({ args: ['/bin/garbage'] })
    expect((await ended(container.id)).exit).toMatchObject({ code: 1 })
    await eventually(() => expect(host.log(container.id)).toMatch(/exec format error/i))
    await remove(container)
  })

  itOnce('creates nothing, and leaves no monitor, when what the container needs fails', async () => {
    const sandbox = await host.sandbox('needs')
    const monitors = (): string[] =>
      readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(`--cid=drvt-needs-main-0`))
    let tell: (error: Error) => void = () => undefined
    const prerequisites = new Promise<void>((_, fail) => {
      tell = fail
    })
    const starting = host.driver.startContainer(host.request(sandbox, { prerequisites }), signal)
    const over = expect(starting).rejects.toThrow('no volume')
    // It has come up and waits.
    await eventually(() => expect(monitors()).toHaveLength(1))
    tell(new Error('no volume'))
    await over
    expect(monitors()).toEqual([])
    expect(await host.driver.listContainers()).toEqual([])
    await host.driver.removeSandbox('needs')
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  it('begins a container before the rest of it is known, and starts or dismisses it', async () => {
    const { driver } = host
    const sandbox = await host.sandbox('early')
    const request = host.request(sandbox, { terminationMessagePath: '/dev/termination-log' })
    const begin = () => driver.beginContainer?.(request) ?? expect.fail('the driver begins no containers')
    const made = () => existsSync(join(host.directory, 'data/c', request.id, 'rootfs/bin'))

    const dismissed = begin()
    await eventually(() => expect(made()).toBe(true))
    expect(await driver.listContainers('early')).toEqual([])
    // Who looks at the whole node, or comes after us, sees what it is.
    expect(await driver.listContainers()).toMatchObject([{ id: request.id, phase: 'created' }])
    expect(begin).toThrow('already exists')
    await dismissed.dismiss()
    expect(await driver.listContainers()).toEqual([])
    expect(host.remains().filter((entry) => entry.includes(request.id))).toEqual([])
    // One that never came up is dismissed as well.
    await begin().dismiss()

    const begun = begin()
    const state = await begun.start(request, signal)
    expect(state).toMatchObject({ phase: 'running' })
    expect(await driver.listContainers('early')).toEqual([state])
    await remove({ id: request.id, podUid: 'early' })
  })

  itOnce('leaves what was begun to a driver made anew, which removes it', async () => {
    const request = host.request(await host.sandbox('begun'), {})
    const begun = host.driver.beginContainer?.(request)
    await eventually(() => expect(existsSync(join(host.directory, 'data/c', request.id))).toBe(true))
    mkdirSync(join(host.directory, 'run/c/nobodys'))
    const next = await host.again()
    expect(existsSync(join(host.directory, 'run/c/nobodys'))).toBe(false)
    expect(await next.listContainers('begun')).toMatchObject([{ id: request.id, phase: 'created' }])
    await next.removeContainer(request.id)
    await begun?.dismiss()
    await next.removeSandbox('begun')
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('refuses what the kernel could never run, before it is written', async () => {
    const sandbox = await host.sandbox('long')
    const start_ = (changes: object) => host.driver.startContainer(host.request(sandbox, changes), signal)
    const long = `LONG=${'x'.repeat(131_072)}`
    await expect(start_({ env: [long] })).rejects.toThrow(
      'variable LONG takes 131078 bytes; the kernel takes at most 131072',
    )
    const many = Array.from({ length: 40 }, (_, i) => `V${i}=${'x'.repeat(60_000)}`)
    await expect(start_({ env: many })).rejects.toMatchObject({
      code: 'invalid',
      message: /^command and environment take 24/,
    })
    await host.driver.removeSandbox('long')
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('tries again what the disk did not take of a container that runs', async () => {
    let go: () => void = () => undefined
    const ready = new Promise<void>((resolve) => {
      go = resolve
    })
    const request = host.request(await host.sandbox('owed'), { ready })
    const starting = host.driver.startContainer(request, signal)
    const [inMemory, lasting] = ['run/c', 'data/c'].map((name) =>
      join(host.directory, name, request.id, 'started.json'),
    )
    await eventually(() => expect(existsSync(inMemory ?? '')).toBe(true))
    // Where it would write.
    mkdirSync(`${lasting}.new`)
    go()
    expect(await starting).toMatchObject({ phase: 'running' })
    await host.driver.listContainers('owed')
    expect(existsSync(lasting ?? '')).toBe(false)
    rmdirSync(`${lasting}.new`)
    await eventually(() => {
      // A close look at all, as there is every 10 s.
      host.driver.onExit(() => undefined)()
      return existsSync(lasting ?? '')
    })
    await remove({ id: request.id, podUid: 'owed' })
  })

  itOnce('says which file could not be made, and leaves nothing', async () => {
    const sandbox = await host.sandbox('file')
    const logPath = join(host.directory, 'taken/0.log')
    writeFileSync(join(host.directory, 'taken'), '')
    const starting = host.driver.startContainer(host.request(sandbox, { logPath }), signal)
    await expect(starting).rejects.toThrow(`make ${join(host.directory, 'taken')}: File exists`)
    await host.driver.removeSandbox('file')
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('stops making a container when cancelled', async () => {
    const sandbox = await host.sandbox('cancel')
    const cancel = new AbortController()
    const starting = host.driver.startContainer(host.request(sandbox, {}), cancel.signal)
    await eventually(() => readdirSync(join(host.directory, 'data/c')).some((name) => !name.startsWith('.')), {
      intervalMs: 1,
    })
    cancel.abort()
    await starting.catch((error: unknown) => expect(error).toMatchObject({ code: 'cancelled' }))
    await host.driver.removeContainer(host.request(sandbox, {}).id)
    await host.driver.removeSandbox('cancel')
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('refuses an id twice', async () => {
    const container = await start({})
    const request = host.request(await host.sandbox(container.podUid), {})
    await expect(host.driver.startContainer(request, signal)).rejects.toMatchObject({ code: 'alreadyExists' })
    expect(await stateOf(container.id)).toMatchObject({ phase: 'running' })
    await remove(container)
  })

  itOnce('tells half-made containers as created, and removes them at any point', async () => {
    const data = join(host.directory, 'data/c')
    // Died while filling the directory.
    const filled = join(data, '.new-drvt-x')
    mkdirSync(join(filled, 'upper'), { recursive: true })
    // Died before conmon was started, with the overlay mounted.
    const half = join(data, 'drvt-half')
    mkdirSync(half)
    const { prepare, mount } = overlayOf([host.layer])
    await kernelCalls([...prepare, mount], { cwd: half })
    const meta = {
      id: 'drvt-half',
      podUid: 'half',
      name: 'main',
      attempt: 2,
      annotations: {},
      tty: false,
      stdin: false,
    }
    writeFileSync(join(half, 'meta.json'), JSON.stringify(meta))
    // A power cut tore the record.
    mkdirSync(join(data, 'drvt-torn', 'rootfs'), { recursive: true })
    writeFileSync(join(data, 'drvt-torn/meta.json'), '')
    const next = await host.again()
    expect(existsSync(filled)).toBe(false)
    expect(await next.listContainers()).toEqual([
      { id: 'drvt-half', podUid: 'half', name: 'main', attempt: 2, annotations: {}, phase: 'created' },
    ])
    await next.removeContainer('drvt-half')
    // Died after the start, before the disk had its record of it: the one in memory is enough, and is written once more.
    const container = await start({})
    const lasting = join(data, container.id, 'started.json')
    await eventually(() => expect(existsSync(lasting)).toBe(true))
    rmSync(lasting)
    expect(await stateOf(container.id, await host.again())).toMatchObject({ phase: 'running', pid: container.pid })
    await eventually(() => expect(existsSync(lasting)).toBe(true))
    // Died between create and start: the process waits, and must not be taken for a running one.
    for (const path of [lasting, join(host.directory, 'run/c', container.id, 'started.json')]) rmSync(path)
    const other = await host.again()
    expect(await stateOf(container.id, other)).toMatchObject({ phase: 'created' })
    await other.removeContainer(container.id)
    expect(existsSync(`/proc/${container.pid}`)).toBe(false)
    await remove(container)
  })

  it('makes a sandbox again when its pins have gone, and keeps one that is whole', async () => {
    const sandbox = await host.sandbox('pins')
    const inode = () =>
      readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes('/s/pins/'))
    const before = inode()
    expect(await host.sandbox('pins')).toEqual(sandbox)
    expect(inode()).toEqual(before)
    await runOk('umount', [sandbox.netNamespacePath ?? ''])
    expect(await host.sandbox('pins')).toEqual(sandbox)
    expect(inode()).toHaveLength(4)
    expect(await host.driver.listSandboxes()).toEqual([sandbox])
    const up = await runOk('nsenter', [`--net=${sandbox.netNamespacePath}`, 'ip', '-o', 'link', 'show', 'lo'])
    expect(up).toContain('UP')
    await host.driver.removeSandbox('pins')
    await eventually(() => expect(host.remains()).toEqual([]))
  })

  itOnce('takes 127 layers', async () => {
    const layers = Array.from({ length: 126 }, (_, i) => {
      const layer = join(host.directory, 'layers-of-a-long-name', `sha256-${'0'.repeat(56)}${i}`)
      mkdirSync(join(layer, 'etc'), { recursive: true })
      writeFileSync(join(layer, 'etc', 'order'), String(i))
      return layer
    })
    const container = await start({ args: ['/bin/cat', '/etc/order'], layerDirectories: [host.layer, ...layers] })
    await ended(container.id)
    expect(host.log(container.id)).toContain('stdout P 125')
    await remove(container)
  })
})
