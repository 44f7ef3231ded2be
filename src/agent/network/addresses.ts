/**
 * Which pod holds which address of the node's range: a value and pure functions, persisted by its owner.
 * Addresses that were never used go first, then the one freed longest ago, so that a client that still remembers a
 * dead pod does not soon talk to a stranger. The first address is the bridge's; base and last are left alone.
 */
import { podCapacity } from '../../api/pod_capacity.ts'
import {
  type Cidr,
  cidrAddress,
  cidrContains,
  cidrSize,
  formatAddress,
  parseAddress,
  parseCidr,
} from '../../base/cidr.ts'
import { DroverError } from '../../base/errors.ts'

export interface Allocations {
  podCidr: string
  /** Index in the range of the next address that was never used. */
  next: number
  /** Address by pod uid. */
  held: Record<string, string>
  /** Addresses used before, the one freed longest ago first. */
  freed: string[]
}

/** Index of the first address a pod may have: 0 is the VXLAN device's, 1 the bridge's. */
const FIRST = 2

export function emptyAllocations(podCidr: string): Allocations {
  return { podCidr, next: FIRST, held: {}, freed: [] }
}

/** The pod's address, the one it has or a new one. Throws `unavailable` when all are taken. */
export function allocate(allocations: Allocations, podUid: string): { address: string; allocations: Allocations } {
  const present = allocations.held[podUid]
  if (present !== undefined) return { address: present, allocations }
  const cidr = parseCidr(allocations.podCidr)
  const hold = (address: string, rest: Pick<Allocations, 'next' | 'freed'>) => ({
    address,
    allocations: { ...allocations, ...rest, held: { ...allocations.held, [podUid]: address } },
  })
  const taken = new Set(Object.values(allocations.held))
  const last = Number(cidrSize(cidr)) - 2
  for (let index = allocations.next; index <= last; index++) {
    const address = formatAddress(cidrAddress(cidr, index))
    if (!taken.has(address)) return hold(address, { next: index + 1, freed: allocations.freed })
  }
  const [oldest, ...freed] = allocations.freed
  if (oldest !== undefined) return hold(oldest, { next: last + 1, freed })
  throw new DroverError(
    'unavailable',
    `no pod address is free: ${allocations.podCidr} holds ${podCapacity(allocations.podCidr)} and all are in use; ` +
      'remove pods from this node or give it a larger podCIDR',
  )
}

/** Whether a further pod would be refused. */
export function isFull(allocations: Allocations): boolean {
  const { podCidr, next, held, freed } = allocations
  if (freed.length > 0) return false
  const cidr = parseCidr(podCidr)
  const taken = new Set(Object.values(held))
  for (let index = next; index <= Number(cidrSize(cidr)) - 2; index++) {
    if (!taken.has(formatAddress(cidrAddress(cidr, index)))) return false
  }
  return true
}

export function release(allocations: Allocations, podUid: string): Allocations {
  const { [podUid]: address, ...held } = allocations.held
  if (address === undefined) return allocations
  const inRange = cidrContains(parseCidr(allocations.podCidr), parseAddress(address))
  return { ...allocations, held, freed: inRange ? [...allocations.freed, address] : allocations.freed }
}

/**
 * What is true after a restart: interfaces in the kernel hold their addresses, whatever the file says; what the file
 * holds without an interface is free again; a new range starts afresh, and pods of the old one keep theirs.
 */
export function adopt(
  stored: Allocations | undefined,
  podCidr: string,
  interfaces: readonly { podUid: string; address: string }[],
): Allocations {
  const start = stored !== undefined && stored.podCidr === podCidr ? stored : emptyAllocations(podCidr)
  const held: Record<string, string> = {}
  for (const { podUid, address } of interfaces) held[podUid] = address
  const taken = new Set(Object.values(held))
  const forgotten = Object.values(start.held).filter((address) => !taken.has(address))
  const cidr: Cidr = parseCidr(podCidr)
  const freed = [...start.freed, ...forgotten].filter(
    (address) => !taken.has(address) && cidrContains(cidr, parseAddress(address)),
  )
  return { podCidr, next: start.next, held, freed: [...new Set(freed)] }
}
