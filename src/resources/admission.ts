/**
 * What admission does beyond rules: it takes scarce things (service addresses, node ports) before an object is written,
 * gives them back when the write did not happen, and releases them when the object lets go.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { HEADLESS, type Service, serviceKind } from '../api/service.ts'
import {
  type Cidr,
  cidrAddress,
  cidrContains,
  cidrSize,
  formatAddress,
  formatCidr,
  parseAddress,
} from '../base/cidr.ts'
import { DroverError, type FieldError } from '../base/errors.ts'
import { type Random, randomInt } from '../base/random.ts'
import type { Fence } from '../store/store.ts'
import type { Allocator, Owner } from './allocator.ts'
import { invalidObject } from './errors.ts'
import type { WriteOptions } from './resources.ts'
import { type Holding, holdingsOf, isService, usesClusterIp, usesNodePorts } from './service_holdings.ts'

/** What was taken for a write that has not happened yet. */
export interface Admitted {
  /**
   * The write did not happen: gives back what was taken for it, but for what the object that stood in its way holds:
   * another write of the same object may have won with the same port.
   */
  undo(winner?: Stored<KubeObject>): Promise<void>
}

export interface Admission {
  /** May change `object`, a private copy. Throws `invalid` when what it asks for cannot be had. */
  admit(
    kind: KindDefinition,
    object: KubeObject,
    base: Stored<KubeObject> | undefined,
    options: WriteOptions,
  ): Promise<Admitted | undefined>
  /** After a write: releases what `before` held and `after` (undefined: deleted) no longer does. Never throws. */
  release(kind: KindDefinition, before: Stored<KubeObject>, after: Stored<KubeObject> | undefined): Promise<void>
}

export interface AdmissionOptions {
  allocator: Allocator
  random: Random
  serviceCidr: Cidr
  /** Both ends included. */
  nodePortRange: { from: number; to: number }
}

/** The first addresses are for those who ask for one by number (the API's own service, DNS). */
const FIRST_DYNAMIC = 10
/** Far more than anyone has services; keeps the arithmetic exact for wide IPv6 ranges. */
const MAX_INDEX = 2 ** 40
const LUCKY_ATTEMPTS = 8
const LISTED_ATTEMPTS = 32

/** One write's takings. */
interface Taking {
  owner: Owner
  held: ReadonlySet<string>
  taken: Holding[]
  dryRun: boolean
  fence: Fence | undefined
}

const idOf = ({ type, value }: Holding): string => `${type}/${value}`

export function createAdmission(options: AdmissionOptions): Admission {
  return new ServiceAdmission(options)
}

class ServiceAdmission implements Admission {
  readonly #options: AdmissionOptions
  /** Indexes of the addresses that are given to those who do not mind which. */
  readonly #addresses: { from: number; to: number }

  constructor(options: AdmissionOptions) {
    const { serviceCidr } = options
    const size = Number(cidrSize(serviceCidr))
    if (size < 4) throw new DroverError('invalid', `service range ${formatCidr(serviceCidr)} is too small`)
    this.#options = options
    // Neither the network's own address nor the last one, which IPv4 uses for broadcast.
    const from = size > 4 * FIRST_DYNAMIC ? FIRST_DYNAMIC : 1
    this.#addresses = { from, to: Math.min(size - 2, MAX_INDEX) }
  }

  async admit(
    kind: KindDefinition,
    object: KubeObject,
    base: Stored<KubeObject> | undefined,
    { dryRun = false, fence }: WriteOptions,
  ): Promise<Admitted | undefined> {
    if (!isService(kind) || object.metadata.deletionTimestamp !== undefined) return undefined
    const service = object as Service
    const { namespace = '', name = '', uid = '' } = object.metadata
    const owner = { namespace, name, uid }
    const taking: Taking = { owner, held: new Set(holdingsOf(base).map(idOf)), taken: [], dryRun, fence }
    const undo = (winner?: Stored<KubeObject>): Promise<void> => {
      const won = new Set(winner?.metadata.uid === uid ? holdingsOf(winner).map(idOf) : [])
      const lost = taking.taken.filter((holding) => !won.has(idOf(holding)))
      return this.#options.allocator.giveBack(lost, uid, fence)
    }
    try {
      const address = await this.#admitAddress(service, taking)
      const faults = [...(address === undefined ? [] : [address]), ...(await this.#admitNodePorts(service, taking))]
      if (faults.length > 0) throw invalidObject(serviceKind as KindDefinition, name, faults)
    } catch (error) {
      await undo()
      throw error
    }
    return { undo }
  }

  async release(
    kind: KindDefinition,
    before: Stored<KubeObject>,
    after: Stored<KubeObject> | undefined,
  ): Promise<void> {
    if (!isService(kind)) return
    const kept = new Set(holdingsOf(after).map(idOf))
    const gone = holdingsOf(before).filter((holding) => !kept.has(idOf(holding)))
    await this.#options.allocator.giveBack(gone, before.metadata.uid)
  }

  async #take(holding: Holding, taking: Taking): Promise<boolean> {
    if (taking.held.has(idOf(holding)) || taking.taken.some((other) => idOf(other) === idOf(holding))) return true
    if (taking.dryRun) return !(await this.#options.allocator.isTaken(holding))
    if (!(await this.#options.allocator.reserve(holding, taking.owner, taking.fence))) return false
    taking.taken.push(holding)
    return true
  }

  /** Any free value of the range: a few guesses, which do while it is not nearly full, then a look at what is left. */
  async #takeAny(
    type: Holding['type'],
    range: { from: number; to: number },
    valueAt: (index: number) => string,
    taking: Taking,
  ): Promise<string | undefined> {
    const count = range.to - range.from + 1
    if (count <= 0) return undefined
    const ours = new Set([...taking.held, ...taking.taken.map(idOf)])
    const isNew = (value: string): boolean => !ours.has(`${type}/${value}`)
    for (let attempt = 0; attempt < LUCKY_ATTEMPTS; attempt++) {
      const value = valueAt(range.from + randomInt(this.#options.random, count))
      if (isNew(value) && (await this.#take({ type, value }, taking))) return value
    }
    const taken = await this.#options.allocator.taken(type)
    const start = randomInt(this.#options.random, count)
    let tried = 0
    for (let step = 0; step < count && tried < LISTED_ATTEMPTS; step++) {
      const value = valueAt(range.from + ((start + step) % count))
      if (taken.has(value) || !isNew(value)) continue
      tried++
      if (await this.#take({ type, value }, taking)) return value
    }
    return undefined
  }

  async #admitAddress(service: Service, taking: Taking): Promise<FieldError | undefined> {
    const { spec } = service
    if (spec.type === 'ExternalName') {
      for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy'] as const) delete spec[field]
      return undefined
    }
    const fault = usesClusterIp(service) ? await this.#takeAddress(service, taking) : undefined
    if (fault !== undefined) return fault
    const family = this.#options.serviceCidr.family === 4 ? 'IPv4' : 'IPv6'
    spec.clusterIPs = [spec.clusterIP ?? HEADLESS]
    spec.ipFamilies = [family]
    spec.ipFamilyPolicy = 'SingleStack'
    return undefined
  }

  async #takeAddress({ spec }: Service, taking: Taking): Promise<FieldError | undefined> {
    if (!spec.clusterIP) {
      const valueAt = (index: number): string => formatAddress(cidrAddress(this.#options.serviceCidr, index))
      const value = await this.#takeAny('clusterip', this.#addresses, valueAt, taking)
      if (value === undefined) throw rangeFull(`addresses in ${formatCidr(this.#options.serviceCidr)}`)
      spec.clusterIP = value
      return undefined
    }
    const asked = spec.clusterIP
    // What the service already holds stays its own, even if the range has been changed since.
    if (taking.held.has(`clusterip/${asked}`)) return undefined
    const path = 'spec.clusterIP'
    const value = usableAddress(this.#options.serviceCidr, asked)
    if (value === undefined) {
      const message = `"${asked}": provided IP is not in the valid range ${formatCidr(this.#options.serviceCidr)}`
      return { path, reason: 'Invalid', message }
    }
    spec.clusterIP = value
    if (await this.#take({ type: 'clusterip', value }, taking)) return undefined
    return { path, reason: 'Invalid', message: `"${asked}": provided IP is already allocated` }
  }

  async #admitNodePorts(service: Service, taking: Taking): Promise<FieldError[]> {
    if (!usesNodePorts(service)) return []
    const { nodePortRange } = this.#options
    const faults: FieldError[] = []
    const ports = service.spec.ports ?? []
    // Those asked for by number first, so that no free choice takes one of them.
    for (const [index, { nodePort }] of ports.entries()) {
      if (!nodePort || taking.held.has(`nodeport/${nodePort}`)) continue
      const path = `spec.ports[${index}].nodePort`
      const { from, to } = nodePortRange
      if (nodePort < from || nodePort > to) {
        const message = `${nodePort}: provided port is not in the valid range. The range of valid ports is ${from}-${to}`
        faults.push({ path, reason: 'Invalid', message })
      } else if (!(await this.#take({ type: 'nodeport', value: String(nodePort) }, taking))) {
        faults.push({ path, reason: 'Invalid', message: `${nodePort}: provided port is already allocated` })
      }
    }
    if (faults.length > 0) return faults
    for (const port of ports) {
      if (port.nodePort) continue
      const value = await this.#takeAny('nodeport', nodePortRange, String, taking)
      if (value === undefined) throw rangeFull(`node ports in ${nodePortRange.from}-${nodePortRange.to}`)
      port.nodePort = Number(value)
    }
    return []
  }
}

/** The address in its one written form, if it is in the range and may be given to a service. */
function usableAddress(range: Cidr, text: string): string | undefined {
  try {
    const address = parseAddress(text)
    const offset = address.value - range.base
    if (!cidrContains(range, address) || offset === 0n || offset === cidrSize(range) - 1n) return undefined
    return formatAddress(address)
  } catch (error) {
    if (error instanceof DroverError && error.code === 'invalid') return undefined
    throw error
  }
}

function rangeFull(what: string): DroverError {
  return new DroverError('forbidden', `no free ${what}: delete services that are not needed, or enlarge the range`)
}
