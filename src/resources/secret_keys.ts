/**
 * Keys of stored Secrets: checked at the start, changed while all servers run, and what was encrypted before written anew.
 *
 * A new key goes round in two steps, for a server that does not know it yet must never meet it:
 *
 *   offered   every server takes it as its last key: it can read
 *   first     every server makes it its first key: it writes with it; the one that was asked then rewrites every Secret
 *
 * The offer lies in the store, sealed with the old key, and is taken away at the end: a key that has leaked does not open
 * its successor for longer than the change takes. Rejected: a key in the store for good, wrapped by another.
 */

import type { RotationResult, SecretKeysPort, SecretKeysStatus } from '../api/maintenance.ts'
import { secretKind } from '../api/secret.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { makeSecretKey, type SecretKey } from '../base/cluster_keys.ts'
import { DroverError, isCode } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import { keyNameOf, type SecretCipher } from '../store/secret_cipher.ts'
import type { Fence, Store, StoredItem } from '../store/store.ts'
import { META_PREFIX, OBJECT_PREFIX, tableId } from './keys.ts'

const SECRETS_PREFIX = `${OBJECT_PREFIX}${tableId(secretKind)}/`
const PREFIX = `${META_PREFIX}secret-keys/`
/** A word that all servers must be able to read. */
const CHECK_KEY = `${PREFIX}check`
const CHECK_WORD = 'drover'
const OFFER_KEY = `${PREFIX}offer`
const ACKS_PREFIX = `${PREFIX}acks/`
const ACK_TIMEOUT_MS = 20_000
const POLL_MS = 50
const REWRITES_AT_ONCE = 32
const PASSES = 5

export const isSecretKey = (key: string): boolean => key.startsWith(SECRETS_PREFIX)

export interface SecretKeysOptions {
  /** The store below encryption. */
  store: Store
  cipher: SecretCipher
  serverId: string
  clock: Clock
  log: Logger
  /** Where the keys lie, for people. */
  file: string
  save(keys: readonly SecretKey[]): void
  /** Ids of the servers that live, this one among them. */
  liveServers(): string[]
}

export interface SecretKeys extends SecretKeysPort {
  /** Throws `invalid` when this server's keys are not the cluster's. Before anything is read. */
  check(): Promise<void>
  /** Follows changes of keys. On every server. */
  service: Service
  /** Encrypts what an older version left plain, or a change of keys left half-way. Where the leader is. */
  migration(fence: Fence): Service
}

interface Offer {
  name: string
  stage: 'offered' | 'first'
  sealed: string
}

function parseOffer(item: StoredItem | undefined): Offer | undefined {
  if (item === undefined) return undefined
  const value: unknown = JSON.parse(item.value)
  if (!isObject(value)) return undefined
  const { name, stage, sealed } = value
  if (typeof name !== 'string' || typeof sealed !== 'string' || (stage !== 'offered' && stage !== 'first'))
    return undefined
  return { name, stage, sealed }
}

export function createSecretKeys(options: SecretKeysOptions): SecretKeys {
  const { store, cipher, serverId, clock, log, file } = options

  function adopt(keys: readonly SecretKey[]): void {
    // On disk before it is used: what is encrypted must stay readable after a crash.
    options.save(keys)
    cipher.replace(keys)
  }

  async function check(): Promise<void> {
    const found = (await store.get(CHECK_KEY)) ?? (await putCheck())
    try {
      // Started in the midst of a change.
      const offer = parseOffer(await store.get(OFFER_KEY))
      if (offer !== undefined) await take(offer)
      if (found !== undefined) cipher.decrypt(CHECK_KEY, found.value)
    } catch (cause) {
      if (!isCode(cause, 'internal')) throw cause
      const name = keyNameOf(found?.value ?? '') ?? ''
      throw new DroverError(
        'invalid',
        `${file} does not hold the key ${name} that this cluster's Secrets are encrypted with: copy that file from another server, or put the key back from a backup`,
        { cause },
      )
    }
  }

  /** What another server put there first, if one did. */
  async function putCheck(): Promise<StoredItem | undefined> {
    const value = cipher.encrypt(CHECK_KEY, CHECK_WORD)
    const outcome = await store.write({ type: 'put', key: CHECK_KEY, value, expect: { modRevision: 0 } })
    return outcome.ok ? undefined : outcome.current
  }

  async function take({ name, stage, sealed }: Offer): Promise<void> {
    const { keys } = cipher
    const known = keys.find((key) => key.name === name)
    const key = known ?? { name, bytes: Buffer.from(cipher.decrypt(OFFER_KEY, sealed), 'base64') }
    const others = keys.filter((one) => one.name !== name)
    if (stage === 'first') {
      if (keys[0]?.name !== name) adopt([key, ...others])
    } else if (known === undefined) adopt([...others, key])
    await store.write({ type: 'put', key: `${ACKS_PREFIX}${serverId}`, value: `${name}/${stage}` })
    log.info({ key: name, stage }, 'took a new key of secrets')
  }

  async function follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { items, revision } = await store.list(OFFER_KEY)
      const offer = parseOffer(items[0])
      if (offer !== undefined) await take(offer)
      try {
        for await (const { events } of store.watch(OFFER_KEY, revision, signal)) {
          for (const event of events) {
            const next = event.type === 'put' ? parseOffer(event.item) : undefined
            if (next !== undefined) await take(next)
          }
        }
      } catch (error) {
        if (!isCode(error, 'gone')) throw error
      }
    }
  }

  /** Waits for all servers that live; throws with those that did not answer. */
  async function acknowledged({ name, stage }: Offer): Promise<number> {
    const deadlineMs = clock.monotonicMs() + ACK_TIMEOUT_MS
    for (;;) {
      const { items } = await store.list(ACKS_PREFIX)
      const acks = new Map(items.map(({ key, value }) => [key.slice(ACKS_PREFIX.length), value]))
      const missing = options.liveServers().filter((id) => acks.get(id) !== `${name}/${stage}`)
      if (missing.length === 0) return acks.size
      if (clock.monotonicMs() > deadlineMs) {
        throw new DroverError(
          'timeout',
          `servers that did not take the new key: ${missing.join(', ')}; ask again when they answer`,
        )
      }
      await sleep(clock, POLL_MS)
    }
  }

  async function offerKey(): Promise<Offer> {
    const pending = await store.get(OFFER_KEY)
    const half = parseOffer(pending)
    // Someone's change that did not end: it goes on, rather than a second one beside it.
    if (half !== undefined) return half
    const key = makeSecretKey()
    const sealed = cipher.encrypt(OFFER_KEY, key.bytes.toString('base64'))
    const offer: Offer = { name: key.name, stage: 'offered', sealed }
    const expect = { modRevision: 0 }
    const outcome = await store.write({ type: 'put', key: OFFER_KEY, value: JSON.stringify(offer), expect })
    if (!outcome.ok)
      throw new DroverError('conflict', 'the keys of secrets are being changed already; wait for its end')
    return offer
  }

  async function rotate(): Promise<RotationResult> {
    const offer = await offerKey()
    if (offer.stage === 'offered') {
      await acknowledged(offer)
      await store.write({ type: 'put', key: OFFER_KEY, value: JSON.stringify({ ...offer, stage: 'first' }) })
    }
    await acknowledged({ ...offer, stage: 'first' })
    const rewritten = await rewriteAll()
    await store.write({ type: 'put', key: CHECK_KEY, value: cipher.encrypt(CHECK_KEY, CHECK_WORD) })
    await store.write({ type: 'delete', key: OFFER_KEY })
    const acks = (await store.list(ACKS_PREFIX)).items
    await Promise.all(acks.map(({ key }) => store.write({ type: 'delete', key })))
    log.info({ key: offer.name, rewritten }, 'changed the key of secrets')
    return { key: offer.name, rewritten, servers: options.liveServers().length }
  }

  /** Until none is left under another key; those that are being written meanwhile are written with the new one. */
  async function rewriteAll(fence?: Fence): Promise<number> {
    let rewritten = 0
    for (let pass = 1; pass <= PASSES; pass++) {
      const { items } = await store.list(SECRETS_PREFIX)
      const old = items.filter(({ value }) => keyNameOf(value) !== cipher.current)
      if (old.length === 0) return rewritten
      for (let at = 0; at < old.length; at += REWRITES_AT_ONCE) {
        const outcomes = await Promise.all(old.slice(at, at + REWRITES_AT_ONCE).map((item) => rewrite(item, fence)))
        rewritten += outcomes.filter((outcome) => outcome.ok).length
      }
    }
    throw new DroverError('conflict', 'Secrets are being written with an older key all the time; ask again')
  }

  function rewrite({ key, value, modRevision }: StoredItem, fence: Fence | undefined) {
    const next = cipher.encrypt(key, cipher.decrypt(key, value))
    return store.write({ type: 'put', key, value: next, expect: { modRevision } }, fence)
  }

  async function status(): Promise<SecretKeysStatus> {
    const secrets: Record<string, number> = {}
    for (const { value } of (await store.list(SECRETS_PREFIX)).items) {
      const name = keyNameOf(value) ?? ''
      secrets[name] = (secrets[name] ?? 0) + 1
    }
    return { current: cipher.current, keys: cipher.keys.map(({ name }) => name), secrets }
  }

  return {
    check,
    status,
    rotate,
    service: { id: 'secret-keys', run: follow },
    migration: (fence) => ({
      id: 'secret-migration',
      async run(signal) {
        // A change that is under way ends with a rewriting of its own.
        const isChanging = (await store.get(OFFER_KEY)) !== undefined
        const rewritten = isChanging ? 0 : await rewriteAll(fence)
        if (rewritten > 0) log.info({ rewritten, key: cipher.current }, 'encrypted Secrets that were not')
        if (!signal.aborted)
          await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
      },
    }),
  }
}
