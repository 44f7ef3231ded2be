import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Secret, secretKind } from '../../src/api/secret.ts'
import { systemClock } from '../../src/base/clock.ts'
import { ensureSecretKeys, makeSecretKey, parseSecretKeys, SECRET_KEYS_FILE } from '../../src/base/cluster_keys.ts'
import { silentLogger } from '../../src/base/log.ts'
import { createSecretKeys, isSecretKey } from '../../src/resources/secret_keys.ts'
import { createEncryptedStore } from '../../src/store/encrypted.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { keyNameOf, SecretCipher } from '../../src/store/secret_cipher.ts'
import type { Store } from '../../src/store/store.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'
import { describeStoreContract } from '../support/store_contract.ts'

const A = '/drover/core/secrets/default/a'
const RAW = '/drover/core/secrets/'

describe('a secret value', () => {
  const cipher = new SecretCipher([makeSecretKey()])

  it('comes back as it was, small or large', () => {
    for (const plain of ['', 'ä', 'x'.repeat(300_000), Buffer.alloc(900_000, 'q8').toString('base64')]) {
      const value = cipher.encrypt(A, plain)
      expect(cipher.decrypt(A, value) === plain).toBe(true)
      expect(cipher.encrypt(A, plain)).not.toBe(value)
    }
  })

  it('of the largest object that can be stored stays within what etcd takes', () => {
    const random = Buffer.concat(Array.from({ length: 30_000 }, () => makeSecretKey().bytes))
    expect(cipher.encrypt(A, random.toString('base64')).length).toBeLessThan(1_400_000)
  })

  it('is of its place: moved, cut or changed it cannot be read', () => {
    const value = cipher.encrypt(A, 'password')
    expect(() => cipher.decrypt(`${A}b`, value)).toThrow(/wrong key, or a damaged value/)
    expect(() => cipher.decrypt(A, value.slice(0, -8))).toThrow(/damaged/)
    expect(() => cipher.decrypt(A, value.replace(':p:', ':z:'))).toThrow(/damaged/)
    const flipped = `${value.slice(0, -6)}${value.at(-6) === 'A' ? 'B' : 'A'}${value.slice(-5)}`
    expect(() => cipher.decrypt(A, flipped)).toThrow(/damaged/)
    const stranger = new SecretCipher([{ ...makeSecretKey(), name: cipher.current }])
    expect(() => stranger.decrypt(A, value)).toThrow(/wrong key/)
    expect(() => new SecretCipher([makeSecretKey()]).decrypt(A, value)).toThrow(/a key that this server does not have/)
  })
})

describeStoreContract('the encrypted store', () => {
  const store = createEncryptedStore(
    createMemoryStore({ clock: systemClock }),
    new SecretCipher([makeSecretKey()]),
    () => true,
  )
  return Promise.resolve({ store, close: () => store.close() })
})

describe('the key file', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'drvt-keys-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it('is made once, for its owner alone', () => {
    const [key] = ensureSecretKeys(directory)
    expect(ensureSecretKeys(directory)).toEqual([key])
    expect(statSync(join(directory, SECRET_KEYS_FILE)).mode & 0o777).toBe(0o600)
  })

  it('says what is wrong with it, and never what it holds', () => {
    const path = join(directory, SECRET_KEYS_FILE)
    for (const [text, words] of [
      ['# nothing\n', /holds no key/],
      ['one c2hvcnQ=\n', /secrets\.key:1: write NAME and 32 bytes in base64/],
      [
        `a ${makeSecretKey().bytes.toString('base64')}\na ${makeSecretKey().bytes.toString('base64')}\n`,
        /:2: a is there twice/,
      ],
    ] as const) {
      writeFileSync(path, text)
      expect(() => ensureSecretKeys(directory)).toThrow(words)
      expect(() => ensureSecretKeys(directory)).not.toThrow(/c2hvcnQ=/)
    }
  })
})

describe('keys of secrets', () => {
  let store: Store
  const directories: string[] = []
  const worlds: TestResources[] = []
  const stop = new AbortController()
  beforeEach(() => {
    store = createMemoryStore({ clock: systemClock })
  })
  afterEach(async () => {
    for (const world of worlds.splice(0)) await world.stop()
    for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
  })

  const ids: string[] = []
  function server(id: string, given?: SecretCipher) {
    const directory = mkdtempSync(join(tmpdir(), 'drvt-keys-'))
    directories.push(directory)
    const cipher = given ?? new SecretCipher(ensureSecretKeys(directory))
    const file = join(directory, SECRET_KEYS_FILE)
    const keys = createSecretKeys({
      store,
      cipher,
      serverId: id,
      clock: systemClock,
      log: silentLogger,
      file,
      save: (list) =>
        writeFileSync(file, list.map(({ name, bytes }) => `${name} ${bytes.toString('base64')}\n`).join('')),
      liveServers: () => ids,
    })
    return { cipher, keys, file, seen: () => createEncryptedStore(store, cipher, isSecretKey) }
  }

  async function resourcesOn(encrypted: Store): Promise<TestResources> {
    const world = await runResources({ store: encrypted })
    worlds.push(world)
    return world
  }

  const secret = (name: string): Secret => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace: 'default' },
    stringData: { password: `hunter2-${name}` },
  })
  const raw = async () => (await store.list(RAW)).items.map(({ value }) => value)

  it('are needed to start', async () => {
    await server('s1').keys.check()
    const other = server('s2')
    await expect(other.keys.check()).rejects.toThrow(
      new RegExp(
        `${other.file} does not hold the key key-[0-9a-f]+ that this cluster's Secrets are encrypted with: copy`,
      ),
    )
  })

  it('cover what was stored before there were any', async () => {
    const plain = await resourcesOn(store)
    for (let i = 0; i < 40; i++) await plain.resources.create(secretKind, secret(`s${i}`))
    expect((await raw()).every((value) => value.includes('"kind":"Secret"'))).toBe(true)
    // The older version has ended: it could not read what is to come.
    await worlds.pop()?.stop()
    const { keys, seen, cipher } = server('s1')
    await keys.check()
    const world = await resourcesOn(seen())
    expect(world.resources.list(secretKind, { namespace: 'default' })).toHaveLength(40)
    const ending = new AbortController()
    const election = await store.campaign('/drover-meta/leader', 's1', stop.signal)
    const running = keys.migration(election.fence).run(ending.signal)
    await eventually(async () => expect((await keys.status()).secrets).toEqual({ [cipher.current]: 40 }))
    ending.abort()
    await running
    for (const value of await raw()) expect(value).not.toMatch(/Secret|hunter2|aHVudGVy/)
    expect(world.resources.get(secretKind, 'default', 's7')?.data?.password).toBe(
      Buffer.from('hunter2-s7').toString('base64'),
    )
  })

  it('change on all servers while both write, and nothing is unreadable at any time', async () => {
    const shared = makeSecretKey()
    ids.splice(0, ids.length, 's1', 's2')
    const [one, two] = [server('s1', new SecretCipher([shared])), server('s2', new SecretCipher([shared]))]
    const running = [one, two].map(({ keys }) => keys.service.run(stop.signal))
    await one.keys.check()
    await two.keys.check()
    const worlds = [await resourcesOn(one.seen()), await resourcesOn(two.seen())]
    const writing = new AbortController()
    const writers = worlds.map(async ({ resources }, index) => {
      for (let i = 0; !writing.signal.aborted; i++) {
        // The store in memory answers within the turn: others must have theirs.
        await new Promise((resolve) => setImmediate(resolve))
        const name = `w${index}-${i % 20}`
        if (i < 20) await resources.create(secretKind, secret(name))
        else {
          await resources.modify(secretKind, 'default', name, 'main', (found) => ({
            ...found,
            data: { n: Buffer.from(String(i)).toString('base64') },
          }))
        }
      }
    })
    await eventually(async () => expect((await raw()).length).toBe(40))
    const result = await one.keys.rotate()
    await two.keys.rotate()
    writing.abort()
    await Promise.all(writers)
    const { keys, secrets, current } = await one.keys.status()
    expect(keys).toHaveLength(3)
    expect(keys[0]).toBe(two.cipher.current)
    expect(current).not.toBe(result.key)
    expect(secrets).toEqual({ [current]: 40 })
    expect(parseSecretKeys(readFileSync(two.file, 'utf8'), 'x').map(({ name }) => name)).toEqual(keys)
    for (const { resources } of worlds) expect(resources.list(secretKind, { namespace: 'default' })).toHaveLength(40)
    expect((await store.list('/drover-meta/secret-keys/')).items.map(({ key }) => key)).toEqual([
      '/drover-meta/secret-keys/check',
    ])
    // A server that was away all the time is told at its start.
    await expect(server('s3', new SecretCipher([shared])).keys.check()).rejects.toThrow(
      /copy that file from another server/,
    )
    stop.abort()
    await Promise.all(running)
    for (const value of await raw()) expect(keyNameOf(value)).toBe(current)
  })
})
