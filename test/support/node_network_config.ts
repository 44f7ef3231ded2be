/** A node's network as pure planners are given it. */
export const CONFIG = {
  cluster: {
    clusterName: 'c',
    clusterCidr: '10.244.0.0/16',
    serviceCidr: '10.96.0.0/16',
    nodePortRange: { from: 30000, to: 32767 },
    clusterDomain: 'cluster.local',
  },
  nodeName: 'one',
  nodeAddress: '192.0.2.1',
  podCidr: '10.244.1.0/24',
}
