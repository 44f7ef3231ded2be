import { describe, expect, it } from 'vitest'
import { configMapData, payload } from '../../src/agent/volumes/payload.ts'
import type { ConfigMap } from '../../src/api/configmap.ts'

const data = new Map([
  ['a', Buffer.from('1')],
  ['b', Buffer.from('2')],
])
const plain = { fsGroup: false }

function paths(files: ReadonlyMap<string, { mode: number }>): Record<string, string> {
  return Object.fromEntries([...files].map(([path, file]) => [path, file.mode.toString(8)]))
}

describe('files of a ConfigMap or Secret volume', () => {
  it('takes all keys with the default mode, or the items with theirs', () => {
    expect(paths(payload({}, data, 'x', plain))).toEqual({ a: '644', b: '644' })
    expect(paths(payload({ defaultMode: 0o400 }, data, 'x', plain))).toEqual({ a: '400', b: '400' })
    expect(paths(payload({ defaultMode: 0o400 }, data, 'x', { fsGroup: true }))).toEqual({ a: '440', b: '440' })
    const items = [{ key: 'b', path: 'deep/down/b.conf', mode: 0o600 }]
    expect(paths(payload({ items }, data, 'x', plain))).toEqual({ 'deep/down/b.conf': '600' })
  })

  it('names what is missing, unless it is optional', () => {
    const items = [{ key: 'c', path: 'c' }]
    expect(() => payload({}, undefined, 'ConfigMap ns/x', plain)).toThrow('ConfigMap ns/x not found')
    expect(() => payload({ items }, data, 'ConfigMap ns/x', plain)).toThrow('ConfigMap ns/x has no key "c"')
    expect(payload({ optional: true }, undefined, 'x', plain).size).toBe(0)
    expect(payload({ optional: true, items }, data, 'x', plain).size).toBe(0)
  })

  it('refuses paths that leave the volume or touch the writer’s own names', () => {
    for (const path of ['../x', 'a/../../x', '/etc/passwd', '..data', '..data/x', 'a//b', '', './a']) {
      expect(() => payload({ items: [{ key: 'a', path }] }, data, 'x', plain), path).toThrow(/item path/)
    }
  })

  it('joins text and binary data of a ConfigMap', () => {
    const map = { data: { text: 'ü' }, binaryData: { bytes: 'AP8=' } } as unknown as ConfigMap
    const found = configMapData(map)
    expect(found.get('text')).toEqual(Buffer.from('ü'))
    expect(found.get('bytes')).toEqual(Buffer.from([0, 255]))
  })
})
