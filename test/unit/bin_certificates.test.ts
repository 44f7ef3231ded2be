/** Renewal by a clock that is moved: 400 days pass, and at no time is a certificate out of its life. */
import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { createCertificateRenewal } from '../../src/bin/certificates.ts'
import { openServerPki, type ServerLeaves } from '../../src/bin/server_pki.ts'
import { eventually } from '../support/eventually.ts'
import { createManualClock } from '../support/manual_clock.ts'

const DAY_MS = 86_400_000
let dataDir: string
let control: AbortController

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-certificates-'))
  control = new AbortController()
})

afterEach(async () => {
  control.abort()
  await rm(dataDir, { recursive: true, force: true })
})

async function start(caMs: number) {
  const clock = createManualClock()
  const logged: string[] = []
  const log = createLogger('test', 'info', { write: (line: string) => void logged.push(line) })
  const hosts = { listen: ['127.0.0.1'], advertise: ['drover.example'] }
  const pki = await openServerPki({ dataDir, clusterName: 'drvt', ...hosts, clock, lives: { caMs } })
  const given: ServerLeaves[] = [await pki.ensure()]
  const [current] = given
  if (current === undefined) throw new Error('no certificates')
  const registry = new Registry()
  const onRenewed = (leaves: ServerLeaves): void => void given.push(leaves)
  const renewal = createCertificateRenewal({ pki, current, clock, log, registry, onRenewed })
  void renewal.run(control.signal)
  await eventually(() => clock.pending > 0, { intervalMs: 1 })
  return {
    clock,
    given,
    logged,
    pki,
    registry,
    /** Days, and then until the service sleeps again. */
    async days(count: number) {
      await clock.advance(count * DAY_MS)
      await eventually(() => clock.pending > 0, { intervalMs: 1 })
    },
  }
}

test('400 days: every leaf is renewed in time, under the same CA and the same names', async () => {
  const { clock, days: pass, given, pki, registry } = await start(3650 * DAY_MS)
  const ca = new X509Certificate(pki.files.ca.certPem)
  for (let days = 0; days < 400; days += 4) {
    await pass(4)
    for (const { certPem } of Object.values(given.at(-1) ?? {})) {
      const { validFrom, validTo } = new X509Certificate(certPem)
      expect(Date.parse(validFrom)).toBeLessThanOrEqual(clock.now())
      expect(Date.parse(validTo)).toBeGreaterThan(clock.now() + 100 * DAY_MS)
    }
  }
  const [first] = given
  const last = given.at(-1)
  for (const name of ['server', 'admin', 'etcd', 'etcdClient'] as const) {
    const [old, renewed] = [first?.[name].certPem ?? '', last?.[name].certPem ?? ''].map(
      (pem) => new X509Certificate(pem),
    )
    expect(renewed?.serialNumber).not.toBe(old?.serialNumber)
    expect(renewed?.subject).toBe(old?.subject)
    expect(renewed?.subjectAltName).toBe(old?.subjectAltName)
    expect(renewed?.verify(ca.publicKey)).toBe(true)
  }
  // Twice in 400 days, at two thirds of 365 each: no churn.
  expect(given.length).toBeLessThanOrEqual(1 + 2 * 4)
  const metrics = await registry.metrics()
  for (const name of ['ca', 'server', 'admin', 'etcd', 'etcdClient']) {
    expect(metrics).toContain(`drover_certificate_expiry_timestamp_seconds{certificate="${name}"}`)
  }
}, 60_000)

test('the last year of the CA is announced, once a day', async () => {
  const { days: pass, logged } = await start(400 * DAY_MS)
  const warnings = (): number => logged.filter((line) => line.includes('CA ends within a year')).length
  for (let days = 0; days < 30; days++) await pass(1)
  expect(warnings()).toBe(0)
  for (let days = 0; days < 10; days++) await pass(1)
  expect(warnings()).toBeGreaterThanOrEqual(4)
  expect(warnings()).toBeLessThanOrEqual(6)
})
