/** The cluster's ranges, checked together at the start: what does not fit is told before anything is given out. Pure. */

import { podCapacity } from '../api/pod_capacity.ts'
import { cidrSize, cidrsOverlap, formatCidr, parseCidr } from '../base/cidr.ts'
import { DroverError } from '../base/errors.ts'
import type { Overlay } from '../rpc/tables.ts'

export interface NetworkFlags {
  clusterCidr: string
  serviceCidr: string
  nodeCidrLength: string
  overlay: string
}

export interface NetworkPlan {
  clusterCidr: string
  serviceCidr: string
  nodeCidrPrefixLength: number
  overlay: Overlay
  /** How many nodes have a range in it, and how many pods an address on each. */
  maxNodes: number
  maxPodsPerNode: number
}

const OVERLAYS: readonly Overlay[] = ['vxlan', 'host-gw', 'auto']
/** Two pods; less is no node. */
const MAX_PREFIX_LENGTH = 29
/** The API's own service and a few others. */
const MIN_SERVICE_ADDRESSES = 16n

function read(text: string, option: string) {
  let cidr: ReturnType<typeof parseCidr>
  try {
    cidr = parseCidr(text)
  } catch (error) {
    throw new DroverError('invalid', `${option}: ${DroverError.from(error).message}`, { cause: error })
  }
  if (cidr.family !== 4) throw new DroverError('invalid', `${option} ${text}: ranges are IPv4 for now`)
  if (formatCidr(cidr) !== text) {
    throw new DroverError('invalid', `${option} ${text} has bits beyond its prefix; did you mean ${formatCidr(cidr)}?`)
  }
  return cidr
}

export function planNetwork(flags: NetworkFlags): NetworkPlan {
  const cluster = read(flags.clusterCidr, '--cluster-cidr')
  const services = read(flags.serviceCidr, '--service-cidr')
  const length = Number(flags.nodeCidrLength)
  if (cidrsOverlap(cluster, services)) {
    throw new DroverError(
      'invalid',
      `--cluster-cidr ${flags.clusterCidr} and --service-cidr ${flags.serviceCidr} overlap: an address must be a pod's or a service's, not both`,
    )
  }
  if (cidrSize(services) < MIN_SERVICE_ADDRESSES) {
    throw new DroverError('invalid', `--service-cidr ${flags.serviceCidr} is too small: take a /28 or larger`)
  }
  if (!Number.isInteger(length) || length < cluster.prefixLength || length > MAX_PREFIX_LENGTH) {
    throw new DroverError(
      'invalid',
      `--node-cidr-length ${flags.nodeCidrLength}: a node's range must fit in --cluster-cidr ${flags.clusterCidr} and hold pods: take ${Math.min(cluster.prefixLength, MAX_PREFIX_LENGTH)} to ${MAX_PREFIX_LENGTH}`,
    )
  }
  const overlay = OVERLAYS.find((word) => word === flags.overlay)
  if (overlay === undefined) {
    throw new DroverError('invalid', `--overlay takes ${OVERLAYS.join(', ')}, not "${flags.overlay}"`)
  }
  return {
    clusterCidr: flags.clusterCidr,
    serviceCidr: flags.serviceCidr,
    nodeCidrPrefixLength: length,
    overlay,
    maxNodes: 2 ** (length - cluster.prefixLength),
    maxPodsPerNode: podCapacity(formatCidr({ ...cluster, prefixLength: length })),
  }
}
