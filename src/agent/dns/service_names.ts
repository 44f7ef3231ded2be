/**
 * The names of one service. Pure. Source: Kubernetes DNS-Based Service Discovery 1.1.0. A headless service without
 * ready endpoints has no names at all, so its name does not exist (§2.4.1).
 */
import { type Address, parseAddress } from '../../base/cidr.ts'
import type { ServiceHost, ServicePortRow, ServiceRow } from '../../rpc/tables.ts'
import { addressRecord, aliasRecord, dashed, pointerRecord, reverseName, serviceRecord } from './records.ts'
import { parseName, type ResourceRecord } from './wire.ts'

export type Names = Map<string, ResourceRecord[]>

const FULL_WEIGHT = 100

class Collector {
  readonly names: Names = new Map()
  readonly #row: ServiceRow
  readonly #base: string

  constructor(row: ServiceRow, base: string) {
    this.#row = row
    this.#base = base
  }

  add(record: ResourceRecord): void {
    const { name } = record
    const records = this.names.get(name)
    if (records === undefined) this.names.set(name, [record])
    else records.push(record)
  }

  externalName(text: string): void {
    const to = parseName(text)
    if (to !== undefined && to !== '') this.add(aliasRecord(this.#base, to))
    else this.names.set(this.#base, [])
  }

  clusterIP(address: Address): void {
    this.add(addressRecord(this.#base, address))
    this.add(pointerRecord(reverseName(address), this.#base))
    for (const port of this.#row.ports) this.#serve(port, this.#base, { port: port.port, weight: FULL_WEIGHT })
  }

  /** Endpoints by themselves: those of headless services, and those that have names of their own. */
  hosts(hosts: readonly ServiceHost[], headless: boolean): void {
    const names = new Map<string, string>()
    for (const { address: text, hostname } of hosts) {
      const address = addressOf(text)
      if (address === undefined || names.has(text)) continue
      const name = `${hostLabel(hostname) ?? dashed(address)}.${this.#base}`
      if (headless) this.add(addressRecord(this.#base, address))
      // Together too long for a name: it is found by the service's alone.
      if (parseName(name) === undefined) continue
      names.set(text, name)
      this.add(addressRecord(name, address))
      if (headless) this.add(pointerRecord(reverseName(address), name))
    }
    if (!headless) return
    for (const port of this.#row.ports) {
      const served = new Map<string, number>()
      for (const { address, port: number } of port.endpoints) {
        const name = names.get(address)
        if (name !== undefined) served.set(name, number)
      }
      const weight = Math.max(1, Math.floor(FULL_WEIGHT / Math.max(1, served.size)))
      for (const [name, number] of served) this.#serve(port, name, { port: number, weight })
    }
  }

  /** Under the port's name, if it has one, and under the service's own, where clients ask for all ports at once. */
  #serve({ name, protocol }: ServicePortRow, to: string, target: { port: number; weight: number }): void {
    this.add(serviceRecord(this.#base, to, target))
    if (name !== '') this.add(serviceRecord(`_${name}._${protocol.toLowerCase()}.${this.#base}`, to, target))
  }
}

function addressOf(text: string): Address | undefined {
  try {
    return parseAddress(text)
  } catch {
    return undefined
  }
}

function hostLabel(hostname: string | undefined): string | undefined {
  const label = hostname === undefined ? undefined : parseName(hostname)
  return label === undefined || label === '' || label.includes('.') ? undefined : label
}

export function serviceName(row: Pick<ServiceRow, 'namespace' | 'name'>, domain: string): string {
  return `${row.name}.${row.namespace}.svc.${domain}`
}

/** Every name that this service gives records to. Wrong addresses and names in the row are left out. */
export function serviceNames(row: ServiceRow, domain: string): Names {
  const collector = new Collector(row, serviceName(row, domain))
  if (parseName(serviceName(row, domain)) === undefined) return collector.names
  if (row.externalName !== undefined) {
    collector.externalName(row.externalName)
    return collector.names
  }
  const address = row.clusterIP === '' ? undefined : addressOf(row.clusterIP)
  if (address !== undefined) collector.clusterIP(address)
  collector.hosts(row.hosts ?? [], row.clusterIP === '')
  return collector.names
}
