/** Images that leave a node: pushed to a real registry, saved for whoever reads archives. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createImageDriver } from '../../src/agent/images/driver.ts'
import { HttpClient } from '../../src/agent/images/http.ts'
import type { ImageDriver } from '../../src/agent/images/images.ts'
import { systemClock } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { runOk } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import { chunked, dockerArchive, rootfsTar, tar } from '../support/archives.ts'
import { eventually } from '../support/eventually.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'
import { startRegistry, type TestRegistry } from '../support/registry.ts'
import { type Front, forward, type Intercept, startFront } from '../support/registry_front.ts'

const USER = { username: 'ada', password: 'p:w d' }
const signal = new AbortController().signal
const credentials = () => [USER]
const directories: string[] = []
const fronts: Front[] = []
let open_: TestRegistry
let closed: TestRegistry
let driver: ImageDriver

async function newDriver(): Promise<ImageDriver> {
  const dataDir = await mkdtemp(join(tmpdir(), 'drvt-push-'))
  directories.push(dataDir)
  const options = { dataDir, clock: systemClock, random: systemRandom, log: silentLogger, insecureRegistries: [] }
  const made = createImageDriver(options)
  await made.initialize()
  return made
}

beforeAll(async () => {
  open_ = await startRegistry()
  closed = await startRegistry({ user: USER })
})
afterAll(async () => {
  await open_.stop()
  await closed.stop()
})
beforeEach(async () => {
  driver = await newDriver()
  // More than one piece of an upload, and not to be compressed.
  const big = await tar([{ name: 'big', content: randomBytes(20 << 20) }])
  const layers = [await rootfsTar(), big, await tar([{ name: 'etc/.wh.group', content: '' }])]
  await driver.load(chunked(await dockerArchive([{ tags: ['app:1'], layers }])), undefined, signal)
})
afterEach(async () => {
  for (const front of fronts.splice(0)) await front.stop()
  for (const directory of directories.splice(0)) {
    await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
  }
})

/** As the driver sends them. */
const PIECE_BYTES = 8 << 20
const PART_BYTES = 3 << 20

/** A request of the registry behind with another body; resolves with the path and query it goes on at. */
async function forwardBody(host: string, { url, method }: IncomingMessage, body: Buffer) {
  const response = await fetch(`http://${host}${url}`, { method: method ?? '', body })
  await response.arrayBuffer()
  const { pathname, search } = new URL(response.headers.get('location') ?? '', `http://${host}`)
  return { status: response.status, location: pathname + search }
}

async function collect(archive: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of archive) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
}

describe('push', () => {
  test('what is pulled elsewhere is the same image; what the registry has is not sent again', async () => {
    const name = `${open_.host}/team/app:v1`
    const tagged = await driver.tag('app:1', name)
    expect([...tagged.names].sort()).toEqual([name, 'docker.io/library/app:1'])
    const digest = await driver.push(name, { signal })
    const other = await newDriver()
    const pulled = await other.pull(name, { signal })
    expect(pulled).toMatchObject({ id: tagged.id, digest })
    expect(await readFile(join(pulled.layerDirectories[0] ?? '', 'etc/passwd'), 'utf8')).toContain('web')
    const said: string[] = []
    expect(await driver.push(name, { signal, onProgress: ({ message }) => said.push(message) })).toBe(digest)
    expect(said.filter((message) => message.includes('is there already'))).toHaveLength(3)
    expect(said.filter((message) => message.includes('sending'))).toEqual([])
    // And others read it.
    const inspected = await runOk('skopeo', ['inspect', '--tls-verify=false', `docker://${name}`])
    expect(JSON.parse(inspected)).toMatchObject({ Digest: digest, Os: 'linux' })
  })

  test('needs credentials where the registry asks for them', async () => {
    const name = `${closed.host}/private/app:v1`
    await driver.tag('app:1', name)
    await expect(driver.push(name, { signal })).rejects.toMatchObject({ code: 'unauthorized' })
    await driver.push(name, { signal, credentials })
    expect((await (await newDriver()).pull(name, { signal, credentials })).names).toEqual([name])
  })

  test('a refusal that passes is waited out', async () => {
    let refused = 0
    const front = await startFront(open_.host, (asked, answer) => {
      if (asked.method !== 'POST' || refused > 0) return false
      refused++
      answer.writeHead(503).end()
      return true
    })
    try {
      const name = `${front.host}/team/patient:v1`
      await driver.tag('app:1', name)
      const digest = await driver.push(name, { signal })
      expect(refused).toBe(1)
      expect((await (await newDriver()).pull(`${open_.host}/team/patient:v1`, { signal })).digest).toBe(digest)
    } finally {
      await front.stop()
    }
  })

  test('to one that says 201 where others say 202, and 204 where they say 201', async () => {
    let said = 0
    await pushThrough(async (asked, answer) => {
      if (asked.method !== 'PATCH' && (asked.method !== 'PUT' || !asked.url?.includes('/blobs/'))) return false
      const { status, headers, body } = await forward(open_.host, asked)
      const { location, ...rest } = headers as Record<string, string>
      const place = location === undefined ? {} : { location: new URL(location).pathname + new URL(location).search }
      const other = asked.method === 'PATCH' && status === 202 ? 201 : status === 201 ? 204 : status
      if (other !== status) said++
      answer.writeHead(other, { ...rest, ...place }).end(other === 204 ? undefined : body)
      return true
    })
    expect(said).toBeGreaterThan(3)
  })

  /** Pushes through a front that does this to requests, then pulls from the registry behind: what came must be right. */
  async function pushThrough(intercept: Intercept): Promise<Front> {
    const front = await startFront(open_.host, intercept)
    fronts.push(front)
    const path = `team/broken-${fronts.length}:v1`
    await driver.tag('app:1', `${front.host}/${path}`)
    const digest = await driver.push(`${front.host}/${path}`, { signal })
    expect((await (await newDriver()).pull(`${open_.host}/${path}`, { signal })).digest).toBe(digest)
    return front
  }

  /** Breaks the connection once, in the second piece of the big layer, of which the registry has got a part. */
  function breakOnce(onPart: (location: string) => void): Intercept {
    let broken = false
    return async (asked, answer) => {
      const range = asked.headers['content-range'] ?? ''
      if (asked.method !== 'PATCH' || range.startsWith('0-') || broken) return false
      broken = true
      const body = (await buffer(asked)).subarray(0, PART_BYTES)
      const taken = await forwardBody(open_.host, asked, body)
      expect(taken.status).toBe(202)
      onPart(taken.location)
      answer.destroy()
      return true
    }
  }

  test('a piece that broke goes on where the registry says that it stands', async () => {
    let stands = ''
    const ranges: string[] = []
    const breaking = breakOnce((location) => {
      stands = location
    })
    const front = await pushThrough((asked, answer) => {
      const range = asked.headers['content-range']
      if (range !== undefined) ranges.push(range)
      // This registry's own locations say how far they were: whoever asks at an old one is told nothing.
      if (asked.method === 'GET' && asked.url?.includes('/uploads/')) asked.url = stands
      return breaking(asked, answer)
    })
    expect(front.seen.filter((line) => /^GET .*\/uploads\//.test(line))).toHaveLength(1)
    const start = PIECE_BYTES + PART_BYTES
    expect(ranges).toContain(`${start}-${start + PIECE_BYTES - 1}`)
  })

  test('what a registry has lost or does not tell is sent anew', async () => {
    const front = await pushThrough(breakOnce(() => undefined))
    // Three layers, the configuration, and one of them again.
    expect(front.seen.filter((line) => line.startsWith('POST'))).toHaveLength(5)
  })

  test('a blob whose last answer was lost is there', async () => {
    let lost = 0
    const front = await pushThrough(async (asked, answer) => {
      if (asked.method !== 'PUT' || !asked.url?.includes('/uploads/') || lost > 0) return false
      lost++
      expect((await forward(open_.host, asked)).status).toBe(201)
      answer.destroy()
      return true
    })
    expect(lost).toBe(1)
    expect(front.seen.filter((line) => line.startsWith('POST'))).toHaveLength(4)
  })

  test('says what is wrong', async () => {
    await expect(driver.push('nothing:1', { signal })).rejects.toMatchObject({ code: 'notFound' })
    await expect(driver.push(`a@sha256:${'0'.repeat(64)}`, { signal })).rejects.toMatchObject({ code: 'invalid' })
    await expect(driver.tag('nothing:1', 'x:1')).rejects.toMatchObject({ code: 'notFound' })
    await expect(driver.tag('app:1', 'UPPER')).rejects.toMatchObject({ code: 'invalid' })
  })
})

describe('a slow connection', () => {
  /** Far more than the kernel holds on the way, which may be 36 MiB: the sender is never done before the reader is. */
  const BODY_BYTES = 128 << 20
  const STEP_BYTES = 16 << 20
  const IDLE_MS = 50_000

  /** A server that reads when it is told to, and a request to it. */
  async function sending() {
    const manual = createManualClock()
    let timers = 0
    const clock: ManualClock = {
      ...manual,
      get pending() {
        return manual.pending
      },
      schedule(delayMs, callback, background) {
        timers++
        return manual.schedule(delayMs, callback, background)
      },
    }
    let readBytes = 0
    let wantedBytes = 0
    let body: IncomingMessage | undefined
    const server = createServer((asked, answer) => {
      body = asked.pause()
      asked.on('data', (chunk: Buffer) => {
        readBytes += chunk.length
        if (readBytes >= wantedBytes && readBytes < BODY_BYTES) asked.pause()
      })
      asked.on('end', () => answer.writeHead(201).end())
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const sent = new HttpClient({ clock }).send({
      url: new URL(`http://127.0.0.1:${port}/`),
      headers: {},
      verifyTls: true,
      signal,
      method: 'PATCH',
      body: Buffer.alloc(BODY_BYTES),
    })
    sent.catch(() => undefined)
    await eventually(() => body !== undefined)
    /** Returns when the sender has seen that something was taken. */
    const read = async (more: number) => {
      const before = timers
      wantedBytes = Math.min(BODY_BYTES, readBytes + more)
      body?.resume()
      await eventually(() => readBytes >= wantedBytes && timers > before, { timeoutMs: 30_000 })
    }
    const stop = () => {
      server.closeAllConnections()
      server.close()
    }
    return { clock, sent, read, stop }
  }

  test('may take long, as long as it takes something', async () => {
    const { clock, sent, read, stop } = await sending()
    try {
      for (let step = 0; step < 3; step++) {
        await read(STEP_BYTES)
        await clock.advance(IDLE_MS)
      }
      await read(BODY_BYTES)
      const response = await sent
      expect(response.status).toBe(201)
      response.discard()
      expect(clock.pending).toBe(0)
    } finally {
      stop()
    }
  })

  test('that takes nothing more is given up', async () => {
    const { clock, sent, read, stop } = await sending()
    try {
      await read(STEP_BYTES)
      let code = ''
      sent.catch((error: unknown) => {
        code = DroverError.from(error).code
      })
      // Until the kernel has what it can hold, something is taken.
      await eventually(async () => {
        await clock.advance(IDLE_MS)
        return code === 'timeout'
      })
    } finally {
      stop()
    }
  })
})

describe('save', () => {
  test('a loaded archive is the same image, by its hash; the same image is the same archive', async () => {
    const [image] = await driver.list()
    const archive = await collect(await driver.save('app:1'))
    const [loaded] = await (await newDriver()).load(chunked(archive), undefined, signal)
    expect(loaded).toMatchObject({ id: image?.id, names: ['docker.io/library/app:1'] })
    expect((await collect(await driver.save('app:1'))).equals(archive)).toBe(true)
    const directory = directories[0] ?? ''
    const path = join(directory, 'saved.tar')
    await writeFile(path, archive)
    for (const [i, form] of ['docker-archive', 'oci-archive'].entries()) {
      const target = `dir:${join(directory, `out-${i}`)}`
      await runOk('skopeo', ['copy', '--quiet', `${form}:${path}`, target], { timeoutMs: 60_000 })
    }
  })
})

test('an imported archive is the same image on every node', async () => {
  const archive = await rootfsTar()
  const [one, two] = [await newDriver(), await newDriver()]
  const first = await one.importRootfs(chunked(archive), 'tools:1', signal)
  const second = await two.importRootfs(chunked(archive), 'tools:1', signal)
  expect(second.id).toBe(first.id)
})
