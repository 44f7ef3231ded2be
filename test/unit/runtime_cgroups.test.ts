/** Where our own cgroup is, and what a pod's is given, on hosts of every mode. */
import { describe, expect, it } from 'vitest'
import { type Cgroups, type Hierarchy, ownCgroup } from '../../src/agent/runtime/cgroups.ts'
import { podCgroupFiles } from '../../src/agent/runtime/pod_cgroup.ts'

const v1 = (mountPoint: string, ...controllers: string[]): Hierarchy => ({ version: 1, mountPoint, controllers })
const v2: Hierarchy = { version: 2, mountPoint: '/sys/fs/cgroup', controllers: [] }

describe('our own cgroup', () => {
  it.each<[string, readonly Hierarchy[], string, string | undefined]>([
    ['v2', [v2], '0::/system.slice/drover.service\n', '/sys/fs/cgroup/system.slice/drover.service'],
    ['v1', [v1('/c/cpu', 'cpu', 'cpuacct')], '4:cpu,cpuacct:/a\n1:name=systemd:/b\n', '/c/cpu/a'],
    ['v1, by name', [v1('/c/systemd', 'name=systemd')], '4:cpu:/a\n1:name=systemd:/b\n', '/c/systemd/b'],
    ['hybrid', [v1('/c/memory', 'memory'), v2], '0::/\n4:memory:/m\n', '/sys/fs/cgroup/'],
    ['at the root', [v1('/c/pids', 'pids')], '8:pids:/\n', '/c/pids/'],
    ['outside of our cgroup namespace', [v2], '0::/../other\n', undefined],
    ['in no hierarchy that is mounted', [v1('/c/cpu', 'cpu')], '8:pids:/x\n', undefined],
    ['without any text', [v2], '', undefined],
  ])('%s', (_title, hierarchies, text, directory) => {
    expect(ownCgroup(hierarchies, text)).toBe(directory)
  })
})

describe("what a pod's cgroup is given", () => {
  const mixed = { cpuRequestMillis: 1500, cpuLimitMillis: 2000, memoryLimitBytes: 1 << 20 }
  const least = { cpuRequestMillis: 0, cpuLimitMillis: 0, memoryLimitBytes: 0 }
  const separate = [
    v1('/c/cpu', 'cpu'),
    v1('/c/acct', 'cpuacct'),
    v1('/c/memory', 'memory'),
    v1('/c/s', 'name=systemd'),
  ]
  const joined = [v1('/c/cpu,cpuacct', 'cpu', 'cpuacct'), v1('/c/memory', 'memory')]
  const valuesOf = (mode: Cgroups['mode'], hierarchies: Hierarchy[], resources: typeof least) =>
    Object.fromEntries(podCgroupFiles({ mode, hierarchies }, '/d/p', resources).map(({ path, value }) => [path, value]))

  it.each<[string, Cgroups['mode'], Hierarchy[], typeof least, Record<string, string>]>([
    [
      'v1',
      'v1',
      separate,
      mixed,
      {
        '/c/cpu/d/p/cpu.shares': '1536',
        '/c/cpu/d/p/cpu.cfs_quota_us': '200000',
        '/c/memory/d/p/memory.limit_in_bytes': '1048576',
      },
    ],
    ['v1, asking for nothing', 'v1', separate, least, { '/c/cpu/d/p/cpu.shares': '2' }],
    ['v1, controllers together', 'v1', joined, least, { '/c/cpu,cpuacct/d/p/cpu.shares': '2' }],
    ['v1, without the controllers', 'v1', [v1('/c/pids', 'pids')], mixed, {}],
    [
      'hybrid: where the runtime has its containers',
      'hybrid',
      [...separate, v2],
      least,
      { '/c/cpu/d/p/cpu.shares': '2' },
    ],
    [
      'v2',
      'v2',
      [v2],
      mixed,
      {
        '/sys/fs/cgroup/d/p/cpu.weight': '59',
        '/sys/fs/cgroup/d/p/cpu.max': '200000 100000',
        '/sys/fs/cgroup/d/p/memory.max': '1048576',
      },
    ],
    ['v2, asking for nothing', 'v2', [v2], least, { '/sys/fs/cgroup/d/p/cpu.weight': '1' }],
    [
      'v2, the most that there is',
      'v2',
      [v2],
      { ...least, cpuRequestMillis: 1e6 },
      { '/sys/fs/cgroup/d/p/cpu.weight': '10000' },
    ],
    [
      'v2, the least quota that the kernel takes',
      'v2',
      [v2],
      { ...least, cpuLimitMillis: 1 },
      { '/sys/fs/cgroup/d/p/cpu.weight': '1', '/sys/fs/cgroup/d/p/cpu.max': '1000 100000' },
    ],
  ])('%s', (_title, mode, hierarchies, resources, values) => {
    expect(valuesOf(mode, hierarchies, resources)).toEqual(values)
  })
})
