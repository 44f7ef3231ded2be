/** The server's certificates: who it is to clients, nodes and etcd, and the administrator's way in. */
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { ensureSecretKeys, ensureSigningKeys, type SecretKey, type SigningKey } from '../base/cluster_keys.ts'
import type { CertificateAndKey } from '../base/pki.ts'
import { type LeafRequest, openPki, type PkiFiles, type PkiLives } from '../base/pki_files.ts'

/** Every leaf that the server owns. */
export interface ServerLeaves {
  server: CertificateAndKey
  admin: CertificateAndKey
  etcd: CertificateAndKey
  etcdClient: CertificateAndKey
}

export interface ServerPki {
  files: PkiFiles
  /** Sign tokens of service accounts; all servers share them. */
  signingKeys: readonly SigningKey[]
  /** Encrypt Secrets before they are stored; all servers share them. As they were at the start. */
  secretKeys: readonly SecretKey[]
  /** The leaves as they stand on disk; those that are due are renewed first. */
  ensure(): Promise<ServerLeaves>
}

export interface ServerPkiOptions {
  dataDir: string
  clusterName: string
  /** Hosts that it listens on. */
  listen: readonly string[]
  /** Names and addresses by which it is reached from outside. */
  advertise: readonly string[]
  clock: Clock
  lives?: PkiLives
}

const SERVICE_NAMES = [
  'kubernetes',
  'kubernetes.default',
  'kubernetes.default.svc',
  'kubernetes.default.svc.cluster.local',
]
const UNSPECIFIED = new Set(['0.0.0.0', '::'])

/** Addresses that clients may dial: the named ones, or all of the machine's where it listens on all. */
export function dialableAddresses(listen: readonly string[]): string[] {
  if (!listen.some((host) => UNSPECIFIED.has(host))) return [...new Set([...listen, '127.0.0.1'])]
  const all = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((entry) => entry.address))
  const named = listen.filter((host) => !UNSPECIFIED.has(host))
  return [...new Set(['127.0.0.1', ...named, ...all.filter((address) => !address.startsWith('fe80'))])]
}

export async function openServerPki(options: ServerPkiOptions): Promise<ServerPki> {
  const { dataDir, clusterName, listen, advertise, clock, lives } = options
  const files = await openPki(join(dataDir, 'pki'), clusterName, clock, lives)
  const names = [...dialableAddresses(listen), ...advertise]
  const server: LeafRequest = {
    file: 'server',
    commonName: 'drover-server',
    dnsNames: ['localhost', ...SERVICE_NAMES, ...names.filter((name) => isIP(name) === 0)],
    ipAddresses: [...new Set(names.filter((name) => isIP(name) !== 0))],
    usages: ['server'],
  }
  const admin: LeafRequest = {
    file: 'admin',
    commonName: 'admin',
    organizations: ['system:masters'],
    usages: ['client'],
  }
  const etcd: LeafRequest = {
    file: 'etcd',
    commonName: 'etcd',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    usages: ['server', 'client'],
  }
  const etcdClient: LeafRequest = { file: 'etcd-client', commonName: 'drover', usages: ['client'] }
  return {
    files,
    signingKeys: ensureSigningKeys(join(dataDir, 'pki')),
    secretKeys: ensureSecretKeys(join(dataDir, 'pki')),
    ensure: async () => ({
      server: await files.ensureLeaf(server),
      admin: await files.ensureLeaf(admin),
      etcd: await files.ensureLeaf(etcd),
      etcdClient: await files.ensureLeaf(etcdClient),
    }),
  }
}
