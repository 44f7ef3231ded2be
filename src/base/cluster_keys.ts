/**
 * Keys that all servers of a cluster share, beside its CA, each a file with mode 0600 that is made at the first start:
 *
 *   DIR/sa.key        PEM, one or more EC P-256 private keys: the first signs tokens of service accounts, all verify them
 *   DIR/secrets.key   lines `NAME BASE64`, each 32 bytes: the first encrypts Secrets before they are stored, all decrypt
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
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

/** The shared files by name, made where they are missing: what another server of the cluster is given. */
export function ensureSharedKeys(directory: string): Record<string, string> {
  ensureSigningKeys(directory)
  return { [SIGNING_KEY_FILE]: readIfExists(join(directory, SIGNING_KEY_FILE)) ?? '' }
}
