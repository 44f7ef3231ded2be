/**
 * The names that this node answers for: the cluster's domain and the reverse zones of its two ranges. Built from
 * service rows; a row that did not change costs one comparison. Names in the middle (`default.svc.DOMAIN`) exist as long
 * as something stands below them.
 */
import { type Cidr, cidrContains, parseAddress, parseCidr } from '../../base/cidr.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ClusterConfig, ServiceRow } from '../../rpc/tables.ts'
import {
  addressRecord,
  authorityRecord,
  nameServerRecord,
  parseDashed,
  parseReverse,
  type ReversePart,
  textRecord,
} from './records.ts'
import { type Names, serviceNames } from './service_names.ts'
import { isWithin, type ResourceRecord } from './wire.ts'

/** Version of the naming scheme. Kubernetes DNS-Based Service Discovery §2.2. */
const SCHEMA_VERSION = '1.1.0'

interface Node {
  /** By who put them there; services may share a name only in the reverse zones. */
  owners: Map<string, readonly ResourceRecord[]>
  children: number
}

export interface ZoneOptions {
  config: ClusterConfig
  /** Where the zone's name server is. */
  serverAddress: string
}

export class Zone {
  readonly domain: string
  readonly #nodes = new Map<string, Node>()
  readonly #services = new Map<string, { row: ServiceRow; names: Names }>()
  readonly #ranges: readonly Cidr[]
  readonly #podRange: Cidr
  #serial = 1

  constructor({ config, serverAddress }: ZoneOptions) {
    this.domain = config.clusterDomain.toLowerCase().replace(/\.$/, '')
    this.#podRange = parseCidr(config.clusterCidr)
    this.#ranges = [this.#podRange, parseCidr(config.serviceCidr)]
    const own = ''
    this.#put(this.domain, own, [])
    for (const middle of ['svc', 'pod']) this.#put(`${middle}.${this.domain}`, own, [])
    this.#put(this.#server, own, [addressRecord(this.#server, parseAddress(serverAddress))])
    const version = `dns-version.${this.domain}`
    this.#put(version, own, [textRecord(version, SCHEMA_VERSION)])
  }

  /** True when any name changed. */
  apply(rows: readonly ServiceRow[]): boolean {
    let changed = false
    const gone = new Set(this.#services.keys())
    for (const row of rows) {
      const key = `${row.namespace}/${row.name}`
      gone.delete(key)
      const known = this.#services.get(key)
      if (known !== undefined && jsonEqual(known.row, row)) {
        // The same object next time, which compares at once.
        known.row = row
        continue
      }
      if (known !== undefined) this.#withdraw(key, known.names)
      const names = serviceNames(row, this.domain)
      for (const [name, records] of names) this.#put(name, key, records)
      this.#services.set(key, { row, names })
      changed = true
    }
    for (const key of gone) {
      this.#withdraw(key, this.#services.get(key)?.names ?? new Map())
      this.#services.delete(key)
      changed = true
    }
    if (changed) this.#serial++
    return changed
  }

  hasService(namespace: string, name: string): boolean {
    return this.#services.has(`${namespace}/${name}`)
  }

  /** The SOA of the zone that the name is in; undefined for names that are not ours. */
  authorityOf(name: string): ResourceRecord | undefined {
    const zone = this.#zoneOf(name)
    if (zone === undefined) return undefined
    const mailbox = `hostmaster.${this.domain}`
    return authorityRecord({ zone, server: this.#server, mailbox, serial: this.#serial })
  }

  /** Records of a name of ours; undefined when it does not exist. */
  find(name: string): readonly ResourceRecord[] | undefined {
    const node = this.#nodes.get(name)
    const apex = this.#zoneOf(name) === name
    if (node === undefined && !apex) return this.#findPod(name)
    const records = [...(node?.owners.values() ?? [])].flat()
    const authority = apex ? this.authorityOf(name) : undefined
    return authority === undefined ? records : [authority, nameServerRecord(name, this.#server), ...records]
  }

  get #server(): string {
    return `ns.dns.${this.domain}`
  }

  #zoneOf(name: string): string | undefined {
    if (isWithin(name, this.domain)) return this.domain
    const part = parseReverse(name)
    const range = part && this.#ranges.find((cidr) => holds(cidr, part))
    if (part === undefined || range === undefined) return undefined
    const width = part.family === 4 ? 8 : 4
    const suffixLabels = 2 + Math.ceil(range.prefixLength / width)
    return name.split('.').slice(-suffixLabels).join('.')
  }

  /** `10-244-1-3.NAMESPACE.pod.DOMAIN`: any address of the pods' range, whether or not a pod has it (§2.6). */
  #findPod(name: string): readonly ResourceRecord[] | undefined {
    const pods = `pod.${this.domain}`
    if (!isWithin(name, pods)) return undefined
    const labels = name.slice(0, -pods.length - 1).split('.')
    if (labels.length === 1) return []
    const address = labels.length === 2 ? parseDashed(labels[0] ?? '') : undefined
    if (address === undefined || !cidrContains(this.#podRange, address)) return undefined
    return [addressRecord(name, address)]
  }

  #put(name: string, owner: string, records: readonly ResourceRecord[]): void {
    this.#ensure(name).owners.set(owner, records)
  }

  #ensure(name: string): Node {
    const known = this.#nodes.get(name)
    if (known !== undefined) return known
    const node: Node = { owners: new Map(), children: 0 }
    this.#nodes.set(name, node)
    const parent = parentOf(name)
    if (parent !== undefined) this.#ensure(parent).children++
    return node
  }

  #withdraw(owner: string, names: Names): void {
    for (const name of names.keys()) {
      this.#nodes.get(name)?.owners.delete(owner)
      this.#prune(name)
    }
  }

  #prune(name: string): void {
    const node = this.#nodes.get(name)
    if (node === undefined || node.children > 0 || node.owners.size > 0) return
    this.#nodes.delete(name)
    const parent = parentOf(name)
    const above = parent === undefined ? undefined : this.#nodes.get(parent)
    if (parent === undefined || above === undefined) return
    above.children--
    this.#prune(parent)
  }
}

function parentOf(name: string): string | undefined {
  const dot = name.indexOf('.')
  return dot < 0 ? undefined : name.slice(dot + 1)
}

function holds(range: Cidr, { family, base, bits }: ReversePart): boolean {
  return family === range.family && bits >= range.prefixLength && cidrContains(range, { family, value: base })
}
