import { describe, expect, it } from 'vitest'
import { type Finding, findingLine, isOlder, judge, type Observation } from '../../src/local/requirements.ts'

const fit: Observation = {
  root: true,
  nodeVersion: 'v22.1.0',
  programs: {
    etcd: 'etcd Version: 3.5.20',
    runc: 'runc version 1.3.3',
    crun: 'crun version 1.8.1',
    conmon: 'conmon version 2.1.6',
    nft: 'nftables v1.0.6',
    ip: 'ip utility, iproute2-6.1.0',
    bridge: 'bridge utility, iproute2-6.1.0',
    nsenter: 'nsenter from util-linux 2.38.1',
    unshare: 'unshare from util-linux 2.38.1',
    flock: 'flock from util-linux 2.38.1',
    mount: 'mount from util-linux 2.38.1',
    busybox: 'BusyBox v1.35.0',
    conntrack: 'conntrack v1.4.7',
    setfattr: 'setfattr 2.5.1',
  },
  kernel: '6.1.0',
  filesystems: new Set(['overlay']),
  cgroup: { mode: 'v2', controllers: new Set(['cpu', 'memory', 'pids']) },
  vxlan: { ok: true, detail: 'works' },
  nftables: { ok: true, detail: 'works' },
  bridgeFilter: undefined,
  freeDiskBytes: 10 * 2 ** 30,
  availableMemoryBytes: 2 * 2 ** 30,
}

const notOk = (seen: Observation): Finding[] => judge(seen).filter((finding) => finding.level !== 'ok')

describe('judge', () => {
  it('finds nothing on a fit machine', () => {
    expect(notOk(fit)).toEqual([])
  })

  it.each<[string, Partial<Observation>, 'warn' | 'fail', RegExp]>([
    ['root', { root: false }, 'fail', /sudo/],
    ['Node.js', { nodeVersion: 'v20.18.1' }, 'fail', /20\.19/],
    ['runc', { programs: { ...fit.programs, runc: undefined } }, 'fail', /apt-get install runc/],
    ['runc', { programs: { ...fit.programs, runc: 'runc version 1.1.5+ds1' } }, 'warn', /1\.2\.8/],
    ['runc', { programs: { ...fit.programs, runc: 'runc version 1.3.1' } }, 'warn', /1\.3\.3/],
    ['etcd', { programs: { ...fit.programs, etcd: 'etcd Version: 3.4.23' } }, 'warn', /3\.4\.25/],
    ['cgroups', { cgroup: { mode: 'none', controllers: new Set() } }, 'fail', /mount/],
    ['cgroups', { cgroup: { mode: 'v2', controllers: new Set(['cpu']) } }, 'warn', /cgroup_enable/],
    [
      'crun',
      {
        cgroup: {
          mode: 'hybrid',
          controllers: fit.cgroup.controllers,
          unified: { mountPoint: '/sys/fs/cgroup/unified', controllers: 'hugetlb misc' },
        },
      },
      'warn',
      /mount -t cgroup -o hugetlb .* mount -t cgroup -o misc .*restart the agent/,
    ],
    ['overlayfs', { filesystems: new Set() }, 'fail', /modprobe overlay/],
    ['vxlan', { vxlan: { ok: false, detail: 'Operation not supported' } }, 'fail', /modprobe vxlan/],
    ['disk', { freeDiskBytes: 1 }, 'warn', /free some space/],
  ])('%s %#', (name, lack, level, mend) => {
    const findings = notOk({ ...fit, ...lack })
    expect(findings.map((finding) => finding.name)).toEqual([name])
    expect(findings[0]?.level).toBe(level)
    expect(findings[0]?.mend).toMatch(mend)
    expect(findingLine(findings[0] as Finding)).toContain(`mend:  ${findings[0]?.mend}`)
  })

  it('says of crun what it is that it refuses, and what that costs; without it there is nothing to refuse', () => {
    const unified = { mountPoint: '/sys/fs/cgroup/unified', controllers: 'hugetlb' }
    const hybrid = { mode: 'hybrid' as const, controllers: fit.cgroup.controllers, unified }
    const [found] = notOk({ ...fit, cgroup: hybrid })
    expect(found?.detail).toContain('hugetlb at /sys/fs/cgroup/unified')
    expect(found?.cost).toContain('runtime class crun')
    expect(notOk({ ...fit, cgroup: { ...hybrid, unified: { ...unified, controllers: '' } } })).toEqual([])
    const [missing] = notOk({ ...fit, cgroup: hybrid, programs: { ...fit.programs, crun: undefined } })
    expect(missing?.detail).toBe('not found')
  })

  it('compares versions by their numbers', () => {
    expect(isOlder('runc version 1.2.10', '1.2.8')).toBe(false)
    expect(isOlder('v20.9.0', '20.19')).toBe(true)
    expect(isOlder('3.4.25', '3.4.25')).toBe(false)
  })
})
