/** The server's certificates: who it is to clients, nodes and etcd, and the administrator's way in. */
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { CertificateAndKey } from '../base/pki.ts'
import { openPki, type PkiFiles } from '../base/pki_files.ts'

export interface ServerPki {
  files: PkiFiles
  server: CertificateAndKey
  admin: CertificateAndKey
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

export async function ensureServerPki(
  dataDir: string,
  clusterName: string,
  listen: readonly string[],
  clock: Clock,
): Promise<ServerPki> {
  const files = await openPki(join(dataDir, 'pki'), clusterName, clock)
  const server = await files.ensureLeaf({
    file: 'server',
    commonName: 'drover-server',
    dnsNames: ['localhost', ...SERVICE_NAMES],
    ipAddresses: dialableAddresses(listen),
    usages: ['server'],
  })
  const admin = await files.ensureLeaf({
    file: 'admin',
    commonName: 'admin',
    organizations: ['system:masters'],
    usages: ['client'],
  })
  await files.ensureLeaf({
    file: 'etcd',
    commonName: 'etcd',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    usages: ['server', 'client'],
  })
  await files.ensureLeaf({ file: 'etcd-client', commonName: 'drover', usages: ['client'] })
  return { files, server, admin }
}
