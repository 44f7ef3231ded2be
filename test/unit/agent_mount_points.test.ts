import { describe, expect, it } from 'vitest'
import { nestedMounts } from '../../src/agent/pod/mount_points.ts'

const mounts = (...paths: string[]) =>
  paths.map((containerPath) => ({ containerPath, hostPath: `/host${containerPath}`, readOnly: false }))

describe('mounts inside what a container may not write', () => {
  it.each<[string, string[], string[], string | undefined, [string, string][]]>([
    ['none where nothing is', ['/a', '/a/b'], [], undefined, []],
    ['what lies in one', ['/a', '/a/b/c', '/ab'], ['/a'], undefined, [['/host/a', 'b/c']]],
    ['of the nearest mount alone', ['/a', '/a/b', '/a/b/c'], ['/a'], undefined, [['/host/a', 'b']]],
    ['not of one that lies in something else', ['/a', '/a/b', '/a/b/c'], ['/a/b'], undefined, [['/host/a/b', 'c']]],
    ['whatever slashes are written', ['/a/', '/a//b/'], ['/a/'], undefined, [['/host/a/', 'b']]],
    ['the last words too', ['/a', '/x'], ['/a'], '/a/last', [['/host/a', 'last']]],
  ])('%s', (_, paths, written, terminationMessagePath, expected) => {
    const last = terminationMessagePath === undefined ? {} : { terminationMessagePath }
    const found = nestedMounts({ mounts: mounts(...paths), ...last }, new Set(written))
    expect(found.map(({ outerPath, path }) => [outerPath, path])).toEqual(expected)
  })
})
