/**
 * A cluster's certificates on disk. The CA is made once; leaves are made when missing, when they no longer name what
 * they must, and when a third of their life is left. Keys are 0600.
 *
 *   DIR/ca.crt ca.key            the cluster's CA
 *   DIR/NAME.crt NAME.key        a leaf
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import type { Clock } from './clock.ts'
import { DroverError } from './errors.ts'
import { readIfExists, writeFileAtomic } from './files.ts'
import type { CertificateAndKey } from './pki.ts'

const DAY_MS = 86_400_000
const CA_VALIDITY_MS = 3650 * DAY_MS
const LEAF_VALIDITY_MS = 365 * DAY_MS

export interface LeafRequest {
  /** File name without its ending. */
  file: string
  commonName: string
  organizations?: string[]
  organizationalUnits?: string[]
  dnsNames?: string[]
  ipAddresses?: string[]
  usages: ('server' | 'client')[]
}

export interface PkiFiles {
  ca: CertificateAndKey
  certPath(file: string): string
  keyPath(file: string): string
  /** The leaf as it stands on disk, made or renewed when needed. */
  ensureLeaf(request: LeafRequest): Promise<CertificateAndKey>
}

export interface PkiLives {
  caMs?: number
  leafMs?: number
}

/** When a certificate is to be renewed: with a third of its life left. */
export function renewalDueMs(certPem: string): number {
  const { validFrom, validTo } = new X509Certificate(certPem)
  const to = Date.parse(validTo)
  return to - (to - Date.parse(validFrom)) / 3
}

function load(directory: string, file: string): CertificateAndKey | undefined {
  const certPem = readIfExists(join(directory, `${file}.crt`))
  const keyPem = readIfExists(join(directory, `${file}.key`))
  return certPem === undefined || keyPem === undefined ? undefined : { certPem, keyPem }
}

function save(directory: string, file: string, { certPem, keyPem }: CertificateAndKey): void {
  // The key first: a certificate on disk always has its key.
  writeFileAtomic(join(directory, `${file}.key`), keyPem, 0o600)
  writeFileAtomic(join(directory, `${file}.crt`), certPem)
}

/** Whether the leaf may be used on: of this CA, names all that is asked, and not in the last third of its life. */
function isCurrent(leaf: CertificateAndKey, ca: CertificateAndKey, request: LeafRequest, nowMs: number): boolean {
  const certificate = new X509Certificate(leaf.certPem)
  if (nowMs < Date.parse(certificate.validFrom) || nowMs >= renewalDueMs(leaf.certPem)) return false
  // Written one after the other: a crash between the two leaves a key that is not the certificate's.
  if (!certificate.checkPrivateKey(createPrivateKey(leaf.keyPem))) return false
  if (!certificate.verify(new X509Certificate(ca.certPem).publicKey)) return false
  const names = request.dnsNames ?? []
  const addresses = request.ipAddresses ?? []
  return (
    certificate.subject.split('\n').includes(`CN=${request.commonName}`) &&
    (request.organizationalUnits ?? []).every((unit) => certificate.subject.split('\n').includes(`OU=${unit}`)) &&
    names.every((name) => certificate.checkHost(name) !== undefined) &&
    addresses.every((address) => certificate.checkIP(address) !== undefined)
  )
}

export async function openPki(
  directory: string,
  clusterName: string,
  clock: Clock,
  { caMs = CA_VALIDITY_MS, leafMs = LEAF_VALIDITY_MS }: PkiLives = {},
): Promise<PkiFiles> {
  let ca = load(directory, 'ca')
  if (ca === undefined) {
    if (readIfExists(join(directory, 'ca.crt')) !== undefined) {
      throw new DroverError(
        'internal',
        `${directory} has ca.crt without ca.key: put the key back, or remove the folder`,
      )
    }
    // The library is heavy and only needed to make certificates.
    const { createCa } = await import('./pki.ts')
    ca = await createCa(`drover ${clusterName}`, { clock, validityMs: caMs })
    save(directory, 'ca', ca)
  }
  const authority = ca
  return {
    ca: authority,
    certPath: (file) => join(directory, `${file}.crt`),
    keyPath: (file) => join(directory, `${file}.key`),
    async ensureLeaf(request) {
      const existing = load(directory, request.file)
      if (existing !== undefined && isCurrent(existing, authority, request, clock.now())) return existing
      const { issueCertificate } = await import('./pki.ts')
      const { file, ...wanted } = request
      const leaf = await issueCertificate(authority, { ...wanted, validityMs: leafMs, clock })
      save(directory, file, leaf)
      return leaf
    },
  }
}
