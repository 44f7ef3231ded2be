/**
 * Renews the server's certificates while it runs, each with a third of its life left, and hands them to whoever uses
 * them. Looks at least every six hours, for wall time may jump and machines sleep. The CA itself is not renewed: nodes
 * pin it. It lives ten years, and its last year is announced.
 */
import { X509Certificate } from 'node:crypto'
import { type Clock, sleep } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import { Gauge, type Registry } from '../base/metrics.ts'
import { renewalDueMs } from '../base/pki_files.ts'
import type { Service } from '../base/service.ts'
import type { ServerLeaves, ServerPki } from './server_pki.ts'

export interface RenewalOptions {
  pki: ServerPki
  /** What is in use now. */
  current: ServerLeaves
  clock: Clock
  log: Logger
  registry: Registry
  /** At least one leaf is new. A failure is tried again. */
  onRenewed(leaves: ServerLeaves): void | Promise<void>
}

const MAX_WAIT_MS = 6 * 3_600_000
const MIN_WAIT_MS = 500
const CA_WARNING_MS = 365 * 86_400_000
const DAY_MS = 86_400_000

export function createCertificateRenewal(options: RenewalOptions): Service {
  const { pki, clock, log, registry } = options
  const expiry = new Gauge({
    name: 'drover_certificate_expiry_timestamp_seconds',
    help: 'When a certificate ends, seconds since the epoch',
    labelNames: ['certificate'],
    registers: [registry],
  })
  let current = options.current
  let warnedAtMs = Number.NEGATIVE_INFINITY

  const observe = (): void => {
    const caEndMs = endMs(pki.files.ca.certPem)
    expiry.set({ certificate: 'ca' }, caEndMs / 1000)
    for (const [name, { certPem }] of Object.entries(current)) {
      expiry.set({ certificate: name }, endMs(certPem) / 1000)
    }
    const nowMs = clock.now()
    if (caEndMs - nowMs > CA_WARNING_MS || nowMs - warnedAtMs < DAY_MS) return
    warnedAtMs = nowMs
    const notAfter = new Date(caEndMs).toISOString()
    log.warn({ notAfter }, "the cluster's CA ends within a year: plan its replacement (docs/operations.md)")
  }

  return {
    id: 'certificates',
    async run(signal) {
      while (!signal.aborted) {
        const leaves = await pki.ensure()
        const renewed = names(leaves).filter((name) => leaves[name].certPem !== current[name].certPem)
        if (renewed.length > 0) {
          await options.onRenewed(leaves)
          current = leaves
          log.info({ certificates: renewed }, 'certificates renewed')
        }
        observe()
        const dueMs = Math.min(...names(current).map((name) => renewalDueMs(current[name].certPem)))
        const waitMs = Math.max(MIN_WAIT_MS, Math.min(dueMs - clock.now(), MAX_WAIT_MS))
        await sleep(clock, waitMs, signal).catch(() => undefined)
      }
    },
  }
}

const names = (leaves: ServerLeaves): (keyof ServerLeaves)[] => Object.keys(leaves) as (keyof ServerLeaves)[]

const endMs = (certPem: string): number => Date.parse(new X509Certificate(certPem).validTo)
