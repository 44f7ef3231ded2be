/** Server-side apply: who owns what, conflicts, and what goes when nobody applies it any more. */
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { type ConfigMap, configMapKind } from '../../src/api/configmap.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import type { KindDefinition } from '../../src/api/kind.ts'
import type { KubeObject, Stored } from '../../src/api/meta.ts'
import { type Service, serviceKind } from '../../src/api/service.ts'
import type { DroverError } from '../../src/base/errors.ts'
import { difference, intersection, parseFieldSet, pathsOf, pathText, union } from '../../src/resources/field_set.ts'
import { type ManagedEntry, parseEntries } from '../../src/resources/managed_fields.ts'
import type { ApplyOptions, Part } from '../../src/resources/resources.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const running: TestResources[] = []
async function run(): Promise<TestResources['resources']> {
  const made = await runResources()
  running.push(made)
  return made.resources
}
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop()
})

const as = (name: string, more: Partial<ApplyOptions> = {}): ApplyOptions => ({
  manager: { name, subresource: '' },
  ...more,
})

const configMap = (data?: Record<string, string>, metadata: object = {}): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c', namespace: 'default', ...metadata },
  ...(data === undefined ? {} : { data }),
})

interface PodPart {
  replicas?: number
  containers: object[]
}

const deployment = ({ replicas, containers }: PodPart): Deployment =>
  ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace: 'default', labels: { app: 'web' } },
    spec: {
      ...(replicas === undefined ? {} : { replicas }),
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: { containers } },
    },
  }) as unknown as Deployment

const entries = (object: Stored<KubeObject>): ManagedEntry[] => (object.metadata.managedFields ?? []) as ManagedEntry[]

/** `manager/operation[/subresource]: paths`. */
function owners(object: Stored<KubeObject>): Record<string, string[]> {
  const found: Record<string, string[]> = {}
  for (const { manager, operation, subresource, fieldsV1 } of entries(object)) {
    const key = [manager, operation, ...(subresource === undefined ? [] : [subresource])].join('/')
    found[key] = [...pathsOf(fieldsV1)].map(pathText).sort()
  }
  return found
}

async function refusal(work: Promise<unknown>): Promise<DroverError> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toMatchObject({ name: 'DroverError' })
  return error as DroverError
}

describe('server-side apply', () => {
  it('makes an object, does nothing the second time, and owns what it said and no more', async () => {
    const resources = await run()
    const config = deployment({
      replicas: 2,
      containers: [{ name: 'c', image: 'img:1', ports: [{ containerPort: 80 }] }],
    })
    const first = await resources.apply(deploymentKind, config, 'main', as('me'))
    expect(first.created).toBe(true)
    expect(first.object.spec.template.spec.containers[0]?.ports).toEqual([{ containerPort: 80, protocol: 'TCP' }])
    const c = '.spec.template.spec.containers[name="c"]'
    expect(owners(first.object)).toEqual({
      'me/Apply': [
        '.metadata.labels.app',
        '.spec.replicas',
        '.spec.selector',
        c,
        `${c}.image`,
        `${c}.name`,
        `${c}.ports[containerPort=80,protocol="TCP"]`,
        `${c}.ports[containerPort=80,protocol="TCP"].containerPort`,
        '.spec.template.metadata.labels.app',
      ].sort(),
    })
    const again = await resources.apply(deploymentKind, config, 'main', as('me'))
    expect(again).toMatchObject({ created: false })
    expect(again.object.metadata.resourceVersion).toBe(first.object.metadata.resourceVersion)
  })

  it('refuses what another manager set otherwise, naming it and the field, unless forced', async () => {
    const resources = await run()
    const made = deployment({ replicas: 2, containers: [{ name: 'c', image: 'img:1' }] })
    await resources.create(deploymentKind, made, { manager: { name: 'kubectl-create', subresource: '' } })
    const config = deployment({ replicas: 5, containers: [{ name: 'c', image: 'img:2' }] })
    const error = await refusal(resources.apply(deploymentKind, config, 'main', as('me')))
    expect(error.code).toBe('conflict')
    const image = '.spec.template.spec.containers[name="c"].image'
    expect(error.message).toMatch(
      /^Apply failed with 2 conflicts: conflicts with "kubectl-create" using apps\/v1 at \S+Z:\n- .spec.replicas\n- /,
    )
    expect(error.fields.map(({ path, reason }) => [path, reason])).toEqual([
      ['.spec.replicas', 'Conflict'],
      [image, 'Conflict'],
    ])
    const one = deployment({ replicas: 5, containers: [{ name: 'c', image: 'img:1' }] })
    expect((await refusal(resources.apply(deploymentKind, one, 'main', as('me')))).message).toMatch(
      /^Apply failed with 1 conflict: conflict with "kubectl-create" using apps\/v1 at \S+: .spec.replicas$/,
    )
    const { object } = await resources.apply(deploymentKind, config, 'main', as('me', { force: true }))
    expect(object.spec.replicas).toBe(5)
    expect(owners(object)['kubectl-create/Update']).not.toContain('.spec.replicas')
    expect(owners(object)['me/Apply']).toContain('.spec.replicas')
    expect(owners(object)['kubectl-create/Update'], 'what both say the same is shared').toContain('.spec.selector')
  })

  it('removes what is applied no more, with its defaults, but for what others own', async () => {
    const resources = await run()
    const both = [
      { name: 'a', image: 'img:1', env: [{ name: 'X', value: '1' }] },
      { name: 'b', image: 'img:1' },
    ]
    await resources.apply(deploymentKind, deployment({ replicas: 3, containers: both }), 'main', as('me'))
    const other = deployment({ containers: [{ name: 'a', env: [{ name: 'X', value: '1' }] }] })
    await resources.apply(deploymentKind, other, 'main', as('other'))
    const less = deployment({ containers: [{ name: 'a', image: 'img:1' }] })
    const { object } = await resources.apply(deploymentKind, less, 'main', as('me'))
    expect(object.spec.template.spec.containers).toMatchObject([{ name: 'a', env: [{ name: 'X', value: '1' }] }])
    expect(object.spec.template.spec.containers).toHaveLength(1)
    expect(object.spec.replicas, 'back to the default').toBe(1)
    const least = deployment({ containers: [{ name: 'a' }] })
    const end = await resources.apply(deploymentKind, least, 'main', as('other'))
    expect(end.object.spec.template.spec.containers[0]?.env ?? []).toEqual([])
  })

  it('keeps the order of the config and the place of what it does not name', async () => {
    const resources = await run()
    const env = (...names: string[]) => names.map((name) => ({ name, value: name }))
    const config = (...names: string[]): Deployment =>
      deployment({ containers: [{ name: 'c', image: 'i', env: env(...names) }] })
    await resources.apply(deploymentKind, config('A', 'B', 'C'), 'main', as('one'))
    const { object } = await resources.apply(deploymentKind, config('N', 'C', 'A'), 'main', as('two'))
    expect(object.spec.template.spec.containers[0]?.env?.map(({ name }) => name)).toEqual(['N', 'B', 'C', 'A'])
    const twice = await refusal(resources.apply(deploymentKind, config('A', 'A'), 'main', as('one')))
    expect(twice.fields).toMatchObject([{ reason: 'Duplicate' }])
  })

  it('follows updates and patches of clients, of sub-resources too', async () => {
    const resources = await run()
    const config = deployment({ replicas: 2, containers: [{ name: 'c', image: 'img:1' }] })
    await resources.apply(deploymentKind, config, 'main', as('me'))
    const scaler = { manager: { name: 'kubectl', subresource: 'scale' } }
    const scale = (found: Deployment): Deployment => ({ ...found, spec: { ...found.spec, replicas: 4 } })
    const scaled = await resources.modify(deploymentKind, 'default', 'web', 'main', scale, scaler)
    expect(owners(scaled)['kubectl/Update/scale']).toEqual(['.spec.replicas'])
    expect(owners(scaled)['me/Apply']).not.toContain('.spec.replicas')
    const conflict = await refusal(resources.apply(deploymentKind, config, 'main', as('me')))
    expect(conflict.message).toMatch(/conflict with "kubectl" with subresource "scale" using apps\/v1/)
    const patch = { metadata: { labels: { app: null, more: 'x' } } }
    const patched = await resources.patch(deploymentKind, 'default', 'web', 'main', 'merge', patch, as('p'))
    expect(owners(patched)['p/Update']).toEqual(['.metadata.labels.more'])
    expect(owners(patched)['me/Apply']).not.toContain('.metadata.labels.app')
    const json = [{ op: 'replace', path: '/metadata/managedFields', value: [{}] }]
    const reset = await resources.patch(deploymentKind, 'default', 'web', 'main', 'json', json, as('p'))
    expect(reset.metadata.managedFields).toBeUndefined()
  })

  it('gives a client’s field to the control plane when a controller changes it, and tracks nothing else of controllers', async () => {
    const resources = await run()
    const config = deployment({ replicas: 2, containers: [{ name: 'c', image: 'img:1' }] })
    await resources.apply(deploymentKind, config, 'main', as('me'))
    const change =
      (replicas: number, note: string) =>
      (found: Deployment): Deployment => ({
        ...found,
        metadata: { ...found.metadata, annotations: { 'x.dev/note': note } },
        spec: { ...found.spec, replicas },
      })
    const noted = await resources.modify(deploymentKind, 'default', 'web', 'main', change(2, 'a'))
    expect(Object.keys(owners(noted))).toEqual(['me/Apply'])
    const turned = await resources.modify(deploymentKind, 'default', 'web', 'main', change(7, 'a'))
    expect(owners(turned)['drover/Update']).toEqual(['.spec.replicas'])
    expect((await refusal(resources.apply(deploymentKind, config, 'main', as('me')))).message).toContain('"drover"')
    const plain = await resources.create(configMapKind, configMap({ a: 'b' }))
    expect(plain.metadata.managedFields).toBeUndefined()
    const first = await resources.apply(configMapKind, configMap({ b: 'c' }), 'main', as('me'))
    expect(owners(first.object)).toEqual({
      'before-first-apply/Update': ['.data.a'],
      'me/Apply': ['.data.b'],
    })
  })

  it('applies to the status alone through its sub-resource', async () => {
    const resources = await run()
    const config = deployment({ replicas: 2, containers: [{ name: 'c', image: 'img:1' }] })
    await resources.apply(deploymentKind, { ...config, status: { replicas: 9 } }, 'main', as('me'))
    const status = async (value: object, part: Part, name: string) =>
      resources.apply(deploymentKind, { ...config, spec: { ...config.spec, replicas: 8 }, status: value }, part, {
        manager: { name, subresource: part === 'status' ? 'status' : '' },
      })
    const { object } = await status({ readyReplicas: 3 }, 'status', 's')
    expect(object).toMatchObject({ spec: { replicas: 2 }, status: { readyReplicas: 3 } })
    expect(owners(object)['s/Apply/status']).toEqual(['.status.readyReplicas'])
    const condition = { type: 'X', status: 'True' }
    const next = await status({ conditions: [condition] }, 'status', 's')
    expect(next.object.status).toEqual({ conditions: [condition] })
  })

  it('dry-runs, and refuses what cannot be meant', async () => {
    const resources = await run()
    const dry = await resources.apply(configMapKind, configMap({ a: 'b' }), 'main', as('me', { dryRun: true }))
    expect(dry.created).toBe(true)
    expect(resources.get(configMapKind, 'default', 'c')).toBeUndefined()
    const { object } = await resources.apply(configMapKind, configMap({ a: 'b' }), 'main', as('me'))
    const preview = await resources.apply(configMapKind, configMap({ a: 'c' }), 'main', as('me', { dryRun: true }))
    expect(preview.object.data).toEqual({ a: 'c' })
    expect(resources.get(configMapKind, 'default', 'c')?.data).toEqual({ a: 'b' })
    const apply = (metadata: object, name = 'me') =>
      resources.apply(configMapKind, configMap({ a: 'b' }, metadata), 'main', as(name))
    expect((await refusal(apply({ managedFields: [{}] }))).message).toContain('managedFields must be nil')
    expect((await refusal(apply({ resourceVersion: '1' }))).code).toBe('conflict')
    expect((await refusal(apply({ uid: 'u' }))).code).toBe('conflict')
    expect((await refusal(apply({ name: 'new', uid: 'u' }))).code).toBe('conflict')
    expect((await apply({ resourceVersion: object.metadata.resourceVersion })).created).toBe(false)
    const strict = as('me', { fieldValidation: 'Strict' })
    const odd = { ...configMap({ a: 'b' }), colour: 'red' } as ConfigMap
    expect((await refusal(resources.apply(configMapKind, odd, 'main', strict))).message).toContain(
      'unknown field "colour"',
    )
  })

  it('keys ports by their protocol’s default', async () => {
    const resources = await run()
    const service = (ports: object[]): Service =>
      ({ apiVersion: 'v1', kind: 'Service', metadata: { name: 's', namespace: 'default' }, spec: { ports } }) as Service
    const apply = (ports: object[]) =>
      resources.apply(serviceKind as KindDefinition as typeof serviceKind, service(ports), 'main', as('me'))
    await apply([{ name: 'a', port: 80 }])
    const { object } = await apply([{ name: 'a', port: 80, protocol: 'TCP', targetPort: 8080 }])
    expect(object.spec.ports).toEqual([{ name: 'a', port: 80, protocol: 'TCP', targetPort: 8080 }])
  })

  it('holds under any sequence of managers: a key is there while somebody applies it', {
    timeout: 30_000,
  }, async () => {
    const step = fc.record({
      manager: fc.constantFrom('a', 'b', 'c'),
      keys: fc.uniqueArray(fc.constantFrom('k', 'l', 'm', 'n'), { minLength: 0 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
        const { resources, stop } = await runResources()
        const applied = new Map<string, readonly string[]>()
        for (const { manager, keys } of steps) {
          const data = Object.fromEntries(keys.map((key) => [key, 'same']))
          applied.set(manager, keys)
          const { object } = await resources.apply(configMapKind, configMap(data), 'main', as(manager))
          expect(Object.keys(object.data ?? {}).sort()).toEqual([...new Set([...applied.values()].flat())].sort())
        }
        await stop()
      }),
      { numRuns: 30 },
    )
  })
})

const leaves = fc.dictionary(fc.constantFrom('f:a', 'f:b', 'k:{"n":1}', 'v:1'), fc.constant({}))
const tree = fc.dictionary(fc.constantFrom('f:a', 'f:b', 'f:c'), fc.oneof(fc.constant({ '.': {}, 'f:x': {} }), leaves))

describe('sets of fields', () => {
  const paths = (set: object): string[] => [...pathsOf(parseFieldSet(set) ?? {})].map((path) => path.join(' ')).sort()

  it('are sets', () => {
    fc.assert(
      fc.property(tree, tree, (a, b) => {
        const [inA, inB] = [new Set(paths(a)), new Set(paths(b))]
        expect(paths(union(a, b))).toEqual([...new Set([...inA, ...inB])].sort())
        expect(paths(intersection(a, b))).toEqual([...inA].filter((path) => inB.has(path)).sort())
        expect(paths(difference(a, b))).toEqual([...inA].filter((path) => !inB.has(path)).sort())
        const under = (path: string): boolean => [...inB].some((top) => path === top || path.startsWith(`${top} `))
        expect(paths(difference(a, b, true))).toEqual([...inA].filter((path) => !under(path)).sort())
      }),
    )
  })

  it('are refused when they are none', () => {
    const given = (fieldsV1: unknown) => [{ manager: 'm', operation: 'Apply', apiVersion: 'v1', fieldsV1 }]
    expect(parseEntries(given({ 'f:a': { '.': {} } }))).toHaveLength(1)
    expect(parseEntries([{}])).toEqual([])
    expect(parseEntries([])).toBeUndefined()
    for (const bad of [{ a: {} }, { 'f:a': 1 }, { 'k:{': {} }, [], 'f:a']) {
      expect(() => parseEntries(given(bad)), JSON.stringify(bad)).toThrow(/fieldsV1/)
    }
    expect(() => parseEntries([1])).toThrow(/must be an object/)
    expect(() => parseEntries([{ manager: 'm', operation: 'Steal' }])).toThrow(/operation/)
  })
})
