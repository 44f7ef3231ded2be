import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ImageCollector, type ImageDisk } from '../../src/agent/image_collector.ts'
import { imagesInUse, pruneImages, removable } from '../../src/agent/image_prune.ts'
import type { Image } from '../../src/agent/images/images.ts'
import { NOTE } from '../../src/agent/pod/facts.ts'
import type { ContainerState } from '../../src/agent/runtime/runtime.ts'
import type { Pod } from '../../src/api/pod.ts'
import { silentLogger } from '../../src/base/log.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { createManualClock } from '../support/manual_clock.ts'

const CONFIG = {
  env: [],
  entrypoint: [],
  cmd: [],
  workingDirectory: '',
  user: '',
  stopSignal: '',
  exposedPorts: [],
  labels: {},
}
const image = (id: string, ...names: string[]): Image => ({
  id: `sha256:${id}`,
  digest: '',
  names: names.map((name) => `docker.io/library/${name}`),
  sizeBytes: 1,
  createdAt: '',
  config: CONFIG,
  layerDirectories: [],
})
const container = (imageId: string): ContainerState => ({
  id: 'c',
  podUid: 'p',
  name: 'main',
  attempt: 0,
  phase: 'exited',
  annotations: { [NOTE.imageId]: imageId },
})
const pod = (name: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p' },
  spec: { containers: [{ name: 'main', image: name }] },
})
/** Drivers of a node with these containers, and images that are found by ID or by a name of Docker Hub's. */
function driversOf(containers: readonly ContainerState[], images: () => readonly Image[]) {
  const drivers = fakeDrivers(new FakeHost())
  drivers.images.list = async () => [...images()]
  drivers.images.find = async (text) =>
    images().find(({ id, names }) => id === text || names.includes(`docker.io/library/${text}`))
  drivers.runtime.listContainers = async () => [...containers]
  return drivers
}
const ids = (images: readonly Image[]) => images.map(({ id }) => id.slice(7))
const ages = (map: Record<string, number>) =>
  new Map(Object.entries(map).map(([id, ms]): [string, number] => [`sha256:${id}`, ms]))

describe('what may go', () => {
  const images = [...['a', 'b', 'c', 'd'].map((id, i) => image(id, `app:${i + 1}`)), image('e', 'db:1')]
  const lastUsedMs = ages({ a: 1, b: 2, c: 3, d: 4, e: 0 })

  test('not what a container has, though it has ended, nor what a wanted pod names', async () => {
    const drivers = driversOf([container('docker.io/library/app@sha256:a')], () => images)
    const used = await imagesInUse({ drivers, desired: { pods: () => [pod('db:1')] } })
    expect(ids(removable({ images, used, lastUsedMs }, { keepForRollback: false }))).toEqual(['b', 'c', 'd'])
  })

  test('not what a rollback would want: the last three of each repository that were used', () => {
    expect(ids(removable({ images, used: new Set(), lastUsedMs }, { keepForRollback: true }))).toEqual(['a'])
  })

  test("an image without a name is nobody's rollback", () => {
    const bare = [...images, image('f')]
    expect(ids(removable({ images: bare, used: new Set(), lastUsedMs }, { keepForRollback: true }))).toEqual(['f', 'a'])
  })

  test('nor what a container has begun with since it was looked', async () => {
    const begun: ContainerState[] = []
    let left: readonly Image[] = [image('a'), image('b'), image('c')]
    const drivers = driversOf(begun, () => left)
    drivers.images.remove = async (id) => {
      left = left.filter((one) => one.id !== id)
      begun.push(container('sha256:c'))
    }
    const removed = await pruneImages({ drivers, desired: { pods: () => [] }, log: silentLogger }, { all: true })
    expect(removed.map(({ name }) => name)).toEqual(['sha256:a', 'sha256:b'])
    expect(ids(left)).toEqual(['c'])
  })
})

describe('the collector', () => {
  let directory = ''
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'drvt-collect-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  function setUp(images: readonly Image[], disk: Partial<ImageDisk>) {
    const clock = createManualClock()
    let left = images
    const drivers = driversOf([], () => left)
    drivers.images.remove = async (id) => {
      left = left.filter((one) => one.id !== id)
    }
    const collector = new ImageCollector({
      drivers,
      desired: { pods: () => [pod('app:4')] },
      disk: { highPercent: 80, lowPercent: 70, usedPercent: async () => left.length * 10, minAgeMs: 1_000, ...disk },
      path: join(directory, 'use.json'),
      clock,
      log: silentLogger,
      onRemoved: () => undefined,
    })
    return { collector, clock, left: () => ids(left) }
  }
  const many = Array.from({ length: 9 }, (_, i) => image(`i${i}`, `app:${i}`))

  test('leaves a disk with room alone', async () => {
    const { collector, left } = setUp(many.slice(0, 8), {})
    await collector.collect()
    expect(left()).toHaveLength(8)
  })

  test('removes down to the low mark, but nothing young and nothing that is used', async () => {
    const { collector, clock, left } = setUp(many, {})
    await collector.collect()
    expect(left()).toHaveLength(9)
    await clock.advance(2_000)
    await collector.collect()
    expect(left()).toHaveLength(7)
    expect(left()).toContain('i4')
  })

  test('stops at what a rollback would want, however full the disk is', async () => {
    const { collector, clock, left } = setUp(many, { usedPercent: async () => 99 })
    await collector.collect()
    await clock.advance(2_000)
    await collector.collect()
    expect(left()).toContain('i4')
    expect(left()).toHaveLength(3)
  })

  test('short of disk, removes what nothing uses until the shortage is over, youth and rollbacks notwithstanding', async () => {
    const { collector, left } = setUp(many, { usedPercent: async () => 1 })
    await collector.collect({ untilOver: async () => left().length <= 2 })
    expect(left()).toHaveLength(2)
    expect(left()).toContain('i4')
    await collector.collect({ untilOver: async () => false })
    expect(left()).toEqual(['i4'])
  })

  test('removes what nothing uses though nothing can be written', async () => {
    const { collector, left } = setUp(many, {})
    rmSync(directory, { recursive: true })
    await expect(collector.collect({ untilOver: async () => false })).rejects.toThrow(/ENOENT/)
    expect(left()).toEqual(['i4'])
  })

  test('passes wait for each other', async () => {
    const { collector, left } = setUp(many, { usedPercent: async () => 1 })
    const over = async () => left().length <= 7
    await Promise.all([collector.collect(), collector.collect({ untilOver: over }), collector.collect()])
    expect(left()).toHaveLength(7)
  })

  test('remembers over a restart when images were used', async () => {
    const first = setUp(many, { usedPercent: async () => 1 })
    await first.collector.collect()
    const again = setUp(many, { usedPercent: async () => 99, minAgeMs: 0 })
    await again.clock.advance(60_000)
    const control = new AbortController()
    const running = again.collector.run(control.signal)
    while (again.left().length === 9) await again.clock.advance(0)
    control.abort()
    await running
    expect(again.left()).toHaveLength(3)
  })

  test('refuses thresholds that make no sense', () => {
    expect(() => setUp(many, { highPercent: 10, lowPercent: 20 })).toThrow(/not below/)
    expect(() => setUp(many, { highPercent: Number.NaN })).toThrow(/percents/)
  })
})
