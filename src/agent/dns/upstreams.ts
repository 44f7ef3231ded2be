/**
 * Which outside server to ask next. A server that failed twice in a row is left alone, except for one question now and
 * then that tries whether it is back: while all are dead, every other question fails at once instead of waiting.
 */
import { DroverError } from '../../base/errors.ts'
import type { UpstreamAddress } from './resolv_conf.ts'

export interface Upstream extends UpstreamAddress {
  failures: number
  /** When a dead server may be tried again. */
  retryAtMs: number
}

const DEAD_AFTER_FAILURES = 2
const FIRST_RETRY_MS = 1_000
const MAX_RETRY_MS = 3_000

export class Upstreams {
  #list: Upstream[] = []

  /** What is known of a server stays with it. */
  set(addresses: readonly UpstreamAddress[]): void {
    this.#list = addresses.map(({ address, port }) => {
      const known = this.#list.find((item) => item.address === address && item.port === port)
      return known ?? { address, port, failures: 0, retryAtMs: 0 }
    })
  }

  get size(): number {
    return this.#list.length
  }

  get dead(): number {
    return this.#list.filter(({ failures }) => failures >= DEAD_AFTER_FAILURES).length
  }

  /** The next to ask: the first that lives and was not asked yet, else again one that lives, else a dead one that is due. */
  pick(nowMs: number, asked: readonly Upstream[]): Upstream | undefined {
    const alive = this.#list.filter(({ failures }) => failures < DEAD_AFTER_FAILURES)
    const chosen = alive.find((upstream) => !asked.includes(upstream)) ?? alive[0]
    if (chosen !== undefined) return chosen
    const due = this.#list.find((upstream) => upstream.retryAtMs <= nowMs && !asked.includes(upstream))
    // Nobody else tries it meanwhile.
    if (due !== undefined) due.retryAtMs = nowMs + MAX_RETRY_MS
    return due
  }

  succeeded(upstream: Upstream): void {
    upstream.failures = 0
  }

  failed(upstream: Upstream, nowMs: number): void {
    upstream.failures++
    const beyond = Math.max(0, upstream.failures - DEAD_AFTER_FAILURES)
    upstream.retryAtMs = nowMs + Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(beyond, 10))
  }

  describe(): string {
    return this.#list.map(({ address, port }) => (port === 53 ? address : `${address}:${port}`)).join(', ') || 'none'
  }
}

export function checkUpstream({ address, port }: UpstreamAddress, own: readonly string[], ownPort: number): void {
  if (own.includes(address) && port === ownPort) {
    throw new DroverError('invalid', `DNS upstream ${address}:${port} is this server itself; name another one`)
  }
}
