/** The hosts' network of a recorded cluster. */
import type { Logger } from '../base/log.ts'
import type { ClusterRecord } from './cluster.ts'
import { createHostsNetwork, type HostsNetwork } from './hosts_network.ts'

export function hostsNetwork(record: ClusterRecord, log: Logger): HostsNetwork {
  const { name, id, subnet, clusterCidr, serviceCidr } = record
  const avoid = [clusterCidr, serviceCidr]
  return createHostsNetwork({ clusterName: name, id, avoid, log, ...(subnet === undefined ? {} : { subnet }) })
}
