/**
 * Certificates: one small CA for a cluster, short leaf certificates below it. ECDSA P-256, keys as PKCS #8.
 * Reading a certificate needs only node:crypto; the library that writes them takes tens of milliseconds to load,
 * so it is loaded by the first issue and never at a program's start.
 * Source: RFC 5280; the hash of a CA is that of its public key, as kubeadm's `discovery-token-ca-cert-hash`.
 */
import { createHash, generateKeyPairSync, randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { Extension, JsonGeneralName, JsonNameParams } from '@peculiar/x509'
import type { Clock } from './clock.ts'
import { DroverError } from './errors.ts'

export interface CertificateAndKey {
  certPem: string
  keyPem: string
}

export interface CaOptions {
  clock: Clock
  /** Default ten years. */
  validityMs?: number
}

export interface CertificateRequest {
  commonName: string
  /** Kubernetes' groups. */
  organizations?: readonly string[]
  organizationalUnits?: readonly string[]
  dnsNames?: readonly string[]
  ipAddresses?: readonly string[]
  usages: readonly ('server' | 'client')[]
  validityMs: number
  clock: Clock
}

export interface CertificateFacts {
  commonName: string
  organizations: readonly string[]
  organizationalUnits: readonly string[]
  notBeforeMs: number
  notAfterMs: number
  /** Lower-case hex of the public key's SHA-256 (DER SubjectPublicKeyInfo). */
  publicKeySha256: string
  /** Lower-case hex of the whole certificate's SHA-256 (DER). */
  sha256: string
}

const CA_VALIDITY_MS = 10 * 365 * 24 * 3_600_000
/** Clocks of hosts differ: a certificate is good from this long before it was made. */
const BACKDATE_MS = 5 * 60_000
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export async function createCa(commonName: string, options: CaOptions): Promise<CertificateAndKey> {
  const x509 = await loadX509()
  const keys = await generateKeys()
  const nowMs = options.clock.now()
  const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: new x509.Name(distinguishedName({ commonName })),
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(nowMs + (options.validityMs ?? CA_VALIDITY_MS)),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(keyCertSign | cRLSign | digitalSignature, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return { certPem: withNewline(certificate.toString('pem')), keyPem: await exportKey(keys.privateKey) }
}

/** A certificate with a key of its own, for who lives on this machine. */
export async function issueCertificate(ca: CertificateAndKey, request: CertificateRequest): Promise<CertificateAndKey> {
  const keys = await generateKeys()
  return { certPem: await sign(ca, keys.publicKey, request), keyPem: await exportKey(keys.privateKey) }
}

/**
 * A certificate for a key that its owner keeps. `publicKey` is a DER SubjectPublicKeyInfo of an ECDSA P-256 key; throws
 * `invalid` for any other. That the owner holds the private key shows when the certificate is used.
 */
export async function signPublicKey(
  ca: CertificateAndKey,
  publicKey: Uint8Array,
  request: CertificateRequest,
): Promise<string> {
  return sign(ca, await importPublicKey(publicKey), request)
}

/** A new ECDSA P-256 key: PKCS #8 in PEM, and its public half as DER SubjectPublicKeyInfo. */
export function createKey(): { keyPem: string; publicKey: Buffer } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'der' },
  })
  return { keyPem: privateKey, publicKey }
}

async function sign(
  ca: CertificateAndKey,
  publicKey: webcrypto.CryptoKey,
  request: CertificateRequest,
): Promise<string> {
  const x509 = await loadX509()
  const issuer = new x509.X509Certificate(ca.certPem)
  const signingKey = await importKey(ca.keyPem)
  const nowMs = request.clock.now()
  const extensions: Extension[] = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension(
      request.usages.map((usage) => x509.ExtendedKeyUsage[usage === 'server' ? 'serverAuth' : 'clientAuth']),
    ),
    await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
    await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto),
  ]
  const names = alternativeNames(request)
  if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names))
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: new x509.Name(distinguishedName(request)),
      issuer: issuer.subjectName,
      // A life of seconds (tests) must not be over before it began.
      notBefore: new Date(nowMs - Math.min(BACKDATE_MS, request.validityMs / 2)),
      // A leaf that outlived its CA would fail later and less clearly.
      notAfter: new Date(Math.min(nowMs + request.validityMs, issuer.notAfter.getTime())),
      signingAlgorithm: ALGORITHM,
      publicKey,
      signingKey,
      extensions,
    },
    webcrypto,
  )
  return withNewline(certificate.toString('pem'))
}

/** Reads a certificate (the first, if the text holds several). Throws `invalid`. */
export function certificateFacts(pem: string | Uint8Array): CertificateFacts {
  const certificate = parse(pem)
  // The legacy object keeps each attribute apart; the text form `CN=a\nO=b` would have to be unescaped.
  const subject = certificate.toLegacyObject().subject as unknown as {
    CN?: string | string[]
    O?: string | string[]
    OU?: string | string[]
  }
  return {
    commonName: [subject.CN ?? ''].flat()[0] ?? '',
    organizations: [subject.O ?? []].flat(),
    organizationalUnits: [subject.OU ?? []].flat(),
    notBeforeMs: Date.parse(certificate.validFrom),
    notAfterMs: Date.parse(certificate.validTo),
    publicKeySha256: publicKeyHash(certificate),
    sha256: createHash('sha256').update(certificate.raw).digest('hex'),
  }
}

/** `sha256:<hex>` of a CA's public key: what a join token pins. Throws `invalid`. */
export function caHash(certPem: string | Uint8Array): string {
  return `sha256:${publicKeyHash(parse(certPem))}`
}

/** The whole library behind one call; the reflection shim must come first. */
async function loadX509() {
  await import('reflect-metadata')
  return import('@peculiar/x509')
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const body = /-----BEGIN PRIVATE KEY-----([^-]+)-----END PRIVATE KEY-----/.exec(pem)?.[1]
  if (body === undefined) throw new DroverError('invalid', 'the CA key is not a PKCS #8 "PRIVATE KEY" in PEM form')
  try {
    return await webcrypto.subtle.importKey('pkcs8', Buffer.from(body, 'base64'), ALGORITHM, false, ['sign'])
  } catch (cause) {
    throw new DroverError('invalid', 'the CA key is not an ECDSA P-256 key', { cause })
  }
}

async function importPublicKey(der: Uint8Array): Promise<webcrypto.CryptoKey> {
  try {
    return await webcrypto.subtle.importKey('spki', der, ALGORITHM, true, ['verify'])
  } catch (cause) {
    throw new DroverError('invalid', 'the public key is not an ECDSA P-256 key (DER SubjectPublicKeyInfo)', { cause })
  }
}

/** 128 random bits, the first one clear: serial numbers are positive (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}

function distinguishedName(
  subject: Pick<CertificateRequest, 'commonName' | 'organizations' | 'organizationalUnits'>,
): JsonNameParams {
  // UTF8String is named outright: left alone, the library reads a leading # as hexadecimal.
  const value = (text: string) => {
    if (text === '') throw new DroverError('invalid', 'a name in a certificate is empty')
    return [{ utf8String: text }]
  }
  const { commonName, organizations = [], organizationalUnits = [] } = subject
  return [
    ...organizations.map((organization) => ({ O: value(organization) })),
    ...organizationalUnits.map((unit) => ({ OU: value(unit) })),
    { CN: value(commonName) },
  ]
}

function alternativeNames(request: CertificateRequest): JsonGeneralName[] {
  const names: JsonGeneralName[] = (request.dnsNames ?? []).map((value) => ({ type: 'dns', value }))
  for (const value of request.ipAddresses ?? []) {
    if (isIP(value) === 0) throw new DroverError('invalid', `"${value}" is not an IP address`)
    names.push({ type: 'ip', value })
  }
  return names
}

function parse(pem: string | Uint8Array): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new DroverError('invalid', 'not a certificate in PEM or DER form', { cause })
  }
}

function publicKeyHash(certificate: X509Certificate): string {
  return createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

function withNewline(pem: string): string {
  return pem.endsWith('\n') ? pem : `${pem}\n`
}
