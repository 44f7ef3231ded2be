/**
 * From a question to its answer: the zone first, then what a search list may have meant, then the world outside.
 * Everything that the table can answer is answered at once; only what must be asked outside is a promise.
 */
import { type Answer, absence, aged, failure, zoneAnswer } from './answer.ts'
import { type Completion, mayLeave, planCompletion } from './names_outside.ts'
import { aliasRecord, aliasTarget, CLUSTER_TTL_SECONDS } from './records.ts'
import type { Resolution } from './reply_table.ts'
import { RCODE, type ResourceRecord, TYPE } from './wire.ts'
import type { Zone } from './zone.ts'

export interface Outside {
  /** Never rejects: what cannot be asked is SERVFAIL. */
  resolve(name: string, type: number): Resolution | Promise<Resolution>
  /** Search domains of the host. */
  searchDomains(): readonly string[]
}

export interface ResolverOptions {
  /** Undefined until the service table is known. */
  zone(): Zone | undefined
  /** The cluster's domain, as far as it is known without a table. */
  outside: Outside
  nowMs(): number
}

const MAX_ALIASES = 8

type Maybe<T> = T | Promise<T>

function then<T, R>(value: Maybe<T>, next: (value: T) => Maybe<R>): Maybe<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

export class Resolver {
  readonly #options: ResolverOptions

  constructor(options: ResolverOptions) {
    this.#options = options
  }

  /** `complete`: names that a search list made are completed here. */
  resolve(name: string, type: number, complete: boolean): Maybe<Resolution> {
    const zone = this.#options.zone()
    // Without a table nobody can say what is the cluster's and what is not: no name may leave by mistake.
    if (zone === undefined) return this.#now(failure(RCODE.servFail), this.#options.nowMs())
    return this.#follow(zone, name, type, { complete, aliases: 0 })
  }

  #follow(zone: Zone, name: string, type: number, how: { complete: boolean; aliases: number }): Maybe<Resolution> {
    const authority = zone.authorityOf(name)
    if (authority === undefined) {
      if (mayLeave(name, type)) return this.#options.outside.resolve(name, type)
      return this.#now(absence(RCODE.nxDomain, undefined))
    }
    const records = zone.find(name)
    if (records !== undefined) return this.#found(zone, { name, type, records }, how.aliases)
    const completion = how.complete
      ? planCompletion(zone, { name, type }, this.#options.outside.searchDomains())
      : undefined
    const nothing = this.#now(absence(RCODE.nxDomain, authority))
    return completion === undefined ? nothing : this.#complete(zone, { name, type, nothing }, completion)
  }

  #found(
    zone: Zone,
    { name, type, records }: { name: string; type: number; records: readonly ResourceRecord[] },
    aliases: number,
  ): Maybe<Resolution> {
    const alias = records.find((record) => record.type === TYPE.CNAME)
    const target = alias && aliasTarget(alias)
    if (alias === undefined || target === undefined || type === TYPE.CNAME || type === TYPE.ANY) {
      return this.#now(zoneAnswer(zone, name, type, records))
    }
    // A ring of aliases, or a chain without end.
    if (aliases >= MAX_ALIASES) return this.#now(failure(RCODE.servFail))
    const rest = this.#follow(zone, target, type, { complete: false, aliases: aliases + 1 })
    return then(rest, (resolution) => this.#prepend(alias, resolution))
  }

  #complete(
    zone: Zone,
    { name, type, nothing }: { name: string; type: number; nothing: Resolution },
    { inside, outside }: Completion,
  ): Maybe<Resolution> {
    const meant = (target: string) => (resolution: Resolution) =>
      this.#prepend(aliasRecord(name, target, CLUSTER_TTL_SECONDS), resolution)
    for (const target of inside) {
      const records = zone.find(target)
      if (records !== undefined) return then(this.#found(zone, { name: target, type, records }, 1), meant(target))
    }
    const next = (index: number): Maybe<Resolution> => {
      const target = outside[index]
      if (target === undefined) return this.#shorten(nothing)
      return then(this.#options.outside.resolve(target, type), (resolution) => {
        const { rcode } = resolution.answer
        return rcode === RCODE.nxDomain ? next(index + 1) : meant(target)(resolution)
      })
    }
    return outside.length === 0 ? nothing : next(0)
  }

  /** What hangs on names outside is not for ever. */
  #shorten(resolution: Resolution): Resolution {
    const nowMs = this.#options.nowMs()
    return { ...resolution, storedMs: nowMs, expiresMs: nowMs + CLUSTER_TTL_SECONDS * 1000 }
  }

  #now(answer: Answer, expiresMs = Number.POSITIVE_INFINITY): Resolution {
    return { answer, storedMs: this.#options.nowMs(), expiresMs }
  }

  /** The answer to the alias' own name. A failure stays a failure, without half an answer. */
  #prepend(alias: ResourceRecord, resolution: Resolution): Resolution {
    const { answer, storedMs, expiresMs } = resolution
    if (answer.rcode !== RCODE.noError && answer.rcode !== RCODE.nxDomain) return resolution
    const nowMs = this.#options.nowMs()
    const current = aged(answer, Math.floor((nowMs - storedMs) / 1000))
    return {
      answer: { ...current, authoritative: true, answers: [alias, ...current.answers] },
      storedMs: nowMs,
      // The alias' TTL must not count down to nothing while it still is true.
      expiresMs: Math.min(
        expiresMs,
        expiresMs === Number.POSITIVE_INFINITY ? expiresMs : nowMs + alias.ttlSeconds * 1000,
      ),
    }
  }
}
