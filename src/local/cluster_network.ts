/** The hosts' network of a recorded cluster. */
import type { ClusterRecord } from './cluster.ts'
import { createHostsNetwork, type HostsNetwork, type HostsNetworkOptions } from './hosts_network.ts'

export function hostsNetwork(
  record: ClusterRecord,
  parts: Pick<HostsNetworkOptions, 'clock' | 'log' | 'signal'>,
): HostsNetwork {
  const { name, id, subnet, clusterCidr, serviceCidr } = record
  const avoid = [clusterCidr, serviceCidr]
  return createHostsNetwork({ clusterName: name, id, avoid, ...parts, ...(subnet === undefined ? {} : { subnet }) })
}
