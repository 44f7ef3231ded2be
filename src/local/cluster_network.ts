/** The hosts' network of a recorded cluster. */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { ClusterRecord } from './cluster.ts'
import { createHostsNetwork, type HostsNetwork } from './hosts_network.ts'

export function hostsNetwork(record: ClusterRecord, clock: Clock, log: Logger): HostsNetwork {
  const { name, id, subnet, clusterCidr, serviceCidr } = record
  const avoid = [clusterCidr, serviceCidr]
  return createHostsNetwork({ clusterName: name, id, avoid, clock, log, ...(subnet === undefined ? {} : { subnet }) })
}
