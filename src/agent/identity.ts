/**
 * Who this node is to the cluster, on its disk:
 *
 *   DATA_DIR/machine-id     made once; the same machine that joins again is known by it
 *   DATA_DIR/pki/ca.crt     the cluster's CA
 *   DATA_DIR/pki/node.pem   certificate and key in one file, so that a crash never leaves one without the other
 *   DATA_DIR/pki/servers    node addresses of the servers, one a line
 *   DATA_DIR/pki/removed    the cluster has said that this node is out: the next start may join anew
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { formatJoinToken, type JoinToken } from '../api/join_token.ts'
import type { Taint } from '../api/node.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import { readIfExists, writeFileAtomic } from '../base/files.ts'
import type { Logger } from '../base/log.ts'
import { caHash, certificateFacts, createKey } from '../base/pki.ts'
import { renewalDueMs } from '../base/pki_files.ts'
import type { Random } from '../base/random.ts'
import { callJoin, callRenew, fetchPinnedCa } from '../rpc/join_client.ts'
import { jsonBytes } from '../rpc/messages.ts'
import type { TlsFiles } from '../rpc/server.ts'

const KEY_HEADER = '-----BEGIN PRIVATE KEY-----'
const NODE_PREFIX = 'system:node:'
/** Waits are no longer than this: wall time may jump, and a machine may sleep. */
const MAX_WAIT_MS = 6 * 3_600_000
const FIRST_RETRY_MS = 1_000
const MAX_RETRY_MS = 10 * 60_000

export interface StoredIdentity {
  nodeName: string
  tls: TlsFiles
  /** `sha256:<hex>`. */
  caHash: string
  notAfterMs: number
  servers: string[]
  removed: boolean
}

const place = (dataDir: string, file: string): string => join(dataDir, 'pki', file)

export function readMachineId(dataDir: string, random: Random): string {
  const path = join(dataDir, 'machine-id')
  const existing = readIfExists(path)?.trim()
  if (existing) return existing
  const id = random.uuid()
  writeFileAtomic(path, `${id}\n`)
  return id
}

/** What is on disk; undefined where this machine has never joined. */
export function readIdentity(dataDir: string): StoredIdentity | undefined {
  const pem = readIfExists(place(dataDir, 'node.pem'))
  const ca = readIfExists(place(dataDir, 'ca.crt'))
  if (pem === undefined || ca === undefined) return undefined
  const facts = certificateFacts(pem)
  const servers = readIfExists(place(dataDir, 'servers')) ?? ''
  return {
    nodeName: facts.commonName.startsWith(NODE_PREFIX) ? facts.commonName.slice(NODE_PREFIX.length) : '',
    tls: { ca, cert: pem.slice(0, pem.indexOf(KEY_HEADER)), key: pem.slice(pem.indexOf(KEY_HEADER)) },
    caHash: caHash(ca),
    notAfterMs: facts.notAfterMs,
    servers: servers.split('\n').filter((line) => line !== ''),
    removed: readIfExists(place(dataDir, 'removed')) !== undefined,
  }
}

interface Issued {
  certificate: string
  keyPem: string
  ca: string
  servers: readonly string[]
}

function writeIdentity(dataDir: string, { certificate, keyPem, ca, servers }: Issued): void {
  writeFileAtomic(place(dataDir, 'ca.crt'), ca)
  if (servers.length > 0) saveServers(dataDir, servers)
  writeFileAtomic(place(dataDir, 'node.pem'), `${certificate}${keyPem}`, 0o600)
  setRemoved(dataDir, false)
}

/** Whom the next start may call. */
export function saveServers(dataDir: string, servers: readonly string[]): void {
  writeFileAtomic(place(dataDir, 'servers'), `${servers.join('\n')}\n`)
}

/** Remembers what the cluster said of this node. */
export function setRemoved(dataDir: string, removed: boolean): void {
  const path = place(dataDir, 'removed')
  if (removed) writeFileAtomic(path, '')
  else rmSync(path, { force: true })
}

export interface JoinOptions {
  token: JoinToken
  /** `host:port` each, tried in turn while none can be reached. */
  servers: readonly string[]
  nodeName: string
  labels: Readonly<Record<string, string>>
  taints: readonly Taint[]
  dataDir: string
  clock: Clock
  random: Random
  log: Logger
}

/** Makes a key, has it signed, and stores the result. Throws what the cluster said; nothing is stored then. */
export async function joinCluster(options: JoinOptions): Promise<void> {
  const { token, servers, nodeName, labels, taints, dataDir, clock, random, log } = options
  const machineId = readMachineId(dataDir, random)
  const { keyPem, publicKey } = createKey()
  const node = { metadata: { labels }, spec: taints.length === 0 ? {} : { taints } }
  const response = await firstReachable(servers, async (address) => {
    const ca = await fetchPinnedCa(address, token.caHash, clock)
    const identity = { tokenId: token.id, tokenSecret: token.secret, nodeName, machineId }
    const request = { ...identity, publicKey, clockMs: clock.now(), nodeJson: jsonBytes(node) }
    return callJoin(address, ca, request, clock)
  })
  const { certificate, ca } = response
  if (caHash(ca) !== `sha256:${token.caHash}`) {
    throw new DroverError('internal', 'the server answered with another CA than its own: nothing was stored')
  }
  writeIdentity(dataDir, { certificate, keyPem, ca, servers: [...new Set([...servers, ...response.servers])] })
  log.info({ cluster: response.clusterName, node: nodeName }, 'joined the cluster')
}

/** The first answer, good or bad, of a server that can be reached. */
async function firstReachable<T>(servers: readonly string[], attempt: (address: string) => Promise<T>): Promise<T> {
  const errors: DroverError[] = []
  for (const address of servers) {
    try {
      return await attempt(address)
    } catch (thrown) {
      const error = DroverError.from(thrown)
      if (!isCode(error, 'unavailable') && !isCode(error, 'timeout')) throw error
      errors.push(error)
    }
  }
  const [first] = errors
  if (first === undefined) throw new DroverError('invalid', 'name a server to join: --server HOST:PORT')
  throw new DroverError('unavailable', errors.map((error) => error.message).join('; '), { cause: first })
}

export interface IdentityCheck {
  nodeName: string
  token: JoinToken | undefined
  nowMs: number
  dataDir: string
}

/**
 * Whether this machine must join before it can serve. Throws `invalid` when what is on disk and what was asked for
 * contradict each other, in words that say what to do.
 */
export function mustJoin(
  stored: StoredIdentity | undefined,
  { nodeName, token, nowMs, dataDir }: IdentityCheck,
): boolean {
  if (stored === undefined) {
    if (token !== undefined) return true
    throw new DroverError(
      'invalid',
      'this machine has not joined a cluster: run the line that "drover token create" prints, which has --join TOKEN --server HOST:PORT',
    )
  }
  if (token !== undefined && stored.caHash !== `sha256:${token.caHash}`) {
    throw new DroverError(
      'invalid',
      `this machine belongs to another cluster (CA ${stored.caHash}); to leave that one: drover agent --reset, then remove ${join(dataDir, 'pki')}`,
    )
  }
  const expired = stored.notAfterMs <= nowMs
  if (token !== undefined && (expired || stored.removed)) return true
  if (stored.nodeName !== nodeName) {
    throw new DroverError(
      'invalid',
      `this machine joined as node "${stored.nodeName}", not "${nodeName}": give --node-name ${stored.nodeName}, or remove ${join(dataDir, 'pki')} and join anew`,
    )
  }
  if (!expired) return false
  const at = new Date(stored.notAfterMs).toISOString()
  throw new DroverError(
    'invalid',
    `this node's certificate expired at ${at}: join again with a new token (drover token create)`,
  )
}

/** What may be shown of a token. */
export const tokenLabel = (token: JoinToken): string => formatJoinToken({ ...token, secret: '…' })

export interface RenewalOptions {
  dataDir: string
  servers: readonly string[]
  clock: Clock
  log: Logger
  /** How a server is asked; by gRPC unless said otherwise. */
  call?: typeof callRenew
}

/** Renews the stored certificate in time, for as long as it runs; sessions take the new one when they dial next. */
export async function keepRenewed(options: RenewalOptions, signal: AbortSignal): Promise<void> {
  const { dataDir, clock, log } = options
  let retryMs = FIRST_RETRY_MS
  while (!signal.aborted) {
    const stored = readIdentity(dataDir)
    const dueInMs = stored === undefined ? MAX_WAIT_MS : renewalDueMs(stored.tls.cert) - clock.now()
    let waitMs = Math.max(0, Math.min(dueInMs, MAX_WAIT_MS))
    if (stored !== undefined && dueInMs <= 0) {
      try {
        await renew(stored, options)
        retryMs = FIRST_RETRY_MS
        waitMs = FIRST_RETRY_MS
      } catch (error) {
        const notAfter = new Date(stored.notAfterMs).toISOString()
        log.warn({ err: error, notAfter, retryMs }, 'cannot renew the certificate; will try again')
        waitMs = retryMs
        retryMs = Math.min(retryMs * 2, MAX_RETRY_MS)
      }
    }
    await sleep(clock, waitMs, signal).catch(() => undefined)
  }
}

async function renew(
  stored: StoredIdentity,
  { dataDir, servers, clock, log, call = callRenew }: RenewalOptions,
): Promise<void> {
  const { keyPem, publicKey } = createKey()
  const request = { publicKey, clockMs: clock.now() }
  const all = [...new Set([...servers, ...stored.servers])]
  const response = await firstReachable(all, (address) => call(address, stored.tls, request, clock))
  writeIdentity(dataDir, { ...response, keyPem, servers: all })
  const { notAfterMs } = certificateFacts(response.certificate)
  log.info({ notAfter: new Date(notAfterMs).toISOString() }, 'certificate renewed')
}
