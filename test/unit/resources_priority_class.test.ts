import { afterEach, describe, expect, it } from 'vitest'
import type { Pod, PodSpec } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { type PriorityClass, priorityClassKind } from '../../src/api/priorityclass.ts'
import { ensureBuiltins } from '../../src/resources/builtins.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources | undefined
afterEach(async () => {
  await test?.stop()
})

const classOf = (name: string, value: number, rest: Partial<PriorityClass> = {}): PriorityClass => ({
  apiVersion: 'scheduling.k8s.io/v1',
  kind: 'PriorityClass',
  metadata: { name },
  value,
  ...rest,
})

async function run(...classes: PriorityClass[]) {
  test = await runResources({})
  const { resources } = test
  await ensureBuiltins(resources)
  for (const each of classes) await resources.create(priorityClassKind, each)
  let pods = 0
  const create = async (spec: Partial<PodSpec>) => {
    const made = await resources.create<Pod>(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `p${pods++}`, namespace: 'default' },
      spec: { containers: [{ name: 'c', image: 'x:1' }], ...spec },
    })
    const { priority, priorityClassName } = made.spec
    return { priority, priorityClassName }
  }
  return { resources, create }
}

describe('the priority of a pod', () => {
  it('is that of its class, which must be there and agree with a number that the pod says itself', async () => {
    const { create } = await run(classOf('high', 1000))
    const high = { priority: 1000, priorityClassName: 'high' }
    expect(await create({ priorityClassName: 'high' })).toEqual(high)
    expect(await create(high)).toEqual(high)
    await expect(create({ ...high, priority: 999 })).rejects.toMatchObject({
      code: 'forbidden',
      message: 'pods "p2" is forbidden: its priority is 999, and that of its class high 1000: leave it out',
    })
    await expect(create({ priorityClassName: 'low' })).rejects.toMatchObject({
      code: 'forbidden',
      message: 'pods "p3" is forbidden: no PriorityClass with name low was found',
    })
  })

  it('is that of the default class where it names none, and nothing where there is no default', async () => {
    const { resources, create } = await run(classOf('usual', 5, { globalDefault: true }), classOf('high', 1000))
    const usual = { priority: 5, priorityClassName: 'usual' }
    expect(await create({})).toEqual(usual)
    expect(await create({ priorityClassName: '' })).toEqual(usual)
    expect(await create({ priorityClassName: 'high' })).toMatchObject({ priority: 1000 })
    await resources.delete(priorityClassKind, '', 'usual')
    expect(await create({})).toEqual({ priority: undefined, priorityClassName: undefined })
  })

  it('may be its own without a class, but not what is for the system', async () => {
    const { create } = await run(classOf('usual', 5, { globalDefault: true }))
    expect(await create({ priority: 1_000_000_000 })).toEqual({ priority: 1_000_000_000, priorityClassName: undefined })
    await expect(create({ priority: 1_000_000_001 })).rejects.toThrow('may be at most 1000000000 without')
    expect(await create({ priorityClassName: 'system-node-critical' })).toMatchObject({ priority: 2_000_001_000 })
    expect(await create({ priorityClassName: 'system-cluster-critical' })).toMatchObject({ priority: 2_000_000_000 })
  })
})

describe('a priority class', () => {
  it.each<[string, PriorityClass, string]>([
    ['above what users may have', classOf('x', 1_000_000_001), 'value: Forbidden: must be at most 1000000000'],
    ['by a name of the system', classOf('system-mine', 5), 'names with "system-" are the system\'s'],
    ['that is no number', classOf('x', 1.5), 'value: Invalid value'],
    ['by no name', classOf('X_Y', 1), 'metadata.name: Invalid value: must be a DNS subdomain'],
  ])('%s is refused', async (_, priorityClass, message) => {
    const { resources } = await run()
    await expect(resources.create(priorityClassKind, priorityClass)).rejects.toThrow(message)
  })

  it('of the system cannot be deleted, any other can', async () => {
    const { resources } = await run(classOf('high', 1000))
    for (const name of ['system-cluster-critical', 'system-node-critical']) {
      await expect(resources.delete(priorityClassKind, '', name)).rejects.toMatchObject({
        code: 'forbidden',
        message: `priorityclasses.scheduling.k8s.io "${name}" is forbidden: this is a system priority class and cannot be deleted`,
      })
      expect(resources.get(priorityClassKind, '', name)?.metadata.deletionTimestamp).toBeUndefined()
    }
    await resources.delete(priorityClassKind, '', 'high')
    expect(resources.get(priorityClassKind, '', 'high')).toBeUndefined()
  })

  it('keeps its value and its preemption policy, and is the only default', async () => {
    const { resources } = await run(classOf('usual', 5, { globalDefault: true }), classOf('high', 1000))
    const change = (name: string, rest: Partial<PriorityClass>) =>
      resources.modify<PriorityClass>(priorityClassKind, '', name, 'all', (object) => ({ ...object, ...rest }))
    await expect(change('high', { value: 7 })).rejects.toThrow('value: Forbidden: may not be changed in an update')
    // What is not said means PreemptLowerPriority.
    await expect(change('high', { preemptionPolicy: 'Never' })).rejects.toThrow('preemptionPolicy: Forbidden: may not')
    expect((await change('high', { preemptionPolicy: 'PreemptLowerPriority' })).value).toBe(1000)
    await expect(change('high', { globalDefault: true })).rejects.toThrow(
      'PriorityClass usual is already marked as default. Only one default can exist',
    )
    await expect(resources.create(priorityClassKind, classOf('x', 1, { globalDefault: true }))).rejects.toThrow('usual')
    await change('usual', { globalDefault: false })
    expect((await change('high', { globalDefault: true })).globalDefault).toBe(true)
    // Its own default is no other's.
    expect((await change('high', { description: 'said' })).description).toBe('said')
    await expect(change('system-node-critical', { globalDefault: true })).rejects.toThrow('neither a default')
  })
})
