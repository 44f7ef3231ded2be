import { execFileSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createImageDriver, type ImageDriverOptions } from '../../src/agent/images/driver.ts'
import type { ImageDriver } from '../../src/agent/images/images.ts'
import { LayerStore, type LayerSync } from '../../src/agent/images/layer_store.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { chunked, digestOf, dockerArchive, type Entry, ociArchive, rootfsTar, tar } from '../support/archives.ts'
import { eventually } from '../support/eventually.ts'
import { createManualClock } from '../support/manual_clock.ts'

let dataDir = ''
let driver: ImageDriver
const signal = new AbortController().signal

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-images-'))
  driver = await open()
})
afterEach(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 }))

async function open(more: Partial<ImageDriverOptions> = {}): Promise<ImageDriver> {
  const made = createImageDriver({
    dataDir,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    insecureRegistries: [],
    ...more,
  })
  await made.initialize()
  return made
}

const load = (bytes: Uint8Array, reference?: string) => driver.load(chunked(bytes), reference, signal)
const layerDirectories = () => readdirSync(join(dataDir, 'layers'))
const text = (content: string, name: string): Entry => ({ name, content, mode: 0o644 })

/** Nothing of a failed load is left: no layer, no blob, no work in progress. */
function expectEmpty(): void {
  expect(layerDirectories()).toEqual([])
  expect(readdirSync(join(dataDir, 'tmp'))).toEqual([])
  expect(readdirSync(join(dataDir, 'blobs/sha256'))).toEqual([])
}

test('a store that is set up again, by an agent that starts anew in its process, keeps what it has', async () => {
  const [image] = await load(
    await dockerArchive([{ tags: ['one'], layers: [await rootfsTar(), await tar([text('2', 'etc/two')])] }]),
  )
  await driver.initialize()
  expect(await driver.find('one')).toEqual(image)
  expect(layerDirectories()).toHaveLength(2)
  expect(readFileSync(join(image?.layerDirectories[1] ?? '', 'etc/two'), 'utf8')).toBe('2')
  // What went meanwhile is forgotten, so that it is fetched again rather than mounted.
  await rm(join(dataDir, 'layers', layerDirectories()[0] ?? ''), { recursive: true })
  await driver.initialize()
  expect(await driver.find('one')).toBeUndefined()
})

describe('load', () => {
  test('a docker-archive of two images that share a layer', async () => {
    const base = await rootfsTar()
    const top = await tar([text('two', 'etc/two')])
    const archive = await dockerArchive([
      { tags: ['one', 'one:1.0'], layers: [base], config: { Env: ['A=1'], WorkingDir: '/tmp', User: 'web' } },
      { tags: ['localhost:5000/team/two:v2'], layers: [base, top] },
    ])
    const images = await load(archive)
    expect(images.map(({ names }) => names)).toEqual([
      ['docker.io/library/one:latest', 'docker.io/library/one:1.0'],
      ['localhost:5000/team/two:v2'],
    ])
    expect(images[0]).toMatchObject({
      createdAt: '2024-01-02T03:04:05Z',
      config: { cmd: ['/bin/sh'], env: ['A=1'], workingDirectory: '/tmp', user: 'web' },
    })
    expect(layerDirectories()).toHaveLength(2)
    const [lower = '', upper = ''] = images[1]?.layerDirectories ?? []
    expect(lower).toBe(images[0]?.layerDirectories[0])
    expect(readFileSync(join(upper, 'etc/two'), 'utf8')).toBe('two')
    expect(readlinkSync(join(lower, 'bin/sh'))).toBe('busybox')
    expect(lstatSync(join(lower, 'tmp')).mode & 0o7777).toBe(0o1777)
    expect((await driver.find('one'))?.id).toBe(images[0]?.id)
    expect((await driver.find('docker.io/library/one:1.0'))?.id).toBe(images[0]?.id)
    expect((await driver.find(images[1]?.id.slice(7, 19) ?? ''))?.names).toEqual(['localhost:5000/team/two:v2'])
    expect(await driver.find('three')).toBeUndefined()
  })

  test('an OCI-archive, gzip within gzip, by the name given', async () => {
    const base = await rootfsTar()
    const archive = gzipSync(await ociArchive([{ tags: ['latest'], layers: [base] }]), { level: 1 })
    const [image] = await load(archive, 'registry.test/app:v1')
    expect(image?.names).toEqual(['registry.test/app:v1'])
    expect(image?.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect((await driver.find(image?.digest ?? ''))?.id).toBe(image?.id)
    expect(
      execFileSync(join(image?.layerDirectories[0] ?? '', 'bin/busybox'), ['echo', 'hi'], { encoding: 'utf8' }),
    ).toBe('hi\n')
  })

  test('what skopeo writes', async () => {
    const source = join(dataDir, 'source.tar')
    writeFileSync(source, await dockerArchive([{ tags: ['app:v1'], layers: [await rootfsTar()] }]))
    for (const kind of ['docker-archive', 'oci-archive']) {
      const out = join(dataDir, `${kind}.tar`)
      execFileSync('skopeo', ['copy', '-q', `docker-archive:${source}`, `${kind}:${out}:renamed:v2`], { stdio: 'pipe' })
      const [image] = await load(readFileSync(out))
      expect(image?.names).toContain('docker.io/library/renamed:v2')
    }
    expect(layerDirectories()).toHaveLength(1)
  })

  test('layers compressed with zstd, and what is said where the program is missing', async () => {
    const layer = await rootfsTar()
    const source = join(dataDir, 'layer')
    writeFileSync(source, layer)
    const packed = execFileSync('zstd', ['-q', '-c', source], { maxBuffer: 64 << 20 })
    const config = JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { diff_ids: [digestOf(layer)] } })
    const archive = (content: Buffer) =>
      tar([
        text(JSON.stringify([{ Config: 'c.json', RepoTags: ['z'], Layers: ['l'] }]), 'manifest.json'),
        text(config, 'c.json'),
        { name: 'l', content },
      ])
    await expect(load(await archive(packed.subarray(0, packed.length / 2)))).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('zstd'),
    })
    const path = process.env.PATH
    process.env.PATH = '/nonexistent'
    try {
      await expect(load(await archive(packed))).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining('Debian package zstd'),
      })
    } finally {
      process.env.PATH = path
    }
    expectEmpty()
    // Some begin with a frame that is to be skipped: here of three bytes.
    const skippable = Buffer.from('5e2a4d1803000000616263', 'hex')
    for (const content of [packed, Buffer.concat([skippable, packed])]) {
      const [image] = await load(await archive(content))
      expect(existsSync(join(image?.layerDirectories[0] ?? '', 'bin/busybox'))).toBe(true)
      await driver.remove('z')
      expectEmpty()
    }
  })

  test('survives a restart, and work in progress does not', async () => {
    await load(await dockerArchive([{ tags: ['app'], layers: [await rootfsTar()] }]))
    writeFileSync(join(dataDir, 'tmp', 'left'), 'over')
    const before = await driver.list()
    driver = await open()
    expect(await driver.list()).toEqual(before)
    expect(readdirSync(join(dataDir, 'tmp'))).toEqual([])
  })

  test('an image whose layer was lost is dropped at start, with what only it used', async () => {
    const [image] = await load(await dockerArchive([{ tags: ['app'], layers: [await rootfsTar(), await tar([])] }]))
    await rm(join(image?.layerDirectories[0] ?? '', '..'), { recursive: true })
    driver = await open()
    expect(await driver.list()).toEqual([])
    expectEmpty()
  })

  test('a layer that may be torn by a power cut is not trusted', async () => {
    await load(await dockerArchive([{ tags: ['app'], layers: [await rootfsTar()] }]))
    const file = join(dataDir, 'layers', layerDirectories()[0] ?? '', 'layer.json')
    const read = () => JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
    await eventually(() => read().unsyncedSinceBoot === '')
    writeFileSync(file, JSON.stringify({ ...read(), unsyncedSinceBoot: 'another boot' }))
    driver = await open()
    expect(await driver.list()).toEqual([])
    expectEmpty()
  })

  describe('a layer on its way to the disk', () => {
    const limits = { maxLayerBytes: 1 << 30, maxEntries: 1_000 }
    const store = async (more: LayerSync): Promise<LayerStore> => {
      const made = new LayerStore(dataDir, limits, silentLogger, more)
      await made.initialize()
      return made
    }
    const add = async (to: LayerStore) =>
      to.add(chunked(await tar([text('x', 'x')])), {
        signal,
        hold: to.hold(),
        diffId: digestOf(await tar([text('x', 'x')])),
      })
    const isMarked = (id: string): boolean => {
      const layer = JSON.parse(readFileSync(join(dataDir, 'layers', id, 'layer.json'), 'utf8'))
      return layer.unsyncedSinceBoot === ''
    }

    test('gets there though the agent ended before it did', async () => {
      const { id } = await add(await store({ sync: () => new Promise(() => undefined) }))
      let synced = 0
      const next = await store({
        sync: async () => {
          expect(isMarked(id)).toBe(false)
          synced++
        },
      })
      await next.settled()
      expect(isMarked(id)).toBe(true)
      await (await store({ sync: async () => void synced++ })).settled()
      expect(synced).toBe(1)
    })

    test('is tried again when the disk would not take it', async () => {
      const clock = createManualClock()
      let fails = 2
      const failing = await store({
        clock,
        sync: async () => {
          if (fails-- > 0) throw new Error('Input/output error')
        },
      })
      const { id } = await add(failing)
      for (let round = 0; round < 2; round++) {
        await failing.settled()
        expect(isMarked(id)).toBe(false)
        await clock.advance(60_000)
      }
      await failing.settled()
      expect(isMarked(id)).toBe(true)
      expect(clock.pending).toBe(0)
    })

    test('that comes twice at once is one', async () => {
      const both = await store({})
      const added = await Promise.all(
        [add(both), add(both)].map(async (adding) => {
          const layer = await adding
          expect(existsSync(both.path(layer))).toBe(true)
          return layer
        }),
      )
      expect(added[0]).toBe(added[1])
      expect(layerDirectories()).toHaveLength(1)
      expect(readdirSync(join(dataDir, 'tmp'))).toEqual([])
    })
  })

  test('bad input is refused and leaves nothing', async () => {
    const good = await tar([text('x', 'x')])
    const other = await tar([text('y', 'y')])
    const manifest = (value: unknown) => text(JSON.stringify(value), 'manifest.json')
    const config = JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { diff_ids: [digestOf(good)] } })
    const layer: Entry = { name: 'l.tar', content: good }
    const wrong: Entry = { name: 'l.tar', content: other }
    const whole = [manifest([{ Config: 'c.json', RepoTags: ['a'], Layers: ['l.tar'] }]), text(config, 'c.json')]
    const cases: [string, Uint8Array, RegExp][] = [
      ['nothing', Buffer.alloc(0), /empty/],
      ['not a tar', Buffer.alloc(4096, 'no'), /not a tar/],
      ['damaged gzip', Buffer.from('1f8b0800000000000003ffff', 'hex'), /gzip/],
      ['cut off', (await tar([...whole, layer])).subarray(0, 2300), /ends in the middle/],
      ['a root file system', await rootfsTar(), /imported, not loaded/],
      ['no config', await tar([...whole.slice(0, 1), layer]), /lacks "c.json"/],
      ['no layer', await tar(whole), /lacks the layer "l.tar"/],
      ['another layer', await tar([...whole, wrong]), /are not those/],
      ['damaged manifest', await tar([text('[{', 'manifest.json')]), /not JSON/],
      ['manifest of something else', await tar([manifest({ a: 1 })]), /lists no image/],
      ['bad tag', await dockerArchive([{ tags: ['UPPER/x y'], layers: [good] }]), /not an image reference/],
      [
        'damaged layer',
        await tar([...whole, { name: 'l.tar', content: gzipSync(good).subarray(0, 60) }]),
        /layer l.tar/,
      ],
    ]
    for (const [name, bytes, message] of cases) {
      await expect(load(bytes), name).rejects.toThrow(
        expect.objectContaining({ code: 'invalid', message: expect.stringMatching(message) }),
      )
      expectEmpty()
    }
    await expect(
      load(await dockerArchive(['a', 'b'].map((tag) => ({ tags: [tag], layers: [good], config: { User: tag } }))), 'c'),
    ).rejects.toThrow(/holds 2 images/)
    expectEmpty()
  })

  test('a name with a digest counts only where the archive has the manifest of that digest', async () => {
    const pinned = `docker.io/library/nginx@sha256:${'a'.repeat(64)}`
    const layers = [await rootfsTar()]
    for (const archive of [
      await dockerArchive([{ tags: [pinned, 'mine:1'], layers }]),
      await ociArchive([{ tags: [pinned, 'mine:1'], layers }]),
    ]) {
      const [image] = await load(archive)
      expect(image?.names).toEqual(['docker.io/library/mine:1'])
      expect(await driver.find(pinned)).toBeUndefined()
      await driver.remove(image?.id ?? '')
      await expect(load(archive, pinned)).rejects.toMatchObject({
        code: 'invalid',
        message: expect.stringContaining('no manifest with that digest; name it with a tag'),
      })
      expectEmpty()
    }
    const [plain] = await load(await ociArchive([{ tags: [], layers }]))
    const own = `docker.io/library/mine@${plain?.digest}`
    expect((await load(await ociArchive([{ tags: [own], layers }])))[0]?.names).toEqual([own])
    expect((await load(await ociArchive([{ tags: [], layers }]), `mine:2@${plain?.digest}`))[0]?.names).toEqual([own])
    // containerd writes both forms: names stand in Docker's, manifests in the other.
    const blob = (digest: string) => `blobs/sha256/${digest.slice('sha256:'.length)}`
    const entry = {
      Config: blob(plain?.id ?? ''),
      RepoTags: [own, pinned],
      Layers: layers.map((layer) => blob(digestOf(gzipSync(layer)))),
    }
    const both = await ociArchive([{ tags: [], layers }], [{ name: 'manifest.json', content: JSON.stringify([entry]) }])
    await driver.remove(plain?.id ?? '')
    expect((await load(both))[0]).toMatchObject({ digest: plain?.digest, names: [own] })
  })

  test('a file that is called by the digest of another is not taken for it', async () => {
    const other = await tar([text('other', 'x')])
    const config = JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { diff_ids: [digestOf(other)] } })
    const [configDigest, layerDigest] = [digestOf('the real configuration'), digestOf('the real layer')]
    const described = (digest: string) => ({ mediaType: 'application/octet-stream', digest, size: 1 })
    const manifest = { schemaVersion: 2, config: described(configDigest), layers: [described(layerDigest)] }
    const bytes = JSON.stringify(manifest)
    const name = { 'io.containerd.image.name': `mine@${digestOf(bytes)}` }
    const index = { schemaVersion: 2, manifests: [{ ...described(digestOf(bytes)), annotations: name }] }
    const archive = await tar([
      text(JSON.stringify(index), 'index.json'),
      text(bytes, 'manifest'),
      text(config, configDigest),
      { name: layerDigest, content: other },
    ])
    await expect(load(archive)).rejects.toMatchObject({ code: 'invalid', message: `the archive lacks ${configDigest}` })
    expectEmpty()
  })

  test('limits, and cancelling half-way', async () => {
    const archive = await dockerArchive([{ tags: ['app'], layers: [await rootfsTar()] }])
    driver = await open({ maxLayerBytes: 100_000 })
    await expect(load(archive)).rejects.toThrow(expect.objectContaining({ code: 'tooLarge' }))
    driver = await open({ maxEntries: 5 })
    await expect(load(archive)).rejects.toThrow(expect.objectContaining({ code: 'tooLarge' }))
    driver = await open()
    const stop = new AbortController()
    async function* cut() {
      yield archive.subarray(0, 200_000)
      stop.abort()
      yield archive.subarray(200_000)
    }
    await expect(driver.load(cut(), undefined, stop.signal)).rejects.toThrow(
      expect.objectContaining({ code: 'cancelled' }),
    )
    expectEmpty()
  })
})

describe('save', () => {
  test('a digest that named an image is not given to its archive, whose manifest is another', async () => {
    const layers = [await rootfsTar()]
    const [loaded] = await load(await ociArchive([{ tags: [], layers }]))
    const pinned = `docker.io/library/app@${loaded?.digest}`
    const [image] = await load(await ociArchive([{ tags: [], layers }]), pinned)
    expect(image?.names).toEqual([pinned])
    const saved = async () => {
      const pieces: Uint8Array[] = []
      for await (const piece of await driver.save(pinned)) pieces.push(Buffer.from(piece))
      return Buffer.concat(pieces)
    }
    const untagged = await saved()
    expect(untagged.includes(loaded?.digest ?? '')).toBe(false)
    expect(untagged.includes('RepoTags')).toBe(false)
    const path = join(dataDir, 'saved.tar')
    writeFileSync(path, untagged)
    for (const form of ['docker-archive', 'oci-archive']) {
      execFileSync('skopeo', ['inspect', '--config', `${form}:${path}`], { stdio: 'pipe' })
    }
    await driver.tag(pinned, 'app:1')
    const tagged = await saved()
    await driver.remove(image?.id ?? '')
    // By its ID, which is what `drover image load` says then.
    const [again] = await load(untagged)
    expect(again).toMatchObject({ id: image?.id, names: [] })
    expect((await driver.find(image?.id ?? ''))?.id).toBe(image?.id)
    expect((await load(tagged))[0]?.names).toEqual(['docker.io/library/app:1'])
  })

  test('an image with a layer that cannot be made again is refused before a byte of it goes out', async () => {
    const secret = join(dataDir, 'secret')
    writeFileSync(secret, 'host')
    const hostile = await tar([text('mine', 'x'), { name: 'x', type: 'symlink', linkname: secret }])
    await load(await dockerArchive([{ tags: ['127.0.0.1:1/app:1'], layers: [await rootfsTar(), hostile] }]))
    const sent: Uint8Array[] = []
    const save = async () => {
      for await (const piece of await driver.save('127.0.0.1:1/app:1')) sent.push(piece)
    }
    const refusal = { code: 'unsupported', message: expect.stringContaining('its archive holds "x" more than once') }
    await expect(save()).rejects.toMatchObject(refusal)
    expect(sent).toEqual([])
    await expect(driver.push('127.0.0.1:1/app:1', { signal })).rejects.toMatchObject(refusal)
  })
})

describe('import and remove', () => {
  test('a root file system becomes an image', async () => {
    const image = await driver.importRootfs(chunked(gzipSync(await rootfsTar())), 'base', signal)
    expect(image).toMatchObject({ names: ['docker.io/library/base:latest'], config: { cmd: ['/bin/sh'] } })
    expect(existsSync(join(image.layerDirectories[0] ?? '', 'bin/busybox'))).toBe(true)
    await expect(driver.importRootfs(chunked(await tar([])), 'empty', signal)).rejects.toThrow(/empty/)
    await expect(driver.importRootfs(chunked(await tar([])), 'Not A Name', signal)).rejects.toThrow(/reference/)
  })

  test('layers go with the last image that needs them', async () => {
    const base = await rootfsTar()
    const top = await tar([text('x', 'x')])
    await load(
      await dockerArchive([
        { tags: ['one', 'uno'], layers: [base] },
        { tags: ['two'], layers: [base, top] },
      ]),
    )
    await driver.remove('one')
    expect(await driver.find('one')).toBeUndefined()
    expect(await driver.find('uno')).toBeDefined()
    await driver.remove('two')
    expect(layerDirectories()).toHaveLength(1)
    const [left] = await driver.list()
    await driver.remove(left?.id ?? '')
    expectEmpty()
    await expect(driver.remove('one')).rejects.toThrow(expect.objectContaining({ code: 'notFound' }))
  })

  test('an image whose layers a container shows is not removed', async () => {
    const [image] = await load(await dockerArchive([{ tags: ['app'], layers: [await rootfsTar()] }]))
    const merged = join(dataDir, 'merged')
    mkdirSync(join(dataDir, 'upper'))
    mkdirSync(join(dataDir, 'work'))
    mkdirSync(merged)
    const lower = image?.layerDirectories.join(':')
    const options = `lowerdir=${lower},upperdir=${dataDir}/upper,workdir=${dataDir}/work`
    execFileSync('mount', ['-t', 'overlay', 'drvt', '-o', options, merged])
    try {
      await expect(driver.remove('app')).rejects.toMatchObject({ code: 'conflict' })
      expect(readdirSync(join(merged, 'bin')).length).toBeGreaterThan(0)
    } finally {
      execFileSync('umount', [merged])
    }
    await driver.remove('app')
    expectEmpty()
  })

  test('a layer takes over the attributes of directories that it only implies', async () => {
    const base = await tar([
      { name: 'tmp', type: 'directory', mode: 0o1777 },
      { name: 'home/ada', type: 'directory', mode: 0o700, uid: 5 },
    ])
    const top = await tar([text('x', 'tmp/x'), text('y', 'home/ada/deep/y')])
    const [image] = await load(await dockerArchive([{ tags: ['app'], layers: [base, top] }]))
    const upper = image?.layerDirectories[1] ?? ''
    expect(lstatSync(join(upper, 'tmp')).mode & 0o7777).toBe(0o1777)
    expect(lstatSync(join(upper, 'home/ada'))).toMatchObject({ uid: 5, mode: 0o40700 })
    expect(lstatSync(join(upper, 'home/ada/deep')).mode & 0o7777).toBe(0o755)
  })

  test('a name moves to the image loaded last', async () => {
    const base = await rootfsTar()
    const [old] = await load(await dockerArchive([{ tags: ['app'], layers: [base] }]))
    const [renewed] = await load(await dockerArchive([{ tags: ['app'], layers: [base], config: { User: 'web' } }]))
    expect((await driver.find('app'))?.id).toBe(renewed?.id)
    expect((await driver.find(old?.id ?? ''))?.names).toEqual([])
  })
})

describe('users', () => {
  test('are looked up through the layers', async () => {
    const base = await rootfsTar()
    const changed = await tar([text('root:x:0:0::/root:/bin/sh\nnew:x:7:7::/new:/bin/sh\n', 'etc/passwd')])
    const hidden = await tar([{ name: 'etc/.wh.passwd' }])
    const opaque = await tar([{ name: 'etc', type: 'directory' }, { name: 'etc/.wh..wh..opq' }])
    const linked = await tar([
      { name: 'etc/.wh.passwd' },
      { name: 'etc/passwd', type: 'symlink', linkname: '../../../../../usr/passwd' },
      text('far:x:9:9::/far:/bin/sh\n', 'usr/passwd'),
    ])
    const images = await load(
      await dockerArchive([
        { tags: ['base'], layers: [base] },
        { tags: ['changed'], layers: [base, changed] },
        { tags: ['hidden'], layers: [base, hidden] },
        { tags: ['opaque'], layers: [base, opaque] },
        { tags: ['linked'], layers: [base, linked] },
      ]),
    )
    const [one, two, three, four, five] = images
    if (!one || !two || !three || !four || !five) throw new Error('an image is missing')
    expect(await driver.resolveUser(one, 'web')).toEqual({
      uid: 1000,
      gid: 1001,
      additionalGids: [1002],
      home: '/home/web',
    })
    expect(await driver.resolveUser(one, '')).toMatchObject({ uid: 0, gid: 0, home: '/root' })
    expect(await driver.resolveUser(one, '1000:logs')).toMatchObject({ uid: 1000, gid: 1002 })
    expect(await driver.resolveUser(one, '4242')).toEqual({ uid: 4242, gid: 0, additionalGids: [], home: '/' })
    expect(await driver.resolveUser(two, 'new')).toMatchObject({ uid: 7 })
    for (const image of [two, three, four, five]) {
      await expect(driver.resolveUser(image, 'web')).rejects.toThrow(/no user "web"/)
    }
    expect(await driver.resolveUser(five, 'far')).toMatchObject({ uid: 9 })
  })
})
