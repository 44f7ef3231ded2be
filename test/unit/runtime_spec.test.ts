import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { boundingSet, containerCapabilities } from '../../src/agent/runtime/capabilities.ts'
import { has32BitLoader } from '../../src/agent/runtime/loaders.ts'
import { ociResources, ociSpec, oomScoreAdj, type SpecContext } from '../../src/agent/runtime/oci_spec.ts'
import type { ContainerRequest, ContainerResources } from '../../src/agent/runtime/runtime.ts'
import { seccompProfile } from '../../src/agent/runtime/seccomp.ts'

const ALL = boundingSet('CapBnd:\t000001ffffffffff\n')
const none: ContainerResources = {
  cpuLimitMillis: 0,
  cpuRequestMillis: 0,
  memoryLimitBytes: 0,
  memoryRequestBytes: 0,
  pidsLimit: 0,
}
const context: SpecContext = {
  hostname: 'web-0',
  shmPath: '/run/d/s/p/shm',
  cgroupsPath: '/drover/c/h/p/id',
  swapAccounting: true,
  availableCapabilities: ALL,
  hostDevices: [],
  oomScoreAdjFloor: -1000,
  memoryCapacityBytes: 16e9,
  rootPath: 'rootfs',
  terminationLogPath: '/data/termination-log',
  architecture: 'x64',
  compat32: false,
}
const request: ContainerRequest = {
  id: 'id',
  podUid: 'p',
  name: 'main',
  attempt: 0,
  sandbox: {
    podUid: 'p',
    hostname: 'h',
    netNamespacePath: '/n/net',
    ipcNamespacePath: '/n/ipc',
    utsNamespacePath: '/n/uts',
  },
  layerDirectories: ['/layer'],
  args: ['run'],
  env: ['A=1'],
  workingDirectory: '',
  user: { uid: 1, gid: 2, additionalGids: [] },
  mounts: [],
  resources: none,
  readOnlyRootFilesystem: true,
  privileged: false,
  addCapabilities: [],
  dropCapabilities: [],
  noNewPrivileges: true,
  tty: false,
  stdin: false,
  logPath: '/log',
  annotations: {},
}

describe('the OCI configuration', () => {
  it('joins the pod’s namespaces and makes its own for the rest', () => {
    const types = (changes: Partial<ContainerRequest>) =>
      ociSpec({ ...request, ...changes }, context).linux.namespaces.map(({ type, path }) => `${type}${path ?? ''}`)
    expect(types({})).toEqual(['pid', 'mount', 'cgroup', 'ipc/n/ipc', 'uts/n/uts', 'network/n/net'])
    const { netNamespacePath: _, ...hostNetwork } = request.sandbox
    expect(types({ sandbox: hostNetwork })).not.toContain('network/n/net')
  })

  it('shares processes and IPC with the pod or the host where asked', () => {
    const spec = (changes: Partial<ContainerRequest>) => ociSpec({ ...request, ...changes }, context)
    const types = (changes: Partial<ContainerRequest>) =>
      spec(changes).linux.namespaces.map(({ type, path }) => `${type}${path ?? ''}`)
    expect(types({ sandbox: { ...request.sandbox, pidNamespacePath: '/n/pid' } })).toContain('pid/n/pid')
    expect(types({ hostPid: true, hostIpc: true })).toEqual(['mount', 'cgroup', 'uts/n/uts', 'network/n/net'])
    const shm = (changes: Partial<ContainerRequest>) =>
      spec(changes).mounts.find(({ destination }) => destination === '/dev/shm')?.source
    expect([shm({}), shm({ hostIpc: true })]).toEqual([context.shmPath, '/dev/shm'])
  })

  it('mounts as read-only and as shared as asked, and the root no less shared than what is below', () => {
    const mount = { hostPath: '/h', containerPath: '/m', readOnly: true }
    const options = (more: object) =>
      ociSpec({ ...request, mounts: [{ ...mount, ...more }] }, context).mounts.at(-1)?.options
    expect(options({})).toEqual(['rbind', 'rprivate', 'ro'])
    expect(options({ recursiveReadOnly: true })).toEqual(['rbind', 'rprivate', 'rro'])
    expect(options({ propagation: 'HostToContainer' })).toEqual(['rbind', 'rslave', 'ro'])
    const root = (...propagations: ('HostToContainer' | 'Bidirectional')[]) => {
      const mounts = propagations.map((propagation) => ({ ...mount, propagation }))
      return ociSpec({ ...request, mounts }, context).linux.rootfsPropagation
    }
    expect([root(), root('HostToContainer'), root('HostToContainer', 'Bidirectional')]).toEqual([
      undefined,
      'rslave',
      'rshared',
    ])
  })

  it('completes the environment without overriding it', () => {
    const env = (changes: Partial<ContainerRequest>) => ociSpec({ ...request, ...changes }, context).process.env
    expect(env({})).toEqual([expect.stringMatching(/^PATH=/), 'A=1', 'HOSTNAME=web-0'])
    expect(env({ env: ['PATH=/x', 'HOSTNAME=h', 'TERM=vt100'], tty: true })).toEqual([
      'PATH=/x',
      'HOSTNAME=h',
      'TERM=vt100',
    ])
  })

  it('mounts parents before what lies in them', () => {
    const mount = (containerPath: string) => ({ hostPath: '/h', containerPath, readOnly: false })
    const spec = ociSpec({ ...request, mounts: [mount('/a/b/c'), mount('/a'), mount('/a/b')] }, context)
    expect(spec.mounts.slice(-3).map((one) => one.destination)).toEqual(['/a', '/a/b', '/a/b/c'])
  })

  it('refuses targets that cannot or must not be mounted', () => {
    for (const containerPath of ['relative', '/', '', '/a/../b', '/proc', '/proc/sys']) {
      const mounts = [{ hostPath: '/h', containerPath, readOnly: false }]
      expect(() => ociSpec({ ...request, mounts }, context), containerPath).toThrow(/container main: mount target/)
    }
    expect(() => ociSpec({ ...request, args: [] }, context)).toThrow(/nothing to run/)
    expect(() => ociSpec({ ...request, env: ['A=\0'] }, context)).toThrow(/NUL/)
  })

  it('drops all guards only for privileged containers', () => {
    const guarded = ociSpec(request, context)
    expect(guarded.linux.seccomp).toBeDefined()
    expect(guarded.linux.maskedPaths).toContain('/proc/kcore')
    expect(guarded.linux.resources.devices).toEqual([{ allow: false, access: 'rwm' }])
    const free = ociSpec({ ...request, privileged: true }, context)
    expect(free.linux.seccomp).toBeUndefined()
    expect(free.linux.maskedPaths).toEqual([])
    expect(free.process.capabilities.bounding).toHaveLength(ALL.size)
  })

  it('turns requests and limits into cgroup values', () => {
    expect(ociResources(none, false, true)).toEqual({ devices: [{ allow: false, access: 'rwm' }], cpu: { shares: 2 } })
    const full = {
      cpuLimitMillis: 1500,
      cpuRequestMillis: 500,
      memoryLimitBytes: 1 << 20,
      memoryRequestBytes: 0,
      pidsLimit: 9,
    }
    expect(ociResources(full, false, true)).toMatchObject({
      cpu: { shares: 512, quota: 150_000, period: 100_000 },
      memory: { limit: 1 << 20, swap: 1 << 20 },
      pids: { limit: 9 },
    })
    expect(ociResources(full, false, false).memory).toEqual({ limit: 1 << 20 })
    expect(ociResources({ ...none, cpuLimitMillis: 1 }, false, true).cpu.quota).toBe(1000)
  })

  it('ranks pods for the kernel’s OOM killer, never below what we may set', () => {
    const guaranteed = { ...none, cpuLimitMillis: 1, cpuRequestMillis: 1, memoryLimitBytes: 5, memoryRequestBytes: 5 }
    expect(oomScoreAdj(none, context)).toBe(1000)
    expect(oomScoreAdj({ ...none, memoryRequestBytes: 4e9 }, context)).toBe(750)
    expect(oomScoreAdj(guaranteed, context)).toBe(-997)
    expect(oomScoreAdj(guaranteed, { ...context, oomScoreAdjFloor: 0 })).toBe(0)
    // A pod's class goes before what one of its containers has.
    expect(oomScoreAdj({ ...guaranteed, oomRank: 'byRequest' }, context)).toBe(999)
    expect(oomScoreAdj({ ...none, oomRank: 'byRequest' }, context)).toBe(999)
    expect(oomScoreAdj({ ...none, memoryRequestBytes: 16e9, oomRank: 'byRequest' }, context)).toBe(2)
  })
})

describe('capabilities', () => {
  const grant = (add: string[], drop: string[]) =>
    containerCapabilities({ privileged: false, add, drop, available: ALL })

  it('takes names with and without prefix, in any case', () => {
    expect(grant(['net_admin', 'CAP_SYS_TIME'], ['all'])).toEqual(['CAP_NET_ADMIN', 'CAP_SYS_TIME'])
    expect(grant([], [])).toHaveLength(14)
    expect(grant(['ALL'], ['NET_RAW'])).toHaveLength(ALL.size - 1)
    expect(grant([], ['ALL'])).toEqual([])
  })

  it('drops all after adding all, and names go before both', () => {
    expect(grant(['ALL'], ['ALL'])).toEqual([])
    expect(grant(['all', 'KILL'], ['CAP_ALL'])).toEqual(['CAP_KILL'])
    expect(grant(['ALL', 'KILL', 'CHOWN'], ['ALL', 'CHOWN'])).toEqual(['CAP_KILL'])
  })

  it('never grants what the machine lacks or what is dropped by name', () => {
    const some = fc.subarray([...ALL])
    fc.assert(
      fc.property(some, some, some, (available, add, drop) => {
        const granted = containerCapabilities({ privileged: false, add, drop, available: new Set(available) })
        expect(granted.every((name) => available.includes(name) && !drop.includes(name))).toBe(true)
      }),
    )
  })
})

describe('the seccomp profile', () => {
  it('opens up with capabilities and with nothing else', () => {
    const allowed = (capabilities: string[]) => seccompProfile('x64', capabilities, false)?.syscalls[0]?.names ?? []
    for (const name of [
      'mount',
      'unshare',
      'keyctl',
      'add_key',
      'bpf',
      'kexec_load',
      'userfaultfd',
      'io_uring_setup',
      'reboot',
    ]) {
      expect(allowed([]), name).not.toContain(name)
    }
    for (const name of ['read', 'openat', 'execve', 'futex', 'epoll_wait', 'getrandom'])
      expect(allowed([])).toContain(name)
    // As Docker's users have it: debuggers and shared memory between ranks work among a container's own processes.
    for (const name of ['ptrace', 'process_vm_readv', 'process_vm_writev']) expect(allowed([])).toContain(name)
    for (const name of ['kcmp', 'pidfd_getfd', 'mbind', 'perf_event_open', 'syslog', 'open_by_handle_at', 'iopl']) {
      expect(allowed([]), name).not.toContain(name)
    }
    expect(allowed(['CAP_SYS_PTRACE'])).toEqual(expect.arrayContaining(['kcmp', 'pidfd_getfd']))
    expect(allowed(['CAP_SYS_ADMIN'])).toEqual(expect.arrayContaining(['mount', 'unshare', 'setns']))
    expect(allowed(['CAP_SYS_ADMIN'])).not.toContain('kexec_load')
    expect(seccompProfile('mips', [], false)).toBeUndefined()
  })

  it('covers the 32-bit mode only where an image can use it', () => {
    expect(seccompProfile('x64', [], false)?.architectures).toEqual(['SCMP_ARCH_X86_64'])
    expect(seccompProfile('x64', [], true)?.architectures).toEqual(['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'])
    expect(seccompProfile('arm64', [], true)?.architectures).toEqual(['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'])
  })

  it('leaves out only what programs of 64 bits cannot call', () => {
    const allowed = (compat32: boolean): readonly string[] =>
      seccompProfile('x64', [], compat32)?.syscalls[0]?.names ?? []
    const without = new Set(allowed(false))
    const left = allowed(true).filter((name) => !without.has(name))
    // Another name of a call that there is, or one that came before it (the kernel's asm/unistd_64.h has none of these).
    const old =
      /^(_llseek|mmap2|waitpid|signal|sig(action|procmask|pending|suspend|return)|_newselect|socketcall|send|recv|ipc|nice|ugetrlimit|arm_.*|breakpoint|cacheflush|set_tls)$/
    const sized = /^(.*_time64|clock_(gettime|adjtime)64|timer(fd)?_[gs]ettime64|.*(id|ids|groups|chown)32)$/
    const files = /^(sendfile|fcntl|[lf]?stat|fstatat|f?statfs|f?truncate|fadvise64_)64$/
    expect(left.filter((name) => ![old, sized, files].some((kind) => kind.test(name)))).toEqual([])
    expect(left.length).toBeGreaterThan(60)
    for (const name of [
      'pread64',
      'pwrite64',
      'getdents64',
      'prlimit64',
      'fadvise64',
      'newfstatat',
      'sendto',
      'wait4',
    ]) {
      expect(without).toContain(name)
    }
  })

  it('finds the 32-bit loader in any layer, linked or not, and nothing outside the layers', () => {
    const root = mkdtempSync(join(tmpdir(), 'drvt-loaders-'))
    try {
      const layer = (name: string, ...files: string[]): string => {
        for (const file of files) {
          mkdirSync(dirname(join(root, name, file)), { recursive: true })
          symlinkSync('i386-linux-gnu/ld-2.36.so', join(root, name, file))
        }
        return join(root, name)
      }
      const bare = layer('bare', 'lib64/ld-linux-x86-64.so.2')
      expect(has32BitLoader([bare], 'x64')).toBe(false)
      expect(has32BitLoader([], 'x64')).toBe(false)
      expect(has32BitLoader([bare, layer('old', 'lib/ld-linux.so.2')], 'x64')).toBe(true)
      expect(has32BitLoader([layer('merged', 'usr/lib/ld-linux.so.2'), bare], 'x64')).toBe(true)
      expect(has32BitLoader([layer('musl', 'lib/ld-musl-i386.so.1')], 'arm64')).toBe(false)
      expect(has32BitLoader([layer('arm', 'lib/ld-linux-armhf.so.3')], 'arm64')).toBe(true)
    } finally {
      rmSync(root, { recursive: true, force: true })
    }
  })
})
