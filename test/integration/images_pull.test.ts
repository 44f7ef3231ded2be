import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createImageDriver, type ImageDriverOptions } from '../../src/agent/images/driver.ts'
import { HttpClient } from '../../src/agent/images/http.ts'
import type { ImageDriver, PullProgress } from '../../src/agent/images/images.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { createCa, issueCertificate } from '../../src/base/pki.ts'
import { systemRandom } from '../../src/base/random.ts'
import { digestOf, dockerArchive, rootfsTar, tar } from '../support/archives.ts'
import { eventually } from '../support/eventually.ts'
import { startRegistry, type TestRegistry } from '../support/registry.ts'
import { type Front, forward, type Intercept, startFront, startProxy } from '../support/registry_front.ts'

const USER = { username: 'ada', password: 'p:w d' }
const signal = new AbortController().signal
let registry: TestRegistry
let dataDir = ''
let driver: ImageDriver
const fronts: Front[] = []
/** Not compressible, so that a transfer has many pieces. */
const BIG = randomBytes(3 << 20)

beforeAll(async () => {
  registry = await startRegistry()
  const big = await tar([{ name: 'big', content: BIG }])
  const layers = [await rootfsTar(), big, await tar([{ name: 'small', content: 'x' }])]
  await registry.push(await dockerArchive([{ tags: ['a:1'], layers, config: { Env: ['A=b'] } }]), 'team/app:v1')
  await registry.push(await dockerArchive([{ tags: ['a:1'], layers: layers.slice(0, 2) }]), 'team/oci:v1', {
    oci: true,
  })
  const foreign = await dockerArchive([{ tags: ['a:1'], layers: layers.slice(2), architecture: 's390x' }])
  await registry.push(foreign, 'team/foreign:v1')
})
afterAll(() => registry.stop())
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-pull-'))
  driver = await open()
})
afterEach(async () => {
  for (const front of fronts.splice(0)) await front.stop()
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
})

async function open(more: Partial<ImageDriverOptions> = {}): Promise<ImageDriver> {
  const options = { dataDir, clock: systemClock, random: systemRandom, log: silentLogger, insecureRegistries: [] }
  const made = createImageDriver({ ...options, ...more })
  await made.initialize()
  return made
}

async function front(intercept: Intercept): Promise<Front> {
  const made = await startFront(registry.host, intercept)
  fronts.push(made)
  return made
}

const LAYER = 'application/vnd.oci.image.layer.v1.tar'
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

interface Described {
  mediaType: string
  digest: string
  size: number
}

const described = (content: Uint8Array | string): Described => ({
  mediaType: LAYER,
  digest: digestOf(content),
  size: content.length,
})

/** Of an image of these layers, plain tars. */
function configOf(...layers: Uint8Array[]): string {
  const architecture = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch
  return JSON.stringify({ os: 'linux', architecture, rootfs: { type: 'layers', diff_ids: layers.map(digestOf) } })
}

const manifestOf = (config: string, ...layers: Described[]): object => ({
  schemaVersion: 2,
  mediaType: MANIFEST,
  config: { ...described(config), mediaType: 'application/vnd.oci.image.config.v1+json' },
  layers,
})

/** A registry of just these manifests by tag, and blobs by what is said to be their digest. */
function serve(manifests: ReadonlyMap<string, object>, blobs: ReadonlyMap<string, Uint8Array>): Promise<Front> {
  return front((asked, answer) => {
    const [kind = '', name = ''] = (asked.url ?? '').split('/').slice(-2)
    const manifest = manifests.get(name)
    const body = kind === 'blobs' ? blobs.get(name) : manifest && JSON.stringify(manifest)
    if (body === undefined) answer.writeHead(404).end()
    else answer.writeHead(200, { 'content-type': kind === 'blobs' ? 'application/octet-stream' : MANIFEST }).end(body)
    return true
  })
}

const isBlob = (url: string | undefined) => url?.includes('/blobs/') === true
const leftovers = () => [...readdirSync(join(dataDir, 'layers')), ...readdirSync(join(dataDir, 'tmp'))]

describe('a plain registry', () => {
  test('pulls, reports progress, finds by name and digest, and needs no layer twice', async () => {
    const metrics = new Registry()
    driver = await open({ registry: metrics })
    const progress: PullProgress[] = []
    const reference = `${registry.host}/team/app:v1`
    const image = await driver.pull(reference, { signal, onProgress: (step) => progress.push(step) })
    expect(image).toMatchObject({ names: [reference], config: { env: ['A=b'] } })
    expect(image.layerDirectories).toHaveLength(3)
    expect(readFileSync(join(image.layerDirectories[1] ?? '', 'big')).equals(BIG)).toBe(true)
    const last = progress.at(-1)
    expect(last?.doneBytes).toBe(last?.totalBytes)
    expect(last?.message).toBe('3 of 3 layers')
    expect((await driver.find(`${registry.host}/team/app@${image.digest}`))?.id).toBe(image.id)
    const second = await driver.pull(`${registry.host}/team/oci:v1`, { signal })
    expect(second.layerDirectories).toEqual(image.layerDirectories.slice(0, 2))
    const pinned = await driver.pull(`${registry.host}/team/app@${image.digest}`, { signal })
    expect(pinned.names).toContain(`${registry.host}/team/app@${image.digest}`)
    expect(await metrics.metrics()).toContain('drover_image_pull_seconds_count{result="ok"} 3')
  })

  test('says what is wrong with a name, a platform, a host', async () => {
    const pull = (reference: string) => driver.pull(reference, { signal })
    await expect(pull(`${registry.host}/team/app:none`)).rejects.toMatchObject({
      code: 'notFound',
      message: `registry says: manifest unknown: ${registry.host}/team/app:none`,
    })
    await expect(pull(`${registry.host}/team/none:v1`)).rejects.toMatchObject({ code: 'notFound' })
    await expect(pull(`${registry.host}/team/foreign:v1`)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('is made for linux/s390x'),
    })
    await expect(pull('127.0.0.1:1/x')).rejects.toMatchObject({
      code: 'unavailable',
      message: '127.0.0.1:1: connection refused',
    })
    await expect(pull('Bad')).rejects.toMatchObject({ code: 'invalid' })
    expect(leftovers()).toEqual([])
  })

  test('layers come side by side', async () => {
    // Each waits until all three are asked for: one after the other would never end.
    const waiting = new Set<string | undefined>()
    let release = (): void => undefined
    const all = new Promise<boolean>((resolve) => {
      release = () => resolve(false)
    })
    let blobs = 0
    const shared = await front((asked) => {
      // The first blob is the configuration, without which there are no layers to ask for.
      if (!isBlob(asked.url) || ++blobs === 1) return false
      waiting.add(asked.url)
      if (waiting.size === 3) release()
      return all
    })
    expect((await driver.pull(`${shared.host}/team/app:v1`, { signal })).layerDirectories).toHaveLength(3)
    expect(waiting.size).toBe(3)
  })

  test('another registry that has the same layers and never gives them holds no pull', async () => {
    let held = 0
    const dripping = await front(async (asked, answer) => {
      if (!isBlob(asked.url)) return false
      const { status, headers, body } = await forward(registry.host, asked)
      // Its configuration it gives.
      if (body.subarray(0, 1).toString() === '{') answer.writeHead(status, { ...headers }).end(body)
      else answer.writeHead(status, { ...headers }).write(body.subarray(0, ++held))
      return true
    })
    const stuck = new AbortController()
    const never = driver.pull(`${dripping.host}/team/app:v1`, { signal: stuck.signal })
    await eventually(() => held === 3)
    expect((await driver.pull(`${registry.host}/team/app:v1`, { signal })).layerDirectories).toHaveLength(3)
    stuck.abort()
    await expect(never).rejects.toMatchObject({ code: 'cancelled' })
  })

  test('a layer that another repository lacks is asked of the own one', async () => {
    let blobs = 0
    let release = (): void => undefined
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const shared = await front(async (asked, answer) => {
      if (asked.url?.includes('/team/lacks/') !== true) return false
      // Its configuration comes first.
      if (!isBlob(asked.url) || ++blobs === 1) {
        asked.url = asked.url.replace('/team/lacks/', '/team/app/')
        return false
      }
      await gate
      answer.writeHead(404).end()
      return true
    })
    const lacking = driver.pull(`${shared.host}/team/lacks:v1`, { signal }).catch((error: unknown) => error)
    await eventually(() => blobs > 3)
    const joined: PullProgress[] = []
    const whole = driver.pull(`${shared.host}/team/app:v1`, { signal, onProgress: (progress) => joined.push(progress) })
    await eventually(() => joined.length > 0)
    release()
    expect((await whole).layerDirectories).toHaveLength(3)
    expect(await lacking).toMatchObject({ code: 'notFound' })
  })

  test('several pulls share the work, and it ends with the last that wants it', async () => {
    let release = (): void => undefined
    const gate = new Promise<boolean>((resolve) => {
      release = () => resolve(false)
    })
    const shared = await front((asked) => (isBlob(asked.url) ? gate : false))
    const [one, two] = [new AbortController(), new AbortController()]
    const first = driver.pull(`${shared.host}/team/app:v1`, { signal: one.signal })
    const second = driver.pull(`${shared.host}/team/app:v1`, { signal: two.signal })
    one.abort()
    await expect(first).rejects.toMatchObject({ code: 'cancelled' })
    release()
    expect((await second).layerDirectories).toHaveLength(3)
    const blobs = shared.seen.filter((line) => line.includes('/blobs/'))
    expect(new Set(blobs).size).toBe(blobs.length)
    await driver.remove(`${shared.host}/team/app:v1`)
    const stuck = await front((asked) => (isBlob(asked.url) ? new Promise<boolean>(() => undefined) : false))
    const third = new AbortController()
    const never = driver.pull(`${stuck.host}/team/app:v1`, { signal: third.signal })
    third.abort()
    await expect(never).rejects.toMatchObject({ code: 'cancelled' })
  })
})

describe('trouble on the way', () => {
  test('a transfer that breaks goes on where it stopped', async () => {
    let cuts = 0
    const broken = await front(async (asked, answer) => {
      if (!isBlob(asked.url)) return false
      const { status, headers, body } = await forward(registry.host, asked)
      if (body.length < 500_000 || ++cuts > 3) return false
      answer.writeHead(status, { ...headers })
      answer.write(body.subarray(0, 400_000), () => answer.destroy())
      return true
    })
    const image = await driver.pull(`${broken.host}/team/app:v1`, { signal })
    expect(readFileSync(join(image.layerDirectories[1] ?? '', 'big')).equals(BIG)).toBe(true)
    const ranges = broken.seen.flatMap((line) => / bytes=(\d+)-$/.exec(line)?.[1] ?? [])
    expect(ranges.length).toBeGreaterThanOrEqual(3)
    expect(Number(ranges.at(-1))).toBeGreaterThan(0)
  })

  test('also with a server that knows no ranges', async () => {
    let cuts = 0
    const whole = await front(async (asked, answer) => {
      delete asked.headers.range
      if (!isBlob(asked.url)) return false
      const { status, headers, body } = await forward(registry.host, asked)
      answer.writeHead(status, { ...headers })
      if (body.length < 500_000 || ++cuts > 2) answer.end(body)
      else answer.write(body.subarray(0, 400_000 * cuts), () => answer.destroy())
      return true
    })
    const image = await driver.pull(`${whole.host}/team/app:v1`, { signal })
    expect(readFileSync(join(image.layerDirectories[1] ?? '', 'big')).equals(BIG)).toBe(true)
  })

  test('errors that pass are waited out', async () => {
    let failures = 0
    const flaky = await front((_asked, answer) => {
      if (++failures > 2) return false
      answer.writeHead(503).end()
      return true
    })
    await expect(driver.pull(`${flaky.host}/team/app:v1`, { signal })).resolves.toBeDefined()
  })

  test('a registry that says when to come back is asked again then, and no sooner', async () => {
    const refusedMs = new Map<string, number>()
    const waitedMs: number[] = []
    // The first manifest and the first blob.
    const limited = await front((asked, answer) => {
      const url = asked.url ?? ''
      const sinceMs = refusedMs.get(url)
      if (sinceMs !== undefined) waitedMs.push(performance.now() - sinceMs)
      if ([...refusedMs.keys()].some((refused) => isBlob(refused) === isBlob(url))) return false
      refusedMs.set(url, performance.now())
      // Dates have whole seconds.
      const date = new Date(Math.ceil(Date.now() / 1000 + 1) * 1000).toUTCString()
      answer.writeHead(isBlob(url) ? 503 : 429, { 'retry-after': isBlob(url) ? date : '1' }).end()
      return true
    })
    await expect(driver.pull(`${limited.host}/team/app:v1`, { signal })).resolves.toBeDefined()
    expect(waitedMs).toHaveLength(2)
    expect(Math.min(...waitedMs)).toBeGreaterThanOrEqual(990)
    const closed = await front((_asked, answer) => {
      answer.writeHead(429, { 'retry-after': '120' }).end()
      return true
    })
    await expect(driver.pull(`${closed.host}/team/app:v1`, { signal })).rejects.toMatchObject({
      code: 'tooManyRequests',
      retryAfterSeconds: 120,
    })
    expect(closed.seen).toHaveLength(1)
  })

  test('a date to come back is by the clock of the registry, whatever ours shows', async () => {
    const ahead = await front((_asked, answer) => {
      const theirsMs = Math.floor(Date.now() / 1000) * 1000 - 3_600_000
      const headers = { date: new Date(theirsMs), 'retry-after': new Date(theirsMs + 120_000) }
      const texts = Object.entries(headers).map(([name, date]) => [name, date.toUTCString()])
      answer.writeHead(503, Object.fromEntries(texts)).end()
      return true
    })
    await expect(driver.pull(`${ahead.host}/team/app:v1`, { signal })).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterSeconds: 120,
    })
  })

  test('content that is not what its digest says is refused, and nothing of it stays', async () => {
    const corrupt = (of: (url: string) => boolean): Promise<Front> =>
      front(async (asked, answer) => {
        if (!of(asked.url ?? '')) return false
        const { status, headers, body } = await forward(registry.host, asked)
        const at = Math.floor(body.length / 2)
        body[at] = (body[at] ?? 0) ^ 1
        answer.writeHead(status, { ...headers }).end(body)
        return true
      })
    const blobs = await corrupt(isBlob)
    await expect(driver.pull(`${blobs.host}/team/app:v1`, { signal })).rejects.toMatchObject({ code: 'invalid' })
    const good = await driver.pull(`${registry.host}/team/app:v1`, { signal })
    await driver.remove(good.id)
    const manifests = await corrupt((url) => url.includes('/manifests/'))
    await expect(driver.pull(`${manifests.host}/team/app@${good.digest}`, { signal })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('sent a wrong sha256:'),
    })
    expect(leftovers()).toEqual([])
  })

  test('a registry whose documents disagree, or that sends a bomb, is refused in words, and nothing of it stays', async () => {
    const [one, two] = [await tar([{ name: 'a', content: 'one' }]), await tar([{ name: 'b', content: 'two' }])]
    const bomb = await tar([{ name: 'zeros', content: Buffer.alloc(8 << 20) }])
    const small = gzipSync(bomb)
    expect(small.length).toBeLessThan(100_000)
    const packed: Described = { ...described(small), mediaType: `${LAYER}+gzip` }
    const cases: [string, object, string, RegExp][] = [
      [
        'fewer layers than its configuration',
        manifestOf(configOf(one, two), described(one)),
        'invalid',
        /names 1 layers.* 2/,
      ],
      ['more layers', manifestOf(configOf(one), described(one), described(two)), 'invalid', /names 2 layers.* 1/],
      ['another layer', manifestOf(configOf(one), described(two)), 'invalid', /sha256:/],
      ['layers in another order', manifestOf(configOf(one, two), described(two), described(one)), 'invalid', /sha256:/],
      [
        'a layer longer than it says',
        manifestOf(configOf(one), { ...described(one), size: 10 }),
        'invalid',
        /longer than the 10/,
      ],
      ['no size', manifestOf(configOf(one), { ...described(one), size: -1 }), 'invalid', /has no size/],
      ['no digest', manifestOf(configOf(one), { ...described(one), digest: 'md5:1' }), 'invalid', /is not a digest/],
      [
        'a path for a digest',
        manifestOf(configOf(one), { ...described(one), digest: '../../etc' }),
        'invalid',
        /is not a digest/,
      ],
      ['a configuration that is none', manifestOf('[]', described(one)), 'invalid', /not a JSON object/],
      [
        'a huge configuration',
        { ...manifestOf('{}'), config: { ...described('{}'), size: 2 ** 40 } },
        'tooLarge',
        /too many for a document/,
      ],
      ['an index of nothing', { schemaVersion: 2, manifests: [] }, 'notFound', /no image/],
      ['a bomb', manifestOf(configOf(bomb), packed), 'tooLarge', /larger than 1000000 bytes when unpacked/],
    ]
    const contents = [one, two, small, configOf(one), configOf(one, two), configOf(bomb), '[]', '{}']
    const blobs = new Map(contents.map((content) => [digestOf(content), Buffer.from(content)]))
    const hostile = await serve(new Map(cases.map(([, manifest], i) => [`v${i}`, manifest])), blobs)
    driver = await open({ maxLayerBytes: 1_000_000 })
    for (const [i, [title, , code, message]] of cases.entries()) {
      await expect(driver.pull(`${hostile.host}/team/bad:v${i}`, { signal }), title).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      })
      expect(leftovers(), title).toEqual([])
    }
    expect(await driver.list()).toEqual([])
  })

  test('a pull that fails half-way leaves no connection open', async () => {
    const layer = Buffer.concat([await tar([{ name: '../out', content: 'x' }]), randomBytes(4 << 20)])
    const forms: [string, Buffer][] = [
      ['v1', layer],
      ['v2', gzipSync(layer, { level: 1 })],
    ]
    const config = configOf(layer)
    const content = forms.map(([, bytes]) => bytes)
    const served = await serve(
      new Map(forms.map(([tag, bytes]) => [tag, manifestOf(config, described(bytes))])),
      new Map([...content, Buffer.from(config)].map((bytes) => [digestOf(bytes), bytes])),
    )
    for (const [tag] of forms) {
      const pulling = driver.pull(`${served.host}/team/bad:${tag}`, { signal })
      await expect(pulling, tag).rejects.toMatchObject({ message: expect.stringContaining('leads out') })
      await eventually(() => served.connections() === 0)
    }
  })

  test('a blob elsewhere: redirects are followed without credentials', async () => {
    const seen: (string | undefined)[] = []
    const store = await front((asked) => {
      seen.push(asked.headers.authorization)
      return false
    })
    const redirecting = await front((asked, answer) => {
      if (asked.headers.authorization === undefined) {
        answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
        return true
      }
      delete asked.headers.authorization
      if (!isBlob(asked.url)) return false
      answer.writeHead(307, { location: `http://${store.host}${asked.url}` }).end()
      return true
    })
    await driver.pull(`${redirecting.host}/team/app:v1`, { signal, credentials: () => [USER] })
    expect(seen.length).toBeGreaterThan(0)
    expect(seen.every((value) => value === undefined)).toBe(true)
  })
})

describe('who may', () => {
  test('basic authentication', async () => {
    const guarded = await startRegistry({ user: USER })
    try {
      await guarded.push(await dockerArchive([{ tags: ['a:1'], layers: [await rootfsTar()] }]), 'private/app:v1')
      const reference = `${guarded.host}/private/app:v1`
      await expect(driver.pull(reference, { signal })).rejects.toMatchObject({ code: 'unauthorized' })
      const [wrong, other] = [
        { ...USER, password: 'no' },
        { username: 'eve', password: 'x' },
      ]
      for (const refused of [[wrong], [wrong, other]]) {
        await expect(driver.pull(reference, { signal, credentials: () => refused })).rejects.toMatchObject({
          code: 'unauthorized',
          message: expect.stringContaining(guarded.host),
        })
      }
      const credentials = (host: string, repository: string) =>
        host === guarded.host && repository === 'private/app' ? [wrong, other, USER] : []
      await expect(driver.pull(reference, { signal, credentials })).resolves.toBeDefined()
    } finally {
      await guarded.stop()
    }
  })

  test('bearer tokens, for anyone or by password', async () => {
    const asked: string[] = []
    const tokens = await front((request, answer) => {
      asked.push(`${request.url} ${request.headers.authorization ?? '-'}`)
      answer.writeHead(200).end(JSON.stringify({ token: 'sesame', expires_in: 60 }))
      return true
    })
    const guarded = await front((request, answer) => {
      const open = request.headers.authorization === 'Bearer sesame'
      delete request.headers.authorization
      if (open) return false
      const challenge = `Bearer realm="http://${tokens.host}/token",service="drvt",scope="repository:team/app:pull"`
      answer.writeHead(401, { 'www-authenticate': challenge }).end()
      return true
    })
    await driver.pull(`${guarded.host}/team/app:v1`, { signal })
    expect(asked[0]).toBe('/token?service=drvt&scope=repository%3Ateam%2Fapp%3Apull -')
    await driver.pull(`${guarded.host}/team/app:v1`, { signal, credentials: () => [USER] })
    expect(asked.at(-1)).toMatch(/account=ada Basic YWRhOnA6dyBk$/)
  })
})

describe('credentials', () => {
  const basic = (username: string): string => `Basic ${Buffer.from(`${username}:p`).toString('base64')}`
  const accounts = (...usernames: string[]) => usernames.map((username) => ({ username, password: 'p' }))
  /** Asks for credentials; `answerTo` says with which status each account is met, 0: with what is asked for. */
  const guard = async (answerTo: (username: string) => number) => {
    const users = new Set<string>()
    const guarded = await front((asked, answer) => {
      const { authorization = '' } = asked.headers
      delete asked.headers.authorization
      const user = Buffer.from(authorization.slice(6), 'base64').toString().split(':')[0] ?? ''
      if (user !== '') users.add(user)
      const status = user === '' ? 401 : answerTo(user)
      if (status === 0) return false
      answer.writeHead(status, { 'www-authenticate': 'Basic realm="x"' }).end()
      return true
    })
    return { host: guarded.host, users }
  }

  test('are tried one after the other while the registry refuses, also where it hides what it has', async () => {
    const statuses: Record<string, number> = { wrong: 401, barred: 403, blind: 404, ada: 0 }
    const { host, users } = await guard((user) => statuses[user] ?? 500)
    const all = () => accounts('wrong', 'barred', 'blind', 'ada', 'late')
    await expect(driver.pull(`${host}/team/app:v1`, { signal, credentials: all })).resolves.toBeDefined()
    expect([...users]).toEqual(['wrong', 'barred', 'blind', 'ada'])
    await driver.remove(`${host}/team/app:v1`)
    const none = () => accounts('blind', 'wrong')
    await expect(driver.pull(`${host}/team/app:v1`, { signal, credentials: none })).rejects.toMatchObject({
      code: 'unauthorized',
      message: expect.stringMatching(/team\/app:v1; .*refuses.* \(with each of 2 credentials\)$/),
    })
    const hidden = () => accounts('blind')
    await expect(driver.pull(`${host}/team/app:v1`, { signal, credentials: hidden })).rejects.toMatchObject({
      code: 'notFound',
    })
  })

  test('are not tried further when something else is wrong', async () => {
    const { host, users } = await guard(() => 400)
    const all = () => accounts('ada', 'bob')
    await expect(driver.pull(`${host}/team/app:v1`, { signal, credentials: all })).rejects.toMatchObject({
      code: 'invalid',
    })
    expect([...users]).toEqual(['ada'])
  })

  test("go to the host that they are for: a mirror gets its own, and who has none shares no other's pull", async () => {
    let release = (): void => undefined
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const seen = new Set<string>()
    const mirror = await front(async (asked, answer) => {
      const { authorization } = asked.headers
      delete asked.headers.authorization
      if (authorization !== undefined) seen.add(authorization)
      if (authorization === basic('mirror')) {
        if (isBlob(asked.url)) await gate
        return false
      }
      answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
      return true
    })
    driver = await open({ mirrors: { '127.0.0.1:1': [`http://${mirror.host}`] } })
    const pull = (byHost: Record<string, string>) => {
      const credentials = (host: string) => accounts(...(byHost[host] === undefined ? [] : [byHost[host]]))
      return driver.pull('127.0.0.1:1/team/app:v1', { signal, credentials })
    }
    const first = pull({ [mirror.host]: 'mirror', '127.0.0.1:1': 'own' })
    await expect(pull({ '127.0.0.1:1': 'own' })).rejects.toMatchObject({ code: 'unavailable' })
    release()
    await expect(first).resolves.toBeDefined()
    expect([...seen]).toEqual([basic('mirror')])
  })
})

describe('whom credentials do not go to', () => {
  /** Answers a 401 with this challenge unless somebody says who they are; true when it has. */
  const challenges = (challenge: string, asked: IncomingMessage, answer: ServerResponse): boolean => {
    const who = asked.headers.authorization
    delete asked.headers.authorization
    if (who === undefined) answer.writeHead(401, { 'www-authenticate': challenge }).end()
    return who === undefined
  }

  test('a host that a redirect leads to and that asks for them; a fresh redirect is asked for', async () => {
    const seen: string[] = []
    let refused = 0
    const thief = await front((asked, answer) => {
      seen.push(`${asked.url} ${asked.headers.authorization ?? '-'}`)
      if (refused >= 2) return false
      refused++
      const challenge = `Bearer realm="http://${asked.headers.host}/token",service="x", Basic realm="x"`
      answer.writeHead(401, { 'www-authenticate': challenge }).end()
      return true
    })
    const redirecting = await front((asked, answer) => {
      if (challenges('Basic realm="x"', asked, answer)) return true
      if (!isBlob(asked.url)) return false
      answer.writeHead(307, { location: `http://${thief.host}${asked.url}` }).end()
      return true
    })
    await driver.pull(`${redirecting.host}/team/app:v1`, { signal, credentials: () => [USER] })
    expect(refused).toBe(2)
    expect(seen.filter((line) => !/^\/v2\/.* -$/.test(line))).toEqual([])
  })

  test('a mirror that is not encrypted, unless it is listed', async () => {
    const seen: (string | undefined)[] = []
    const proxy = await startFront(registry.host, (asked, answer) => {
      seen.push(asked.headers.authorization)
      asked.url = new URL(asked.url ?? '').pathname
      return challenges('Basic realm="x"', asked, answer)
    })
    fronts.push(proxy)
    const credentials = (host: string) => (host === 'm.test' ? [USER] : [])
    const behind = { proxy: { url: `http://${proxy.host}` }, mirrors: { 'lab.test': ['http://m.test'] } }
    driver = await open(behind)
    const pulling = driver.pull('lab.test/team/app:v1', { signal, credentials })
    await expect(pulling).rejects.toMatchObject({ code: 'unavailable' })
    expect(seen).toEqual([undefined])
    driver = await open({ ...behind, insecureRegistries: ['m.test'] })
    await driver.pull('lab.test/team/app:v1', { signal, credentials })
    expect(seen).toContain('Basic YWRhOnA6dyBk')
  })
})

describe('ways to a registry', () => {
  test('a proxy, which needs a password, even for loopback', async () => {
    const proxy = await startProxy('Basic abc')
    fronts.push(proxy)
    driver = await open({ proxy: { url: `http://${proxy.host}`, authorization: 'Basic abc' } })
    await driver.pull(`${registry.host}/team/app:v1`, { signal })
    expect(proxy.seen).toContain(`GET http://${registry.host}/v2/team/app/manifests/v1`)
    driver = await open({ proxy: { url: `http://${proxy.host}` } })
    await expect(driver.pull(`${registry.host}/team/app:v1`, { signal })).rejects.toThrow(/407/)
  })

  test('TLS: an unknown certificate is refused unless the registry is listed; through a proxy too', async () => {
    const ca = await createCa('drvt', { clock: systemClock })
    const facts = { commonName: 'r', usages: ['server'] as const, validityMs: 3_600_000, clock: systemClock }
    const { certPem, keyPem } = await issueCertificate(ca, { ...facts, dnsNames: ['localtest.drvt'] })
    let answered = 0
    const server = createTlsServer({ cert: certPem, key: keyPem }, (asked, answer) => {
      answered++
      forward(registry.host, asked).then(
        ({ status, headers, body }) => answer.writeHead(status, { ...headers }).end(body),
        () => answer.destroy(),
      )
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    try {
      // Loopback is insecure by default, so the certificate is not looked at; TLS is used all the same.
      await driver.pull(`127.0.0.1:${port}/team/app:v1`, { signal })
      expect(answered).toBeGreaterThan(0)
      const proxy = await startProxy()
      fronts.push(proxy)
      driver = await open({ proxy: { url: `http://${proxy.host}` } })
      await driver.pull(`localhost:${port}/team/app:v1`, { signal })
      expect(proxy.seen).toContain(`CONNECT localhost:${port}`)
      await eventually(() => proxy.connections() === 0)
      const request = { url: new URL(`https://127.0.0.1:${port}/v2/`), headers: {}, verifyTls: true, signal }
      for (const more of [{}, { proxy: { url: `http://${proxy.host}` } }]) {
        await expect(new HttpClient({ clock: systemClock, ...more }).send(request)).rejects.toMatchObject({
          code: 'unavailable',
          message: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
        })
      }
      await eventually(() => proxy.connections() === 0)
      driver = await open({ mirrors: { 'example.test': [`https://127.0.0.1:${port}`] } })
      await driver.pull('example.test/team/app:v1', { signal })
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  test('plain HTTP: only of a registry that is listed, which a mirror does not get round', async () => {
    // A proxy that knows the names, since loopback itself counts as listed.
    const names: string[] = []
    const proxy = await startFront(registry.host, (asked) => {
      names.push(`${asked.method} ${asked.url}`)
      asked.url = new URL(asked.url ?? '').pathname
      return false
    })
    fronts.push(proxy)
    const behind = (more: Partial<ImageDriverOptions>) => open({ proxy: { url: `http://${proxy.host}` }, ...more })
    driver = await behind({})
    await expect(driver.pull('lab.test:5000/team/app:v1', { signal })).rejects.toMatchObject({ code: 'unavailable' })
    driver = await behind({
      insecureRegistries: ['other.test', 'lab.test:5001'],
      mirrors: { 'lab.test:5000': ['m.test'] },
    })
    await expect(driver.pull('lab.test:5000/team/app:v1', { signal })).rejects.toMatchObject({ code: 'unavailable' })
    expect(names).toEqual([])
    expect(leftovers()).toEqual([])
    driver = await behind({ insecureRegistries: ['lab.test:5000'] })
    const image = await driver.pull('lab.test:5000/team/app:v1', { signal })
    expect(image.names).toEqual(['lab.test:5000/team/app:v1'])
    expect(names[0]).toBe('GET http://lab.test:5000/v2/team/app/manifests/v1')
  })

  test('TLS that leads to plain HTTP is not followed', async () => {
    const ca = await createCa('drvt', { clock: systemClock })
    const facts = { commonName: 'r', usages: ['server'] as const, validityMs: 3_600_000, clock: systemClock }
    const { certPem, keyPem } = await issueCertificate(ca, { ...facts, dnsNames: ['localtest.drvt'] })
    const server = createTlsServer({ cert: certPem, key: keyPem }, (asked, answer) => {
      answer.writeHead(307, { location: `http://${registry.host}${asked.url}` }).end()
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    try {
      const { port } = server.address() as AddressInfo
      await expect(driver.pull(`127.0.0.1:${port}/team/app:v1`, { signal })).rejects.toMatchObject({
        code: 'invalid',
        message: expect.stringContaining('which is not followed'),
      })
      expect(leftovers()).toEqual([])
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  test('layers come plain, by gzip and by zstd, and are the same', async () => {
    const layer = await tar([{ name: 'how', content: 'packed' }])
    const file = join(dataDir, 'layer.tar')
    writeFileSync(file, layer)
    const forms: [string, Buffer][] = [
      ['', layer],
      ['+gzip', gzipSync(layer)],
      ['+zstd', execFileSync('zstd', ['-q', '-c', file])],
    ]
    const config = configOf(layer)
    const blobs = new Map<string, Uint8Array>([[digestOf(config), Buffer.from(config)]])
    const manifests = new Map<string, object>()
    for (const [form, bytes] of forms) {
      blobs.set(digestOf(bytes), bytes)
      manifests.set(`v${form.slice(1)}`, manifestOf(config, { ...described(bytes), mediaType: `${LAYER}${form}` }))
    }
    const served = await serve(manifests, blobs)
    for (const tag of manifests.keys()) {
      const image = await driver.pull(`${served.host}/team/packed:${tag}`, { signal })
      expect(readFileSync(join(image.layerDirectories[0] ?? '', 'how'), 'utf8'), tag).toBe('packed')
      // So that the next does not find its layer here.
      await driver.remove(image.id)
      expect(leftovers(), tag).toEqual([])
    }
    expect(served.seen.filter((line) => line.includes('/blobs/')).length).toBeGreaterThanOrEqual(6)
  })

  test('mirrors are asked first; one that lacks the image or is not there is passed over', async () => {
    const empty = await front((_asked, answer) => {
      answer.writeHead(404).end()
      return true
    })
    driver = await open({ mirrors: { 'docker.io': ['http://127.0.0.1:1', empty.host, `http://${registry.host}`] } })
    const image = await driver.pull('team/app:v1', { signal })
    expect(image.names).toEqual(['docker.io/team/app:v1'])
    expect(empty.seen.length).toBeGreaterThan(0)
    expect(existsSync(join(image.layerDirectories[2] ?? '', 'small'))).toBe(true)
  })

  test('a manifest list: this machine of several', async () => {
    const own = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch
    const asked = { headers: { accept: '*/*' }, method: 'GET', url: '/v2/team/app/manifests/v1' }
    const { body } = await forward(registry.host, {
      ...asked,
      headers: { accept: 'application/vnd.docker.distribution.manifest.v2+json' },
    } as never)
    const index = JSON.stringify({
      schemaVersion: 2,
      manifests: [
        { digest: digestOf('other'), size: 5, platform: { os: 'linux', architecture: 'mips' } },
        { digest: digestOf(body), size: body.length, platform: { os: 'linux', architecture: own } },
      ],
    })
    const listing = await front((request, answer) => {
      if (!request.url?.endsWith('/manifests/multi')) return false
      answer.writeHead(200, { 'content-type': 'application/vnd.oci.image.index.v1+json' }).end(index)
      return true
    })
    const image = await driver.pull(`${listing.host}/team/app:multi`, { signal })
    expect(image.digest).toBe(digestOf(index))
    expect((await driver.find(digestOf(body)))?.id).toBe(image.id)
  })

  test('an index that names no platforms: the configurations tell', async () => {
    const layer = await tar([{ name: 'own', content: 'mine' }])
    const configs = [configOf(layer).replace(/"architecture":"\w+"/, '"architecture":"mips"'), configOf(layer)]
    const manifests = configs.map((config) => manifestOf(config, described(layer)))
    const named = manifests.map((manifest) => ({ ...described(JSON.stringify(manifest)), mediaType: MANIFEST }))
    const served = await serve(
      new Map<string, object>([
        ['v1', { schemaVersion: 2, manifests: named }],
        ...named.map(({ digest }, i): [string, object] => [digest, manifests[i] ?? {}]),
      ]),
      new Map([layer, ...configs].map((content) => [digestOf(content), Buffer.from(content)])),
    )
    const image = await driver.pull(`${served.host}/team/unsaid:v1`, { signal })
    expect(image.id).toBe(digestOf(configs[1] ?? ''))
  })
})
