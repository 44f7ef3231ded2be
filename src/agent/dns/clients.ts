/**
 * Whom this server answers: pods, and the host itself. It listens on link-local addresses, but Linux takes a packet for
 * any of its addresses on any of its interfaces; a neighbour on the wire must find no open resolver here.
 */
import { networkInterfaces } from 'node:os'
import { type Cidr, cidrContains, parseAddress, parseCidr } from '../../base/cidr.ts'

const MAX_REMEMBERED = 4_096

export class Clients {
  readonly #verdicts = new Map<string, boolean>()
  #podRange: Cidr | undefined

  setPodRange(range: string): void {
    this.#podRange = parseCidr(range)
    this.#verdicts.clear()
  }

  serves(address: string): boolean {
    return this.#verdicts.get(address) ?? this.#decide(address)
  }

  /** To be called now and then: addresses of the host come and go. */
  forget(): void {
    this.#verdicts.clear()
  }

  #decide(address: string): boolean {
    const own = Object.values(networkInterfaces()).flatMap((list) => list?.map((item) => item.address) ?? [])
    const isPod = this.#podRange !== undefined && cidrContains(this.#podRange, parseAddress(address))
    const verdict = isPod || own.includes(address) || address.startsWith('127.')
    if (this.#verdicts.size >= MAX_REMEMBERED) this.#verdicts.clear()
    this.#verdicts.set(address, verdict)
    return verdict
  }
}
