import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ContainerRequest, Sandbox } from '../../src/agent/runtime/runtime.ts'
import { describeRuntimes } from '../support/describe_runtimes.ts'
import { eventually } from '../support/eventually.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const signal = new AbortController().signal

describeRuntimes('what a container may see and do', (runtime, itOnce) => {
  let host: RuntimeHost
  let sandbox: Sandbox
  let count = 0
  beforeAll(async () => {
    host = await createRuntimeHost(runtime)
    sandbox = await host.sandbox('iso')
  })
  afterAll(() => host.destroy())

  /** Runs a script in a container to its end; returns its output lines without the log's prefix. */
  async function output(script: string, changes: Partial<ContainerRequest> = {}): Promise<string> {
    const id = `drvt-iso-${count++}`
    const logPath = join(host.directory, 'logs', `${id}.log`)
    const request = host.request(sandbox, { args: ['/bin/sh', '-c', script], id, logPath, ...changes })
    await host.driver.startContainer(request, signal)
    await eventually(async () => {
      const state = (await host.driver.listContainers()).find((one) => one.id === id)
      return state?.phase === 'exited'
    })
    const text = host.log(id).replace(/^\S+ std(out|err) [FP] /gm, '')
    await host.driver.removeContainer(id)
    return text.trim()
  }

  it('runs as the user and in the directory it was given', async () => {
    const user = { uid: 1000, gid: 1001, additionalGids: [5, 7] }
    expect(await output('id -u; id -g; id -G; pwd', { user, workingDirectory: '/work/deep' })).toBe(
      '1000\n1001\n1001 5 7\n/work/deep',
    )
    expect(await output('grep CapEff /proc/self/status', { user })).toMatch(/0000000000000000$/)
  })

  it('gives the default capabilities, and what is added or dropped', async () => {
    const effective = async (changes: Partial<ContainerRequest>): Promise<bigint> =>
      BigInt(`0x${(await output('grep CapEff /proc/self/status', changes)).split(/\s+/)[1]}`)
    expect((await effective({})).toString(16)).toBe('a80425fb')
    expect(await effective({ dropCapabilities: ['ALL'], addCapabilities: ['NET_BIND_SERVICE'] })).toBe(1n << 10n)
    expect((await effective({ addCapabilities: ['NET_ADMIN'] })) & (1n << 12n)).not.toBe(0n)
  })

  it('has a seccomp profile that refuses what could break out, and lets programs work', async () => {
    const refused = await output('unshare -U true; mount -t tmpfs x /tmp; grep Seccomp: /proc/self/status', {
      user: { uid: 1000, gid: 1000, additionalGids: [] },
    })
    expect(refused).toMatch(/unshare.*Operation not permitted/)
    expect(refused).toMatch(/mount.*(Operation not permitted|permission denied)/)
    expect(refused).toMatch(/Seccomp:\s+2/)
    expect(
      await output('echo a | sed s/a/b/; touch /tmp/x && mv /tmp/x /tmp/y && ls /tmp; nc -h 2>&1 | head -1; date +%Y'),
    ).toMatch(/^b\ny\n/)
    expect(await output('grep NoNewPrivs /proc/self/status')).toMatch(/1$/)
    expect(await output('grep NoNewPrivs /proc/self/status', { noNewPrivileges: false })).toMatch(/0$/)
  })

  itOnce('has no profile, or one of its own, where it asks for that', async () => {
    expect(await output('grep Seccomp: /proc/self/status', { seccomp: 'unconfined' })).toMatch(/Seccomp:\s+0/)
    const refused = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 }
    const seccomp = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [refused] }
    expect(await output('(touch /tmp/a && mkdir /tmp/d; ls /tmp) 2>&1', { seccomp })).toMatch(
      /Operation not supported\na$/,
    )
    await expect(output('true', { seccomp: { defaultAction: 'SCMP_ACT_NONSENSE' } })).rejects.toThrow(/seccomp|action/i)
  })

  itOnce("sets kernel parameters of the pod's namespaces, and no others", async () => {
    const sysctls = { 'net.ipv4.ip_unprivileged_port_start': '77', 'kernel.shm_rmid_forced': '1' }
    const files = Object.keys(sysctls).map((name) => `/proc/sys/${name.replaceAll('.', '/')}`)
    expect(await output(`cat ${files.join(' ')}`, { sysctls })).toBe('77\n1')
    await expect(output('true', { sysctls: { 'vm.swappiness': '1' } })).rejects.toThrow(/vm.swappiness/)
  })

  itOnce('refuses system calls that need no privilege but reach too far', async () => {
    // The host's Perl, mounted in, to make system calls by number.
    const calls =
      process.arch === 'arm64' ? { keyctl: 219, bpf: 280, getpid: 172 } : { keyctl: 250, bpf: 321, getpid: 39 }
    const script = Object.entries(calls).map(
      ([name, n]) => `print "${name}=", syscall(${n}, 0, 0, 0), "/", $!+0, "\\n"; $! = 0;`,
    )
    const mounts = ['/usr', '/lib', '/lib64']
      .filter((path) => existsSync(path))
      .map((path) => ({ hostPath: path, containerPath: path, readOnly: true }))
    const text = await output('', { mounts, args: ['/usr/bin/perl', '-e', script.join('')] })
    expect(text).toBe('keyctl=-1/1\nbpf=-1/1\ngetpid=1/0')
  })

  itOnce('sees its own namespaces only, with the pod sharing network, IPC and host name', async () => {
    const text = await output(
      'echo $$; hostname; ls /sys/class/net; cat /proc/sys/kernel/core_pattern > /dev/null; echo 1 > /proc/sys/vm/swappiness',
    )
    expect(text).toMatch(/^1\ndrvt-host\nlo\n/)
    expect(text).toMatch(/Read-only file system/)
    expect(hostname()).not.toBe('drvt-host')
    await output('echo shared > /dev/shm/note')
    expect(await output('cat /dev/shm/note')).toBe('shared')
    expect(await output('wc -c < /proc/keys; wc -c < /proc/timer_list; ls /sys/firmware | wc -l')).toBe('0\n0\n0')
  })

  it('mounts what it is given, read-only where asked', async () => {
    const directory = join(host.directory, 'volume')
    for (const name of ['sub', 'inner']) mkdirSync(join(directory, name), { recursive: true })
    writeFileSync(join(directory, 'file'), 'content\n')
    const mounts = [
      { hostPath: join(directory, 'sub'), containerPath: '/mnt/v/inner', readOnly: false },
      { hostPath: directory, containerPath: '/mnt/v', readOnly: true },
      { hostPath: join(directory, 'file'), containerPath: '/etc/config', readOnly: true },
    ]
    const text = await output('cat /mnt/v/file /etc/config; touch /mnt/v/x; touch /mnt/v/inner/y; ls /mnt/v/inner', {
      mounts,
    })
    expect(text).toMatch(/^content\ncontent$/m)
    expect(text).toMatch(/x: Read-only file system/)
    expect(text).toMatch(/^y$/m)
  })

  it('cannot write to a read-only root, but to its mounts', async () => {
    const text = await output('touch /x; touch /tmp/x; echo ok > /dev/shm/r && cat /dev/shm/r', {
      readOnlyRootFilesystem: true,
    })
    expect(text).toMatch(/\/x: Read-only file system/)
    expect(text).toMatch(/^ok$/m)
  })

  it('is held to its limits', async () => {
    const resources = {
      cpuLimitMillis: 250,
      cpuRequestMillis: 100,
      memoryLimitBytes: 32 << 20,
      memoryRequestBytes: 16 << 20,
      pidsLimit: 20,
    }
    const files = (names: string): string => `cd /sys/fs/cgroup && cat ${names} 2>/dev/null`
    const script = `${files('cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares memory/memory.limit_in_bytes pids/pids.max')} || ${files('cpu.max cpu.weight memory.max pids.max')}`
    const values = (await output(script, { resources })).split(/\s+/)
    // Shares of the first version are thousandths of 1024; weights of the second what runtimes make of those.
    expect([
      `25000 100000 102 ${32 << 20} 20`,
      `25000 100000 4 ${32 << 20} 20`,
      `25000 100000 17 ${32 << 20} 20`,
    ]).toContain(values.join(' '))
    // A bound that is written is not yet one that holds: what forks without end is stopped.
    const bomb = 'i=0; while [ $i -lt 60 ]; do i=$((i+1)); sleep 5 & done; echo all'
    expect(await output(bomb, { resources })).toMatch(/fork/)
    expect(await output(bomb)).toBe('all')
  })

  it('gets everything when privileged', async () => {
    const changes = { privileged: true, noNewPrivileges: false }
    // The kernel's log is no device of a container that is not.
    const script = `mkdir /mnt; mount -t tmpfs x /mnt && echo mounted
      mknod /tmp/kmsg c 1 11; ( : < /tmp/kmsg ) && echo opened
      ( : >> /proc/sys/kernel/core_pattern ) && echo writable
      grep -e Seccomp: -e NoNewPrivs: -e CapEff: /proc/self/status`
    const text = await output(script, changes)
    expect(text).toMatch(/^mounted\nopened\nwritable$/m)
    expect(text).toMatch(/Seccomp:\s+0/)
    expect(text).toMatch(/NoNewPrivs:\s+0/)
    const effective = (of: string): bigint => BigInt(`0x${/CapEff:\s+(\w+)/.exec(of)?.[1]}`)
    expect(effective(text)).toBe(effective(readFileSync('/proc/self/status', 'utf8')))
    expect(await output(script)).not.toMatch(/mounted|opened|writable/)
  })

  itOnce('hands back its termination message, bounded', async () => {
    const id = 'drvt-iso-message'
    const request = host.request(sandbox, {
      id,
      args: ['/bin/sh', '-c', 'echo farewell > /dev/termination-log; sleep 1000'],
      user: { uid: 1000, gid: 1000, additionalGids: [] },
      terminationMessagePath: '/dev/termination-log',
    })
    await host.driver.startContainer(request, signal)
    await eventually(async () => expect(await host.driver.terminationMessage(id)).toBe('farewell\n'))
    await host.driver.execSync(id, ['/bin/sh', '-c', 'yes | head -c 10000 > /dev/termination-log'], 5000)
    expect(await host.driver.terminationMessage(id)).toHaveLength(4096)
    await host.driver.removeContainer(id)
    expect(await host.driver.terminationMessage(id)).toBe('')
  })
})
