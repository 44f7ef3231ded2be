/**
 * Keys that all servers of a cluster share, beside its CA, each a file with mode 0600 that is made at the first start:
 *
 *   DIR/sa.key        PEM, one or more EC P-256 private keys: the first signs tokens of service accounts, all verify them
 *   DIR/secrets.key   lines `NAME BASE64`, each 32 bytes: the first encrypts Secrets before they are stored, all decrypt
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import { join } from 'node:path'
import { DroverError } from './errors.ts'
import { readIfExists, writeFileAtomic } from './files.ts'

export const SIGNING_KEY_FILE = 'sa.key'

/** What signs and verifies tokens. */
export interface SigningKey {
  /** The key's thumbprint (RFC 7638), by which a token names it. */
  id: string
  privateKey: KeyObject
  publicKey: KeyObject
}

const PEM_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-----END [A-Z ]*PRIVATE KEY-----/g

/** The first signs. Throws when the file holds no key, or one of another kind. */
export function parseSigningKeys(pem: string, where: string): SigningKey[] {
  const keys = (pem.match(PEM_KEY) ?? []).map((text) => {
    let privateKey: KeyObject
    try {
      privateKey = createPrivateKey(text)
    } catch (cause) {
      throw new DroverError('invalid', `${where} holds a key that cannot be read`, { cause })
    }
    if (privateKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
      throw new DroverError('invalid', `${where} must hold EC private keys of curve P-256`)
    }
    const publicKey = createPublicKey(privateKey)
    const { crv, kty, x, y } = publicKey.export({ format: 'jwk' })
    const id = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
    return { id, privateKey, publicKey }
  })
  if (keys.length === 0) throw new DroverError('invalid', `${where} holds no private key`)
  return keys
}

export function ensureSigningKeys(directory: string): SigningKey[] {
  const path = join(directory, SIGNING_KEY_FILE)
  let pem = readIfExists(path)
  if (pem === undefined) {
    pem = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      .privateKey.export({ format: 'pem', type: 'pkcs8' })
      .toString()
    writeFileAtomic(path, pem, 0o600)
  }
  return parseSigningKeys(pem, path)
}

export const SECRET_KEYS_FILE = 'secrets.key'
const SECRET_KEY_BYTES = 32
const SECRET_KEYS_HEAD =
  '# Keys of stored Secrets: NAME and 32 bytes in base64. The first encrypts, all decrypt. Keep a copy.\n'

/** A key of AES-256-GCM. */
export interface SecretKey {
  name: string
  bytes: Buffer
}

/** A new key; its name follows from its bytes, so that two keys never share one. */
export function makeSecretKey(): SecretKey {
  const bytes = randomBytes(SECRET_KEY_BYTES)
  return { name: `key-${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}`, bytes }
}

export function parseSecretKeys(text: string, where: string): SecretKey[] {
  const keys: SecretKey[] = []
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const [name = '', base64 = '', ...rest] = line.trim().split(/\s+/)
    const bytes = Buffer.from(base64, 'base64')
    // The line itself holds a secret: it is not repeated.
    if (!/^[A-Za-z0-9._-]{1,63}$/.test(name) || bytes.length !== SECRET_KEY_BYTES || rest.length > 0) {
      throw new DroverError('invalid', `${where}:${index + 1}: write NAME and ${SECRET_KEY_BYTES} bytes in base64`)
    }
    if (keys.some((key) => key.name === name))
      throw new DroverError('invalid', `${where}:${index + 1}: ${name} is there twice`)
    keys.push({ name, bytes })
  }
  if (keys.length === 0) throw new DroverError('invalid', `${where} holds no key`)
  return keys
}

export function saveSecretKeys(directory: string, keys: readonly SecretKey[]): void {
  const lines = keys.map(({ name, bytes }) => `${name} ${bytes.toString('base64')}\n`)
  writeFileAtomic(join(directory, SECRET_KEYS_FILE), `${SECRET_KEYS_HEAD}${lines.join('')}`, 0o600)
}

export function ensureSecretKeys(directory: string): SecretKey[] {
  const path = join(directory, SECRET_KEYS_FILE)
  const text = readIfExists(path)
  if (text !== undefined) return parseSecretKeys(text, path)
  const keys = [makeSecretKey()]
  saveSecretKeys(directory, keys)
  return keys
}

/** The shared files by name, made where they are missing: what another server of the cluster is given. */
export function ensureSharedKeys(directory: string): Record<string, string> {
  ensureSigningKeys(directory)
  ensureSecretKeys(directory)
  const read = (file: string): string => readIfExists(join(directory, file)) ?? ''
  return { [SIGNING_KEY_FILE]: read(SIGNING_KEY_FILE), [SECRET_KEYS_FILE]: read(SECRET_KEYS_FILE) }
}
