/** Pods that get their node while they are being made: in one write, for as long as it stands, and behind those that wait. */
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import type { Stored } from '../../src/api/meta.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { runtimeClassKind } from '../../src/api/runtimeclass.ts'
import { systemClock } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { seededRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { createScheduler, type Scheduler } from '../../src/scheduler/loop.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Election, Store, Write } from '../../src/store/store.ts'
import { newNode } from '../support/control_plane.ts'
import { type DelayedStore, delayWatch } from '../support/delayed_store.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'

/** What becomes of a write: it fails without having been applied, or nobody hears that it was. */
type Fate = 'unavailable' | 'timeout' | 'applied, timeout' | undefined

interface World {
  test: TestResources
  store: DelayedStore
  scheduler: Scheduler
  election: Election
  registry: Registry
  recorded: string[]
  /** Begins to lead. */
  lead(): void
  /** Hears of nodes before the scheduler does. */
  onNode: () => void
  /** Of the writes that follow. */
  fate: (write: Write) => Fate
  stop(): Promise<void>
}

let world: World | undefined
afterEach(async () => {
  await world?.stop()
  world = undefined
})

async function start({ running = true } = {}): Promise<World> {
  const inner = createMemoryStore({ clock: systemClock })
  const fated: Store = Object.assign(Object.create(inner) as Store, {
    write: async (...asked: Parameters<Store['write']>) => {
      const fate = made.fate(asked[0])
      if (fate === 'applied, timeout') await inner.write(...asked)
      if (fate !== undefined) throw new DroverError(fate === 'unavailable' ? fate : 'timeout', 'as the test has it')
      return inner.write(...asked)
    },
    ...Object.fromEntries(
      (['get', 'list', 'watch', 'campaign', 'compact', 'health', 'close'] as const).map((name) => [
        name,
        (...asked: never[]) => (inner[name] as (...given: never[]) => unknown)(...asked),
      ]),
    ),
  })
  const store = delayWatch(fated)
  const recorded: string[] = []
  const registry = new Registry()
  store.open()
  const made: World = { fate: () => undefined, onNode: () => undefined, store, registry, recorded } as unknown as World
  made.test = await runResources({ store: store.store })
  made.test.resources.subscribe(nodeKind, () => made.onNode())
  made.election = await inner.campaign('/test/leader', 'test', made.test.signal)
  const random = seededRandom(3)
  const context = { resources: made.test.resources, clock: systemClock, random, log: silentLogger, registry }
  made.scheduler = createScheduler({
    ...context,
    fence: made.election.fence,
    events: { record: ({ metadata }, _type, reason) => recorded.push(`${metadata.name} ${reason}`) },
  })
  const stop = new AbortController()
  let done = Promise.resolve()
  made.lead = () => {
    done = runServices([made.scheduler], context, stop.signal)
  }
  if (running) made.lead()
  made.stop = async () => {
    stop.abort()
    await done
    await made.test.stop()
  }
  world = made
  return made
}

const addNode = ({ test }: World, name: string, cpu: string, labels: Record<string, string> = {}) => {
  const node = newNode(name, { cpu, labels })
  return test.resources.create(nodeKind, { ...node, spec: { podCIDR: '10.244.0.0/24' } }, { internal: true })
}

const podOf = (name: string, cpu: string, spec: Partial<Pod['spec']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels: { app: 'web' } },
  spec: { containers: [{ name: 'main', image: 'web:1', resources: { requests: { cpu } } }], ...spec },
})

const create = ({ test, election, scheduler }: World, name: string, cpu: string, spec: Partial<Pod['spec']> = {}) =>
  test.resources.create(podKind, podOf(name, cpu, spec), { fence: election.fence, desk: scheduler.desk })

const get = ({ test }: World, name: string): Stored<Pod> | undefined => test.resources.get(podKind, 'default', name)
const isPod = ({ key }: Write): boolean => key.startsWith('/drover/core/pods/')
/** So that the node's event has reached the scheduler, and it takes pods. */
async function shown({ test }: World): Promise<void> {
  await test.resources.waitForRevision(await test.resources.currentRevision(), 5_000)
}

describe('a pod that is made beside the scheduler', () => {
  it('is written once, with what a binding says', async () => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    const changes: string[] = []
    made.test.resources.subscribe(podKind, ({ type, object }) => changes.push(`${type} ${object.metadata.name}`))
    const born = await create(made, 'born', '1')
    expect(born.spec.nodeName).toBe('n1')
    expect(get(made, 'born')?.spec.nodeName).toBe('n1')
    await made.test.resources.create(podKind, podOf('bound', '1'))
    await eventually(() => get(made, 'bound')?.spec.nodeName === 'n1')
    await shown(made)
    const plain = ({ status }: Pod): unknown =>
      JSON.parse(JSON.stringify(status), (key: string, value: unknown) => (key === 'lastTransitionTime' ? '' : value))
    expect(plain(born)).toEqual(plain(get(made, 'bound') as Pod))
    expect(changes).toEqual(['ADDED born', 'ADDED bound', 'MODIFIED bound'])
    expect(made.recorded).toEqual(['born Scheduled', 'bound Scheduled'])
    const attempts = await made.registry.getSingleMetric('scheduler_schedule_attempts_total')?.get()
    expect(attempts?.values.find(({ labels }) => labels.result === 'scheduled')?.value).toBe(2)
  })

  it('is placed as admission has made it', async () => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await addNode(made, 'n2', '4', { disk: 'fast' })
    const scheduling = { nodeSelector: { disk: 'fast' } }
    const metadata = { name: 'fast' }
    await made.test.resources.create(runtimeClassKind, {
      apiVersion: 'node.k8s.io/v1',
      kind: 'RuntimeClass',
      metadata,
      handler: 'crun',
      overhead: { podFixed: { cpu: '3' } },
      scheduling,
    })
    await shown(made)
    expect((await create(made, 'a', '1', { runtimeClassName: 'fast' })).spec.nodeName).toBe('n2')
    expect((await create(made, 'b', '1', { runtimeClassName: 'fast' })).spec.nodeName).toBeUndefined()
  })

  it('is one of a thousand that are placed at once', async () => {
    const made = await start()
    for (const name of ['n1', 'n2']) {
      const node = newNode(name, { cpu: '64' })
      const status = { ...node.status, allocatable: { cpu: '64', memory: '64Gi', pods: '500' } }
      await made.test.resources.create(
        nodeKind,
        { ...node, spec: { podCIDR: '10.244.0.0/24' }, status },
        { internal: true },
      )
    }
    await shown(made)
    const pods = await Promise.all(Array.from({ length: 1000 }, (_, index) => create(made, `p${index}`, '10m')))
    const on = (name: string): number => pods.filter(({ spec }) => spec.nodeName === name).length
    expect([on('n1'), on('n2')]).toEqual([500, 500])
    const duration = await made.registry.getSingleMetric('scheduler_scheduling_algorithm_duration_seconds')?.get()
    const cycles = duration?.values.find((value) => (value as { metricName?: string }).metricName?.endsWith('_count'))
    expect(cycles?.value).toBe(1)
  })

  it('that has no place is written all the same, and goes the ordinary way', async () => {
    const made = await start()
    expect((await create(made, 'p', '2')).spec.nodeName).toBeUndefined()
    await eventually(() => made.recorded.includes('p FailedScheduling'))
    await addNode(made, 'n1', '4')
    await eventually(() => get(made, 'p')?.spec.nodeName === 'n1')
    expect(made.recorded).toEqual(['p FailedScheduling', 'p Scheduled'])
  })

  it('is left as it is when its node is given, another scheduler is named, or it has claims', async () => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    expect((await create(made, 'given', '1', { nodeName: 'elsewhere' })).spec.nodeName).toBe('elsewhere')
    expect((await create(made, 'theirs', '1', { schedulerName: 'other' })).spec.nodeName).toBeUndefined()
    const volumes = [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }]
    expect((await create(made, 'claims', '1', { volumes })).spec.nodeName).toBeUndefined()
  })

  it('is left to a scheduler that does not run yet, or no more', async () => {
    const idle = await start({ running: false })
    await addNode(idle, 'n1', '4')
    expect((await create(idle, 'p', '1')).spec.nodeName).toBeUndefined()
    await idle.stop()
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    const { test } = made
    const { desk } = made.scheduler
    await made.stop()
    expect(await desk.reserve(podOf('p', '1'))).toBeUndefined()
    expect(test.signal.aborted).toBe(true)
    world = undefined
  })

  it('is not placed by a cache that is older than the leadership', async () => {
    const made = await start({ running: false })
    await addNode(made, 'n1', '4')
    await shown(made)
    made.store.hold()
    const inStore = podOf('before', '4', { nodeName: 'n1' })
    await made.test.resources.create(podKind, inStore)
    made.lead()
    // The store has answered how far it is.
    await made.test.resources.currentRevision()
    expect((await create(made, 'late', '4')).spec.nodeName).toBeUndefined()
    made.store.open()
    await eventually(() => made.recorded.includes('late FailedScheduling'))
    expect((await create(made, 'small', '0')).spec.nodeName).toBe('n1')
  })

  it('goes behind a pod that waits, though it came in the same moment as the room', async () => {
    const made = await start()
    await made.test.resources.create(podKind, podOf('waits', '4'))
    await eventually(() => made.recorded.includes('waits FailedScheduling'))
    let newborn: Promise<unknown> | undefined
    made.onNode = () => {
      const metadata = { name: 'born', namespace: 'default', uid: 'born' }
      newborn ??= made.scheduler.desk.reserve({ ...podOf('born', '4'), metadata })
    }
    await addNode(made, 'n1', '4')
    expect(await eventually(async () => newborn && [await newborn])).toEqual([undefined])
    await eventually(() => get(made, 'waits')?.spec.nodeName === 'n1')
  })
})

describe('the room of a pod that is being made', () => {
  it('is taken from the moment it was placed, and not twice', async () => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    const pods = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => create(made, name, '1')))
    expect(pods.filter(({ spec }) => spec.nodeName === 'n1')).toHaveLength(4)
  })

  const failures: [string, Fate, string][] = [
    ['the store is away', 'unavailable', 'unavailable'],
    ['no answer came and it was not applied', 'timeout', 'timeout'],
  ]
  it.each(failures)('is free again when %s', async (_why, fate, code) => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    made.fate = (write) => (isPod(write) ? fate : undefined)
    await expect(create(made, 'lost', '4')).rejects.toMatchObject({ code })
    made.fate = () => undefined
    await eventually(async () => (await create(made, `next-${made.recorded.length}`, '4')).spec.nodeName === 'n1')
  })

  it('is free again when the name was taken', async () => {
    const made = await start()
    await made.test.resources.create(podKind, podOf('taken', '0', { schedulerName: 'other' }))
    await addNode(made, 'n1', '4')
    await shown(made)
    await expect(create(made, 'taken', '4')).rejects.toMatchObject({ code: 'alreadyExists' })
    expect((await create(made, 'next', '4')).spec.nodeName).toBe('n1')
  })

  it('stays taken when the pod stands though no answer came', async () => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    made.store.hold()
    made.fate = (write) => (isPod(write) ? 'applied, timeout' : undefined)
    await expect(create(made, 'silent', '4')).rejects.toMatchObject({ code: 'timeout' })
    made.fate = () => undefined
    expect((await create(made, 'next', '4')).spec.nodeName).toBeUndefined()
    made.store.open()
    await shown(made)
    expect(get(made, 'silent')?.spec.nodeName).toBe('n1')
    expect(get(made, 'next')?.spec.nodeName).toBeUndefined()
  })

  it('cannot be had by a leader that leads no more', async () => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    await made.election.resign()
    await expect(create(made, 'late', '4')).rejects.toMatchObject({ code: 'forbidden' })
    expect(get(made, 'late')).toBeUndefined()
  })

  it('is free again when the pod went before the cache got to see it', async () => {
    const made = await start()
    await addNode(made, 'n1', '4')
    await shown(made)
    const { resources, store } = made.test
    made.store.hold()
    // The watch stands before this one, and must list again from there: its history is compacted.
    await addNode(made, 'n2', '0')
    const { metadata } = await create(made, 'short', '4')
    const gone = await resources.delete(podKind, 'default', 'short', { gracePeriodSeconds: 0 })
    expect(gone.metadata.uid).toBe(metadata.uid)
    await store.compact(await resources.currentRevision())
    made.store.open()
    await shown(made)
    await eventually(async () => (await create(made, `next-${made.recorded.length}`, '4')).spec.nodeName === 'n1')
  })

  it('never is given twice nor lost, whatever becomes of the writes', async () => {
    const fates = fc.array(fc.constantFrom<Fate>(undefined, undefined, 'unavailable', 'timeout', 'applied, timeout'), {
      minLength: 1,
      maxLength: 12,
    })
    await fc.assert(
      fc.asyncProperty(fates, async (given) => {
        const made = await start()
        await addNode(made, 'n1', '4')
        await shown(made)
        made.fate = (write) => {
          const name = isPod(write) ? /\/p(\d+)$/.exec(write.key)?.[1] : undefined
          return name === undefined ? undefined : given[Number(name)]
        }
        await Promise.allSettled(given.map((_, index) => create(made, `p${index}`, '1')))
        made.fate = () => undefined
        // What fills the rest: all of it can be had, and no more.
        await Promise.all(Array.from({ length: 5 }, (_, index) => create(made, `rest-${index}`, '1')))
        await eventually(() => made.test.resources.podsOnNode('n1').length >= 4)
        await shown(made)
        expect(made.test.resources.podsOnNode('n1')).toHaveLength(4)
        await made.stop()
      }),
      { numRuns: 25 },
    )
    world = undefined
  })
})
