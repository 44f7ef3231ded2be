/** Where our own cgroup is, on hosts of every mode. */
import { describe, expect, it } from 'vitest'
import { type Hierarchy, ownCgroup } from '../../src/agent/runtime/cgroups.ts'

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
