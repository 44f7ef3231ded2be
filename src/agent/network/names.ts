/** Names of what the driver makes in a host's network namespace. */
import { createHash } from 'node:crypto'

export const BRIDGE = 'drover0'
export const VXLAN = 'drover.vx'
export const TABLE = 'ip drover'
/** What pods' ports let in. */
export const GUARD_TABLE = 'bridge drover'

export function hash(text: string, length: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length)
}

/** The host's end of a pod's veth: 14 characters of the 15 that an interface name may have. */
export function podLink(podUid: string): string {
  return `dv${hash(podUid, 12)}`
}

export const POD_LINK = /^dv[0-9a-f]{12}$/
