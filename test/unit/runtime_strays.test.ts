import { describe, expect, test } from 'vitest'
import { findStrays, type HostView } from '../../src/agent/runtime/strays.ts'
import { type Damage, inBoth } from '../../src/base/damage.ts'

const POD = 'pod-1'
const namespaces = { net: 11, ipc: 12, uts: 13 }
const clean: HostView = {
  containers: [{ id: 'a', podUid: POD, pid: 100 }],
  unreadable: [],
  sandboxes: [{ podUid: POD, pins: namespaces, hasShm: true, lived: namespaces }],
  monitors: [{ id: 'a', pid: 90 }],
  cgroups: [{ podUid: POD, containerIds: ['a'] }],
  mounts: [{ id: 'a', path: '/data/c/a/rootfs' }],
  userMounts: [],
  userRanges: [],
  holders: [{ podUid: POD, pid: 80, startTicks: '1', isOwn: true }],
  files: [{ id: 'a', path: '/run/exits/a' }],
}
const found = (changes: Partial<HostView>) => findStrays({ ...clean, ...changes })

describe('what nobody explains', () => {
  test('a clean host has none, an empty one neither', () => {
    expect(found({})).toEqual([])
    expect(
      found({ containers: [], sandboxes: [], holders: [], monitors: [], cgroups: [], mounts: [], files: [] }),
    ).toEqual([])
  })

  test("a pod's cgroup in which no container is, while it has a sandbox, is not one", () => {
    const empty = { containers: [], monitors: [], mounts: [], files: [] }
    expect(found({ ...empty, cgroups: [{ podUid: POD, containerIds: [] }] })).toEqual([])
  })

  test.each<[string, Partial<HostView>, object]>([
    [
      'a monitor without container',
      { monitors: [{ id: 'b', pid: 5 }, ...clean.monitors] },
      { type: 'monitor', pid: 5 },
    ],
    ['a second monitor', { monitors: [...clean.monitors, { id: 'a', pid: 91 }] }, { type: 'monitor', pid: 91 }],
    ['a mount', { mounts: [{ id: 'b', path: '/data/c/b/rootfs' }] }, { type: 'mount', path: '/data/c/b/rootfs' }],
    ['mounts of own users', { userMounts: [{ id: 'b', path: '/u/b' }] }, { type: 'userMounts', id: 'b' }],
    ['a range of user ids', { userRanges: [{ podUid: 'x', path: '/u/ids/1' }] }, { type: 'file', path: '/u/ids/1' }],
    [
      'a holder of processes',
      { holders: [{ podUid: 'x', pid: 81, startTicks: '2', isOwn: false }] },
      { type: 'holder', holder: { pid: 81, startTicks: '2' } },
    ],
    ["a pod's cgroup", { cgroups: [{ podUid: 'x', containerIds: ['y'] }] }, { type: 'cgroup', podUid: 'x' }],
    [
      "a container's cgroup",
      { cgroups: [{ podUid: POD, containerIds: ['a', 'b'] }] },
      { type: 'cgroup', podUid: POD, containerId: 'b' },
    ],
    ['a file', { files: [{ id: 'b', path: '/run/exits/b' }] }, { type: 'file', path: '/run/exits/b' }],
    ['a directory', { unreadable: ['.new-b'] }, { type: 'directory', name: '.new-b' }],
    [
      'a pin that is gone',
      { sandboxes: [{ podUid: POD, pins: { ...namespaces, net: undefined }, hasShm: true, lived: namespaces }] },
      { type: 'pin', namespace: 'net', pid: 100 },
    ],
    [
      'a pin of another namespace',
      { sandboxes: [{ podUid: POD, pins: { ...namespaces, uts: 99 }, hasShm: true, lived: namespaces }] },
      { type: 'pin', namespace: 'uts' },
    ],
    [
      'shared memory',
      { sandboxes: [{ podUid: POD, pins: namespaces, hasShm: false, lived: namespaces }] },
      { type: 'shm', podUid: POD },
    ],
  ])('%s', (_, changes, stray) => {
    expect(found(changes)).toEqual([expect.objectContaining(stray)])
  })

  test('a sandbox in which nothing runs is made whole by the next start', () => {
    const sandboxes = [{ podUid: POD, pins: { net: undefined }, hasShm: false, lived: undefined }]
    expect(found({ sandboxes, containers: [{ id: 'a', podUid: POD }] })).toEqual([])
  })
})

test('what passes between two looks is no damage', () => {
  const damage = (subject: string): Damage => ({ part: 'files', subject, problem: 'p', mend: async () => undefined })
  expect(inBoth([damage('a'), damage('b')], [damage('b'), damage('c')]).map(({ subject }) => subject)).toEqual(['b'])
})
