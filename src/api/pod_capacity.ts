import { cidrSize, parseCidr } from '../base/cidr.ts'

/** Of a range of pod addresses: the tunnel's, the bridge's and the last one. */
const RESERVED_ADDRESSES = 3

/** How many pods a range of pod addresses has room for. */
export function podCapacity(podCidr: string): number {
  return Math.max(0, Number(cidrSize(parseCidr(podCidr))) - RESERVED_ADDRESSES)
}
