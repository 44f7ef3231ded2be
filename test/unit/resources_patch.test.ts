import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { deploymentKind } from '../../src/api/deployment.ts'
import type { KindDefinition } from '../../src/api/kind.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { serviceKind } from '../../src/api/service.ts'
import { isObject, jsonEqual } from '../../src/base/json.ts'
import { applyJsonPatch } from '../../src/resources/json_patch.ts'
import { applyPatch, mergePatch } from '../../src/resources/patch.ts'
import { applyStrategicPatch } from '../../src/resources/strategic_patch.ts'

const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.boolean(),
    fc.integer(),
    fc.string(),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('object'),
  ),
  object: fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), tie('value'), { maxKeys: 4 }),
}))

/** The merge patch that turns one document into another (RFC 7386 says which exist). */
function difference(from: unknown, to: unknown): unknown {
  if (!isObject(from) || !isObject(to)) return to
  const patch: Record<string, unknown> = {}
  for (const key of Object.keys(from)) if (!(key in to)) patch[key] = null
  for (const [key, value] of Object.entries(to))
    if (!jsonEqual(from[key], value)) patch[key] = difference(from[key], value)
  return patch
}

describe('merge patch', () => {
  it('passes the examples of RFC 7386', () => {
    const cases: [unknown, unknown, unknown][] = [
      [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
      [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
      [{ a: 'b' }, { a: null }, {}],
      [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
      [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
      [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
      [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
      [
        ['a', 'b'],
        ['c', 'd'],
        ['c', 'd'],
      ],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [[1, 2], { a: 'b', c: null }, { a: 'b' }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    ]
    for (const [target, patch, result] of cases) expect(mergePatch(target, patch)).toEqual(result)
  })

  it('turns any document into any other, twice as well as once, and changes neither', () => {
    fc.assert(
      fc.property(json.object, json.object, (from, to) => {
        const before = structuredClone(from)
        const patch = difference(from, to)
        const once = mergePatch(from, patch)
        expect(once).toEqual(to)
        expect(mergePatch(once, patch)).toEqual(to)
        expect(from).toEqual(before)
      }),
    )
  })

  it('cannot reach a prototype', () => {
    const patch: unknown = JSON.parse('{"__proto__":{"polluted":1},"data":{"__proto__":{"polluted":1}}}')
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: {} }
    for (const type of ['merge', 'strategic'] as const) {
      const result = applyPatch(configMapKind as KindDefinition, map, type, patch)
      expect((result as { polluted?: number }).polluted).toBeUndefined()
      expect((result.data as { polluted?: number }).polluted).toBeUndefined()
    }
    expect(() => applyJsonPatch(map, [{ op: 'add', path: '/__proto__/x', value: 1 }])).toThrow()
    expect(() => applyJsonPatch(map, [{ op: 'add', path: '/data/__proto__', value: 1 }])).toThrow()
  })
})

describe('JSON patch', () => {
  it('passes the examples of RFC 6902', () => {
    const cases: [unknown, unknown[], unknown][] = [
      [{ foo: 'bar' }, [{ op: 'add', path: '/baz', value: 'qux' }], { foo: 'bar', baz: 'qux' }],
      [{ foo: ['bar', 'baz'] }, [{ op: 'add', path: '/foo/1', value: 'qux' }], { foo: ['bar', 'qux', 'baz'] }],
      [{ foo: ['bar'] }, [{ op: 'add', path: '/foo/-', value: ['x'] }], { foo: ['bar', ['x']] }],
      [{ baz: 'qux', foo: 'bar' }, [{ op: 'remove', path: '/baz' }], { foo: 'bar' }],
      [{ foo: ['bar', 'qux', 'baz'] }, [{ op: 'remove', path: '/foo/1' }], { foo: ['bar', 'baz'] }],
      [{ baz: 'qux' }, [{ op: 'replace', path: '/baz', value: 'boo' }], { baz: 'boo' }],
      [
        { foo: { bar: 'baz', waldo: 'fred' }, qux: { corge: 'grault' } },
        [{ op: 'move', from: '/foo/waldo', path: '/qux/thud' }],
        { foo: { bar: 'baz' }, qux: { corge: 'grault', thud: 'fred' } },
      ],
      [
        { foo: ['all', 'grass', 'cows', 'eat'] },
        [{ op: 'move', from: '/foo/1', path: '/foo/3' }],
        { foo: ['all', 'cows', 'eat', 'grass'] },
      ],
      [{ '/': 9, '~1': 10 }, [{ op: 'test', path: '/~01', value: 10 }], { '/': 9, '~1': 10 }],
      [{ a: { b: 1 } }, [{ op: 'copy', from: '/a', path: '/c' }], { a: { b: 1 }, c: { b: 1 } }],
    ]
    for (const [document, patch, result] of cases) expect(applyJsonPatch(document, patch)).toEqual(result)
  })

  it('refuses what does not fit, and says where', () => {
    const refused: [unknown, RegExp][] = [
      [[{ op: 'test', path: '/a', value: 2 }], /testing value \/a failed/],
      [[{ op: 'remove', path: '/no' }], /there is nothing at \/no/],
      [[{ op: 'add', path: '/list/7', value: 1 }], /there is nothing at \/list\/7/],
      [[{ op: 'replace', path: '/list/01', value: 1 }], /there is nothing/],
      [[{ op: 'jump', path: '/a' }], /unknown op "jump"/],
      [[{ op: 'add', path: '/a' }], /has no value/],
      [[{ op: 'move', from: '/o', path: '/o/p' }], /cannot be moved into itself/],
      [[{ op: 'add', path: 'a', value: 1 }], /no JSON pointer/],
      [{ op: 'add' }, /must be a list/],
    ]
    for (const [patch, message] of refused) {
      expect(() => applyJsonPatch({ a: 1, list: [1], o: {} }, patch)).toThrow(message)
    }
  })

  it('undoes an addition by a removal', () => {
    fc.assert(
      fc.property(json.object, fc.constantFrom('x', 'y/z', '~'), json.value, (document, key, value) => {
        const path = `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
        const patch = [
          { op: 'add', path, value },
          { op: 'test', path, value },
          { op: 'remove', path },
        ]
        expect(applyJsonPatch(document, patch)).toEqual(document)
      }),
    )
  })
})

const pod = (spec: Record<string, unknown>, metadata: Record<string, unknown> = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', ...metadata },
  spec,
})
const patchPod = (object: ReturnType<typeof pod>, patch: unknown) => applyStrategicPatch(object, patch, podKind.schema)

describe('strategic merge patch', () => {
  const containers = [
    {
      name: 'a',
      image: 'a:1',
      env: [
        { name: 'X', value: '1' },
        { name: 'Y', value: '2' },
      ],
      args: ['1', '2'],
    },
    { name: 'b', image: 'b:1' },
  ]

  it('joins lists by their key and replaces lists that have none', () => {
    const patch = {
      spec: {
        containers: [
          {
            name: 'a',
            env: [
              { name: 'Y', value: '3' },
              { name: 'Z', value: '4' },
            ],
            args: ['3'],
          },
        ],
      },
    }
    expect(patchPod(pod({ containers }), patch).spec).toEqual({
      containers: [
        {
          name: 'a',
          image: 'a:1',
          env: [
            { name: 'X', value: '1' },
            { name: 'Y', value: '3' },
            { name: 'Z', value: '4' },
          ],
          args: ['3'],
        },
        containers[1],
      ],
    })
  })

  it('does as its directives say', () => {
    const cases: [string, Record<string, unknown>, unknown][] = [
      ['delete an item', { containers: [{ $patch: 'delete', name: 'a' }] }, { containers: [containers[1]] }],
      [
        'replace a list',
        { containers: [{ name: 'c', image: 'c' }, { $patch: 'replace' }] },
        { containers: [{ name: 'c', image: 'c' }] },
      ],
      [
        'replace an item',
        { containers: [{ $patch: 'replace', name: 'a', image: 'z' }] },
        { containers: [{ name: 'a', image: 'z' }, containers[1]] },
      ],
      [
        'delete a field',
        { containers: [{ name: 'a', env: null, args: null }] },
        { containers: [{ name: 'a', image: 'a:1' }, containers[1]] },
      ],
      [
        'order',
        { '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }] },
        { containers: [containers[1], containers[0]] },
      ],
      [
        'order with an addition',
        {
          '$setElementOrder/containers': [{ name: 'n' }, { name: 'a' }, { name: 'b' }],
          containers: [{ name: 'n', image: 'n' }],
        },
        { containers: [{ name: 'n', image: 'n' }, ...containers] },
      ],
    ]
    for (const [what, spec, result] of cases) expect(patchPod(pod({ containers }), { spec }).spec, what).toEqual(result)
  })

  it('keeps what another wrote in its place when it orders the rest', () => {
    const item = (name: string) => ({ name, image: name })
    const before = pod({ containers: ['injected', 'a', 'b'].map(item) })
    const patch = { spec: { '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }] } }
    const { containers: after } = patchPod(before, patch).spec as { containers: { name: string }[] }
    expect(after.map(({ name }) => name)).toEqual(['injected', 'b', 'a'])
  })

  it('keeps only what $retainKeys names', () => {
    const deployment = { spec: { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } } } }
    const patch = { spec: { strategy: { $retainKeys: ['type'], type: 'Recreate' } } }
    expect(applyStrategicPatch(deployment, patch, deploymentKind.schema)).toEqual({
      spec: { strategy: { type: 'Recreate' } },
    })
  })

  it('treats finalizers as a set', () => {
    const before = pod({ containers }, { finalizers: ['a/a', 'b/b'] })
    const patch = { metadata: { '$deleteFromPrimitiveList/finalizers': ['a/a'], finalizers: ['c/c', 'b/b'] } }
    expect(patchPod(before, patch).metadata).toMatchObject({ finalizers: ['b/b', 'c/c'] })
  })

  it('joins service ports by port and labels by name', () => {
    const service = { metadata: { labels: { a: '1' } }, spec: { ports: [{ port: 80, targetPort: 1 }] } }
    const patch = { metadata: { labels: { b: '2' } }, spec: { ports: [{ port: 80, targetPort: 2 }, { port: 81 }] } }
    expect(applyStrategicPatch(service, patch, serviceKind.schema)).toEqual({
      metadata: { labels: { a: '1', b: '2' } },
      spec: { ports: [{ port: 80, targetPort: 2 }, { port: 81 }] },
    })
  })

  it('refuses an item without its key', () => {
    expect(() => patchPod(pod({ containers }), { spec: { containers: [{ image: 'x' }] } })).toThrow(
      /spec.containers\[0\]: does not contain the merge key "name"/,
    )
  })

  const name = fc.constantFrom('a', 'b', 'c')
  const list = fc.uniqueArray(fc.record({ name, image: fc.string({ maxLength: 3 }) }), {
    selector: (item) => item.name,
  })

  it('is idempotent, leaves its input alone, and keeps keys unique', () => {
    fc.assert(
      fc.property(
        list,
        list,
        fc.option(fc.shuffledSubarray(['a', 'b', 'c']), { nil: undefined }),
        (before, change, order) => {
          const object = pod({ containers: before })
          const copy = structuredClone(object)
          const spec: Record<string, unknown> = { containers: change }
          if (order !== undefined) spec['$setElementOrder/containers'] = order.map((each) => ({ name: each }))
          const once = patchPod(object, { spec })
          expect(object).toEqual(copy)
          expect(patchPod(once as typeof object, { spec })).toEqual(once)
          const { containers: after } = once.spec as { containers: { name: string; image: string }[] }
          expect(new Set(after.map((item) => item.name)).size).toBe(after.length)
          for (const item of change) expect(after).toContainEqual(item)
          for (const item of before) expect(after.map((other) => other.name)).toContain(item.name)
          if (order !== undefined) {
            const named = after.map((item) => item.name).filter((each) => order.includes(each))
            expect(named).toEqual(order.filter((each) => named.includes(each)))
          }
        },
      ),
    )
  })
})
