/** Images that leave a node: pushed to a real registry, saved for whoever reads archives. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createImageDriver } from '../../src/agent/images/driver.ts'
import type { ImageDriver } from '../../src/agent/images/images.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { runOk } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import { chunked, dockerArchive, rootfsTar, tar } from '../support/archives.ts'
import { startRegistry, type TestRegistry } from '../support/registry.ts'
import { startFront } from '../support/registry_front.ts'

const USER = { username: 'ada', password: 'p:w d' }
const signal = new AbortController().signal
const credentials = () => [USER]
const directories: string[] = []
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
  for (const directory of directories.splice(0)) {
    await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
  }
})

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

  test('says what is wrong', async () => {
    await expect(driver.push('nothing:1', { signal })).rejects.toMatchObject({ code: 'notFound' })
    await expect(driver.push(`a@sha256:${'0'.repeat(64)}`, { signal })).rejects.toMatchObject({ code: 'invalid' })
    await expect(driver.tag('nothing:1', 'x:1')).rejects.toMatchObject({ code: 'notFound' })
    await expect(driver.tag('app:1', 'UPPER')).rejects.toMatchObject({ code: 'invalid' })
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
