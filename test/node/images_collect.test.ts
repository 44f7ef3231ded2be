/** A small disk that images fill: what goes and what stays, by the real store, and by what the file system says is left. */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ImageCollector } from '../../src/agent/image_collector.ts'
import { pruneImages } from '../../src/agent/image_prune.ts'
import { createImageDriver } from '../../src/agent/images/driver.ts'
import type { Image, ImageDriver } from '../../src/agent/images/images.ts'
import type { Pod } from '../../src/api/pod.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { runOk } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import { chunked, dockerArchive, tar } from '../support/archives.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { startRegistry } from '../support/registry.ts'

const MiB = 2 ** 20
const signal = new AbortController().signal
let dataDir = ''
let images: ImageDriver

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-collect-'))
  await runOk('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'drvt-disk', dataDir])
  const environment = { clock: systemClock, random: systemRandom, log: silentLogger }
  images = createImageDriver({ ...environment, dataDir, insecureRegistries: [] })
  await images.initialize()
})
afterEach(async () => {
  await runOk('umount', ['-l', dataDir])
  await rm(dataDir, { recursive: true, force: true })
})

async function usedPercent(): Promise<number> {
  const { blocks, bavail } = await statfs(dataDir)
  return (1 - bavail / blocks) * 100
}

const pod = (image: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p' },
  spec: { containers: [{ name: 'main', image }] },
})

test('the oldest go until the low mark is reached; what runs and what a rollback would want stay', async () => {
  const clock = createManualClock()
  const wanted: Pod[] = [pod('kept:1')]
  const removals: number[] = []
  const collector = new ImageCollector({
    drivers: { ...fakeDrivers(new FakeHost()), images },
    desired: { pods: () => wanted },
    disk: { highPercent: 70, lowPercent: 60, usedPercent },
    path: join(dataDir, 'image-use.json'),
    clock,
    log: silentLogger,
    onRemoved: () => removals.push(clock.now()),
  })
  const load = async (name: string): Promise<Image> => {
    const layer = await tar([{ name: 'file', content: randomBytes(7 * MiB) }])
    const [image] = await images.load(
      chunked(await dockerArchive([{ tags: [name], layers: [layer] }])),
      undefined,
      signal,
    )
    if (image === undefined) throw new Error('no image')
    return image
  }
  const names = async (): Promise<string[]> =>
    (await images.list()).flatMap((image) => image.names.map((name) => name.replace('docker.io/library/', ''))).sort()

  // One that runs all the time and is the oldest; then versions of another, one after the other.
  const loaded = [await load('kept:1')]
  await collector.collect()
  for (let version = 1; version <= 6; version++) {
    await clock.advance(60_000)
    loaded.push(await load(`app:${version}`))
    wanted[1] = pod(`app:${version}`)
    if (version < 6) await collector.collect()
    expect(removals).toEqual([])
  }
  expect(await usedPercent()).toBeGreaterThan(70)
  await collector.collect()
  expect(await usedPercent()).toBeLessThanOrEqual(60)
  expect(removals).toHaveLength(1)
  expect(await names()).toEqual(['app:3', 'app:4', 'app:5', 'app:6', 'kept:1'])
  const left = loaded.map(({ layerDirectories }) => existsSync(layerDirectories[0] ?? ''))
  expect(left).toEqual([true, false, false, true, true, true, true])

  // Fuller again than it may be, by something that is no image: no more than a rollback can spare goes.
  await runOk('dd', ['if=/dev/zero', `of=${join(dataDir, 'others')}`, 'bs=1048576', 'count=20'])
  await clock.advance(200_000)
  await collector.collect()
  expect(await names()).toEqual(['app:4', 'app:5', 'app:6', 'kept:1'])
  await collector.collect()
  expect(await names()).toHaveLength(4)
  expect(await usedPercent()).toBeGreaterThan(60)

  // Before a pod has to go, those go too, one at a time, until it is enough; what is used stays whatever happens.
  await load('young:1')
  const before = await usedPercent()
  await collector.collect({ untilOver: async () => (await usedPercent()) < before })
  expect(await names()).toEqual(['app:5', 'app:6', 'kept:1', 'young:1'])
  await collector.collect({ untilOver: async () => false })
  expect(await names()).toEqual(['app:6', 'kept:1'])
})

test('what a wanted pod names stays, however its name is written', async () => {
  const registry = await startRegistry()
  try {
    const layer = await tar([{ name: 'file', content: 'x' }])
    const load = async (tag: string) => {
      const archive = await dockerArchive([{ tags: [tag], layers: [layer], config: { Labels: { tag } } }])
      const [image] = await images.load(chunked(archive), undefined, signal)
      if (image === undefined) throw new Error('no image')
      return image
    }
    const pull = async (tag: string) => {
      const archive = await dockerArchive([{ tags: ['a:1'], layers: [layer], config: { Labels: { tag } } }])
      await registry.push(archive, `team/app:${tag}`)
      return images.pull(`${registry.host}/team/app:${tag}`, { signal })
    }
    const [web, db, ui] = [await load('web:1'), await load('db:latest'), await load('ui:latest')]
    const [byDigest, byBoth, unused] = [await pull('v1'), await pull('v2'), await pull('v3')]
    const stored = await images.pull(`${registry.host}/team/app@${byBoth.digest}`, { signal })
    expect(stored.id).toBe(byBoth.id)
    const wanted = [
      'docker.io/web:1',
      'db',
      'index.docker.io/library/ui',
      `${registry.host}/team/app@${byDigest.digest}`,
      `${registry.host}/team/app:v1.25@${byBoth.digest}`,
      'NO NAME',
    ]
    const desired = { pods: () => wanted.map(pod) }
    const drivers = { ...fakeDrivers(new FakeHost()), images }
    const removed = await pruneImages({ drivers, desired, log: silentLogger }, { all: true })
    expect(removed.map(({ name }) => name)).toEqual(unused.names)
    expect((await images.list()).map(({ id }) => id).sort()).toEqual(
      [web, db, ui, byDigest, byBoth].map(({ id }) => id).sort(),
    )
  } finally {
    await registry.stop()
  }
})
