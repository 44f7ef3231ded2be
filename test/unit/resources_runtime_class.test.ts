import { afterEach, describe, expect, it } from 'vitest'
import type { Pod, PodSpec } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { type RuntimeClass, runtimeClassKind } from '../../src/api/runtimeclass.ts'
import { ensureBuiltins } from '../../src/resources/builtins.ts'
import { podRequests } from '../../src/scheduler/requests.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources | undefined
afterEach(async () => {
  await test?.stop()
})

const classOf = (name: string, rest: Partial<RuntimeClass> = {}): RuntimeClass => ({
  apiVersion: 'node.k8s.io/v1',
  kind: 'RuntimeClass',
  metadata: { name },
  handler: 'crun',
  ...rest,
})

async function run(...classes: RuntimeClass[]) {
  test = await runResources({})
  const { resources } = test
  for (const each of classes) await resources.create(runtimeClassKind, each)
  const create = (spec: Partial<PodSpec>, name = 'p') =>
    resources.create<Pod>(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default' },
      spec: { containers: [{ name: 'c', image: 'x:1', resources: { requests: { cpu: '100m' } } }], ...spec },
    })
  return { resources, create }
}

describe('a pod that names a runtime class', () => {
  it('is refused when there is no such class', async () => {
    const { create } = await run()
    await expect(create({ runtimeClassName: 'gvisor' })).rejects.toMatchObject({
      code: 'forbidden',
      message: 'pods "p" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
    })
    await expect(create({ runtimeClassName: 'Not A Name' })).rejects.toThrow('spec.runtimeClassName: Invalid value')
  })

  it('takes the overhead of its class, which the scheduler counts, and no other', async () => {
    const podFixed = { cpu: '50m', memory: '16Mi' }
    const { create } = await run(classOf('heavy', { overhead: { podFixed } }), classOf('light'))
    const pod = await create({ runtimeClassName: 'heavy' })
    expect(pod.spec.overhead).toEqual(podFixed)
    expect(podRequests(pod)).toMatchObject({ cpu: 150, memory: 16 * 2 ** 20 })
    await expect(create({ runtimeClassName: 'heavy', overhead: { cpu: '0.05', memory: '16384Ki' } }, 'same'))
      .resolves //
      .toBeDefined()
    await expect(create({ runtimeClassName: 'heavy', overhead: { cpu: '1' } }, 'other')).rejects.toThrow(
      "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    )
    for (const spec of [{}, { runtimeClassName: 'light' }]) {
      await expect(create({ ...spec, overhead: { cpu: '1' } }, 'none')).rejects.toThrow(
        'pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead',
      )
    }
  })

  it('goes where its class runs, and bears what its class bears', async () => {
    const toleration = { key: 'fast', operator: 'Exists' as const }
    const scheduling = { nodeSelector: { 'runtime.drover.dev/crun': 'true' }, tolerations: [toleration] }
    const { create } = await run(classOf('fast', { scheduling }))
    const own = { key: 'own', operator: 'Exists' as const }
    const spec = { runtimeClassName: 'fast', nodeSelector: { zone: 'a' }, tolerations: [own, toleration] }
    const pod = await create(spec)
    expect(pod.spec.nodeSelector).toEqual({ zone: 'a', 'runtime.drover.dev/crun': 'true' })
    expect(pod.spec.tolerations).toEqual([own, toleration])
    expect((await create({ runtimeClassName: 'fast' }, 'q')).spec.tolerations).toEqual([toleration])
    const against = { runtimeClassName: 'fast', nodeSelector: { 'runtime.drover.dev/crun': 'false' } }
    await expect(create(against, 'r')).rejects.toThrow(
      'pod rejected: conflict: runtimeClass.scheduling.nodeSelector[runtime.drover.dev/crun] = true; pod.spec.nodeSelector[runtime.drover.dev/crun] = false',
    )
  })
})

describe('a runtime class', () => {
  it('keeps its handler', async () => {
    const { resources } = await run(classOf('fast'))
    const change = (handler: string) =>
      resources.modify<RuntimeClass>(runtimeClassKind, '', 'fast', 'all', (object) => ({ ...object, handler }))
    await expect(change('runc')).rejects.toThrow('handler: Invalid value: field is immutable')
  })

  it.each<[string, Partial<RuntimeClass>]>([
    ['handler', { handler: 'No/Handler' }],
    ['overhead.podFixed[cpu]', { overhead: { podFixed: { cpu: '-1' } } }],
    ['scheduling.nodeSelector', { scheduling: { nodeSelector: { 'a b': 'c' } } }],
  ])('is refused for its %s', async (path, wrong) => {
    const { resources } = await run()
    await expect(resources.create(runtimeClassKind, classOf('wrong', wrong))).rejects.toMatchObject({
      code: 'invalid',
      fields: [expect.objectContaining({ path })],
    })
  })

  it('stands in every cluster for runc and crun', async () => {
    const { resources } = await run()
    await ensureBuiltins(resources)
    await ensureBuiltins(resources)
    expect(resources.list(runtimeClassKind).map(({ metadata, handler }) => [metadata.name, handler])).toEqual([
      ['crun', 'crun'],
      ['runc', 'runc'],
    ])
  })
})
