/**
 * A node's certificate by a clock that is moved: 400 days pass, and at no time has the node one that does not hold. The
 * server's desk signs; its connection is left out, for TLS knows the machine's own clock alone.
 */
import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keepRenewed, readIdentity } from '../../src/agent/identity.ts'
import { createJoinToken, tokenSecret } from '../../src/api/join_token.ts'
import { JOIN_ID_PREFIX } from '../../src/api/names.ts'
import { nodeKind } from '../../src/api/node.ts'
import { secretKind } from '../../src/api/secret.ts'
import { DroverError } from '../../src/base/errors.ts'
import { writeFileAtomic } from '../../src/base/files.ts'
import { createLogger, silentLogger } from '../../src/base/log.ts'
import { type CertificateAndKey, certificateFacts, createCa, createKey } from '../../src/base/pki.ts'
import { systemRandom } from '../../src/base/random.ts'
import { createJoinDesk, type JoinDesk } from '../../src/dispatch/join.ts'
import type { ClientTls } from '../../src/rpc/client.ts'
import type { RenewRequest, RenewResponse } from '../../src/rpc/join_messages.ts'
import { eventually } from '../support/eventually.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const LIFE_MS = 90 * DAY_MS

let dataDir: string
let clock: ManualClock
let world: TestResources
let ca: CertificateAndKey
let desk: JoinDesk
let control: AbortController
let logged: string[]
let renewals: number
/** Whether somebody answers. */
let reachable: boolean
/** How much the server's clock is ahead of the node's. */
let aheadMs: number

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-identity-'))
  clock = createManualClock()
  world = await runResources()
  ca = await createCa('drvt', { clock })
  const authority = { ca, certificateMs: LIFE_MS, clusterName: 'drvt', servers: () => ['10.0.0.5:6444'] }
  aheadMs = 0
  const server = { ...clock, now: () => clock.now() + aheadMs }
  desk = createJoinDesk({
    resources: world.resources,
    clock: server,
    random: systemRandom,
    log: silentLogger,
    authority,
  })
  control = new AbortController()
  logged = []
  renewals = 0
  reachable = true
})

afterEach(async () => {
  control.abort()
  await world.stop()
  await rm(dataDir, { recursive: true, force: true })
})

/** What the server reads of a certificate that its listener has checked: here by the moved clock. */
function callerOf({ cert }: ClientTls): { nodeName: string; joinId: string } {
  const certificate = new X509Certificate(cert)
  if (!certificate.verify(new X509Certificate(ca.certPem).publicKey)) throw new Error('it is of another CA')
  const { commonName, notAfterMs, organizationalUnits } = certificateFacts(cert)
  if (notAfterMs <= clock.now() || Date.parse(certificate.validFrom) > clock.now()) {
    throw new DroverError('unauthorized', 'the certificate does not hold')
  }
  const joinId = organizationalUnits.find((unit) => unit.startsWith(JOIN_ID_PREFIX))?.slice(JOIN_ID_PREFIX.length)
  return { nodeName: commonName.slice('system:node:'.length), joinId: joinId ?? '' }
}

async function call(address: string, tls: ClientTls, request: RenewRequest): Promise<RenewResponse> {
  if (!reachable) throw new DroverError('unavailable', `cannot reach ${address}`)
  const response = await desk.renew(callerOf(tls), request)
  renewals++
  return response
}

async function start(): Promise<void> {
  const token = createJoinToken(certificateFacts(ca.certPem).publicKeySha256)
  await world.resources.create(secretKind, tokenSecret(token, { expiresAtMs: clock.now() + DAY_MS, description: '' }))
  const { keyPem, publicKey } = createKey()
  const identity = { tokenId: token.id, tokenSecret: token.secret, nodeName: 'n1', machineId: 'm' }
  const asked = { ...identity, publicKey, clockMs: clock.now(), nodeJson: new Uint8Array() }
  const { certificate } = await desk.join(asked, '192.0.2.1')
  writeFileAtomic(join(dataDir, 'pki/ca.crt'), ca.certPem)
  writeFileAtomic(join(dataDir, 'pki/node.pem'), `${certificate}${keyPem}`, 0o600)
  const log = createLogger('test', 'info', { write: (line: string) => void logged.push(line) })
  void keepRenewed({ dataDir, servers: ['192.0.2.5:6444'], clock, log, call }, control.signal)
  await eventually(() => clock.pending > 0, { intervalMs: 1 })
}

/** Hours, and then until it sleeps again. */
async function pass(hours: number): Promise<void> {
  await clock.advance(hours * HOUR_MS)
  await eventually(() => clock.pending > 0, { intervalMs: 1 })
}

function stored() {
  const identity = readIdentity(dataDir)
  if (identity === undefined) throw new Error('no certificate')
  return { ...identity, certificate: new X509Certificate(identity.tls.cert) }
}

test('400 days: it is renewed in time, each time with a new key, under the same name and joining', async () => {
  await start()
  const first = stored()
  const caller = callerOf(first.tls)
  const keys = new Set<string>()
  for (let hours = 0; hours < 400 * 24; hours += 48) {
    await pass(48)
    const { certificate, notAfterMs, tls } = stored()
    expect(callerOf(tls)).toEqual(caller)
    expect(notAfterMs).toBeGreaterThan(clock.now() + LIFE_MS / 4)
    expect(certificate.subject).toBe(first.certificate.subject)
    keys.add(tls.key)
  }
  // At two thirds of 90 days each: no churn.
  expect(renewals).toBeGreaterThanOrEqual(6)
  expect(renewals).toBeLessThanOrEqual(7)
  expect(keys.size).toBe(renewals + 1)
  expect(stored().servers).toEqual(['192.0.2.5:6444'])
}, 60_000)

test('nobody answers for days when it is due: it is asked for again and again, and had in time', async () => {
  await start()
  const { notAfterMs } = stored()
  await pass(59 * 24)
  reachable = false
  await pass(20 * 24)
  expect(stored().notAfterMs).toBe(notAfterMs)
  const tries = logged.filter((line) => line.includes('cannot renew the certificate')).length
  expect(tries).toBeGreaterThan(100)
  reachable = true
  // No longer than the longest wait between two tries.
  await pass(1)
  await eventually(() => renewals === 1, { intervalMs: 1 })
  expect(stored().notAfterMs).toBeGreaterThan(clock.now() + 80 * DAY_MS)
}, 60_000)

test('a clock that has gone far off is told, and the certificate had once it is set', async () => {
  await start()
  aheadMs = 6 * 60_000
  await pass(61 * 24)
  expect(renewals).toBe(0)
  expect(logged.join('')).toContain("this machine's clock is 360 s behind the server's")
  aheadMs = 60_000
  await pass(1)
  await eventually(() => renewals === 1, { intervalMs: 1 })
}, 60_000)

test('one that was removed meanwhile is given none', async () => {
  await start()
  const { notAfterMs } = stored()
  await world.resources.delete(nodeKind, '', 'n1')
  await pass(61 * 24)
  expect(stored().notAfterMs).toBe(notAfterMs)
  expect(logged.join('')).toContain('was removed from the cluster')
  expect(renewals).toBe(0)
}, 60_000)
