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
  /** The write did not happen: gives back what was taken for it. */
  undo(): Promise<void>
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
  const { allocator, random, serviceCidr, nodePortRange } = options
  const size = Number(cidrSize(serviceCidr))
  if (size < 4) throw new DroverError('invalid', `service range ${formatCidr(serviceCidr)} is too small`)
  // Neither the network's own address nor the last one, which IPv4 uses for broadcast.
  const dynamicFrom = size > 4 * FIRST_DYNAMIC ? FIRST_DYNAMIC : 1
  const addresses = { from: dynamicFrom, to: Math.min(size - 2, MAX_INDEX) }

  async function take(holding: Holding, taking: Taking): Promise<boolean> {
    if (taking.held.has(idOf(holding)) || taking.taken.some((other) => idOf(other) === idOf(holding))) return true
    if (taking.dryRun) return !(await allocator.isTaken(holding))
    if (!(await allocator.reserve(holding, taking.owner, taking.fence))) return false
    taking.taken.push(holding)
    return true
  }

  /** Any free value of the range: a few guesses, which do while it is not nearly full, then a look at what is left. */
  async function takeAny(
    type: Holding['type'],
    range: { from: number; to: number },
    valueAt: (index: number) => string,
    taking: Taking,
  ): Promise<string | undefined> {
    const count = range.to - range.from + 1
    if (count <= 0) return undefined
    const isNew = (value: string): boolean => !taking.taken.some((other) => idOf(other) === `${type}/${value}`)
    for (let attempt = 0; attempt < LUCKY_ATTEMPTS; attempt++) {
      const value = valueAt(range.from + randomInt(random, count))
      if (isNew(value) && (await take({ type, value }, taking))) return value
    }
    const taken = await allocator.taken(type)
    const start = randomInt(random, count)
    let tried = 0
    for (let step = 0; step < count && tried < LISTED_ATTEMPTS; step++) {
      const value = valueAt(range.from + ((start + step) % count))
      if (taken.has(value) || !isNew(value)) continue
      tried++
      if (await take({ type, value }, taking)) return value
    }
    return undefined
  }

  async function admitAddress(service: Service, taking: Taking): Promise<FieldError | undefined> {
    const { spec } = service
    if (spec.type === 'ExternalName') {
      for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy'] as const) delete spec[field]
      return undefined
    }
    const fault = usesClusterIp(service) ? await takeAddress(service, taking) : undefined
    if (fault !== undefined) return fault
    const family = serviceCidr.family === 4 ? 'IPv4' : 'IPv6'
    spec.clusterIPs = [spec.clusterIP ?? HEADLESS]
    spec.ipFamilies = [family]
    spec.ipFamilyPolicy = 'SingleStack'
    return undefined
  }

  async function takeAddress({ spec }: Service, taking: Taking): Promise<FieldError | undefined> {
    if (!spec.clusterIP) {
      const valueAt = (index: number): string => formatAddress(cidrAddress(serviceCidr, index))
      const value = await takeAny('clusterip', addresses, valueAt, taking)
      if (value === undefined) throw rangeFull(`addresses in ${formatCidr(serviceCidr)}`)
      spec.clusterIP = value
      return undefined
    }
    const asked = spec.clusterIP
    // What the service already holds stays its own, even if the range has been changed since.
    if (taking.held.has(`clusterip/${asked}`)) return undefined
    const path = 'spec.clusterIP'
    const value = usableAddress(serviceCidr, asked)
    if (value === undefined) {
      const message = `"${asked}": provided IP is not in the valid range ${formatCidr(serviceCidr)}`
      return { path, reason: 'Invalid', message }
    }
    spec.clusterIP = value
    if (await take({ type: 'clusterip', value }, taking)) return undefined
    return { path, reason: 'Invalid', message: `"${asked}": provided IP is already allocated` }
  }

  async function admitNodePorts(service: Service, taking: Taking): Promise<FieldError[]> {
    if (!usesNodePorts(service)) return []
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
      } else if (!(await take({ type: 'nodeport', value: String(nodePort) }, taking))) {
        faults.push({ path, reason: 'Invalid', message: `${nodePort}: provided port is already allocated` })
      }
    }
    if (faults.length > 0) return faults
    for (const port of ports) {
      if (port.nodePort) continue
      const value = await takeAny('nodeport', nodePortRange, String, taking)
      if (value === undefined) throw rangeFull(`node ports in ${nodePortRange.from}-${nodePortRange.to}`)
      port.nodePort = Number(value)
    }
    return []
  }

  return {
    async admit(kind, object, base, { dryRun = false, fence }) {
      if (!isService(kind) || object.metadata.deletionTimestamp !== undefined) return undefined
      const service = object as Service
      const { namespace = '', name = '', uid = '' } = object.metadata
      const owner = { namespace, name, uid }
      const taking: Taking = { owner, held: new Set(holdingsOf(base).map(idOf)), taken: [], dryRun, fence }
      const undo = (): Promise<void> => allocator.giveBack(taking.taken, uid, fence)
      try {
        const address = await admitAddress(service, taking)
        const faults = [...(address === undefined ? [] : [address]), ...(await admitNodePorts(service, taking))]
        if (faults.length > 0) throw invalidObject(serviceKind as KindDefinition, name, faults)
      } catch (error) {
        await undo()
        throw error
      }
      return { undo }
    },

    async release(kind, before, after) {
      if (!isService(kind)) return
      const kept = new Set(holdingsOf(after).map(idOf))
      const gone = holdingsOf(before).filter((holding) => !kept.has(idOf(holding)))
      await allocator.giveBack(gone, before.metadata.uid)
    },
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
