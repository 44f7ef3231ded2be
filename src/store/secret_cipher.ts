/**
 * Values as they lie in etcd when they are secret: AES-256-GCM, bound to their key in the store, so that nobody who can write to etcd can
 * move one secret's value to another's name.
 *
 *   drover:aesgcm:v1:<name of the key>:<p plain, z deflated>:<base64 of nonce (12), tag (16), ciphertext>
 *
 * Large values are deflated first: Secrets are base64 in JSON, and base64 again would take them past etcd's limit.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { SecretKey } from '../base/cluster_keys.ts'
import { DroverError } from '../base/errors.ts'

const PREFIX = 'drover:aesgcm:v1:'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const DEFLATE_FROM_BYTES = 256 << 10
/** No stored object is larger. */
const MAX_PLAIN_BYTES = 4 << 20

/** The name of the key that a value was encrypted with; undefined for one that is plain. */
export function keyNameOf(value: string): string | undefined {
  return value.startsWith(PREFIX) ? value.slice(PREFIX.length, value.indexOf(':', PREFIX.length)) : undefined
}

export class SecretCipher {
  #keys: readonly SecretKey[] = []

  constructor(keys: readonly SecretKey[]) {
    this.replace(keys)
  }

  /** The first encrypts from now on, all decrypt. */
  replace(keys: readonly SecretKey[]): void {
    if (keys.length === 0) throw new DroverError('internal', 'no key to encrypt secrets with')
    this.#keys = [...keys]
  }

  get keys(): readonly SecretKey[] {
    return this.#keys
  }

  /** Name of the key that encrypts. */
  get current(): string {
    return this.#keys[0]?.name ?? ''
  }

  encrypt(storeKey: string, plain: string): string {
    const [key] = this.#keys
    if (key === undefined) throw new DroverError('internal', 'no key to encrypt secrets with')
    const text = Buffer.from(plain, 'utf8')
    const isLarge = text.length >= DEFLATE_FROM_BYTES
    const nonce = randomBytes(NONCE_BYTES)
    const head = `${PREFIX}${key.name}:${isLarge ? 'z' : 'p'}:`
    const cipher = createCipheriv('aes-256-gcm', key.bytes, nonce).setAAD(Buffer.from(head + storeKey))
    const sealed = Buffer.concat([cipher.update(isLarge ? deflateRawSync(text, { level: 1 }) : text), cipher.final()])
    return head + Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64')
  }

  /** Plain values pass as they are: they are from before encryption. Throws `internal` when no key fits. */
  decrypt(storeKey: string, value: string): string {
    const name = keyNameOf(value)
    if (name === undefined) return value
    const key = this.#keys.find((one) => one.name === name)
    if (key === undefined) {
      throw new DroverError('internal', `${storeKey} is encrypted with ${name}, a key that this server does not have`)
    }
    const at = PREFIX.length + name.length + 3
    const head = value.slice(0, at)
    const sealed = Buffer.from(value.slice(at), 'base64')
    try {
      const nonce = sealed.subarray(0, NONCE_BYTES)
      const tag = sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES)
      const options = { authTagLength: TAG_BYTES }
      const cipher = createDecipheriv('aes-256-gcm', key.bytes, nonce, options).setAAD(Buffer.from(head + storeKey))
      cipher.setAuthTag(tag)
      const plain = Buffer.concat([cipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), cipher.final()])
      const isDeflated = head.endsWith(':z:')
      return (isDeflated ? inflateRawSync(plain, { maxOutputLength: MAX_PLAIN_BYTES }) : plain).toString('utf8')
    } catch (cause) {
      throw new DroverError('internal', `${storeKey} cannot be decrypted with ${name}: wrong key, or a damaged value`, {
        cause,
      })
    }
  }
}
