/** The names that the DNS benchmark asks for, and what they stand for. */
import type { ClusterConfig, ServiceRow } from '../../src/rpc/tables.ts'

export const benchConfig: ClusterConfig = {
  clusterName: 'bench',
  clusterCidr: '10.244.0.0/16',
  serviceCidr: '10.96.0.0/16',
  nodePortRange: { from: 30000, to: 32767 },
  clusterDomain: 'cluster.local',
}

export function benchAddress(index: number): string {
  return `10.96.${index >> 8}.${index & 255}`
}

export function benchName(index: number): string {
  return `service-${index}.bench.svc.${benchConfig.clusterDomain}`
}

export function benchRow(index: number): ServiceRow {
  return {
    namespace: 'bench',
    name: `service-${index}`,
    clusterIP: benchAddress(index),
    externalIPs: [],
    sessionAffinitySeconds: 0,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 0, endpoints: [] }],
  }
}
