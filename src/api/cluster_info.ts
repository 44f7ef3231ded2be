/**
 * What everyone who may read kube-public can know of the cluster: its CA and where nodes dial. Each server keeps its own
 * addresses under a key of its own, so that servers never overwrite each other.
 */
import { DroverError } from '../base/errors.ts'
import type { ConfigMap } from './configmap.ts'

export const CLUSTER_INFO = { namespace: 'kube-public', name: 'cluster-info' } as const

const ADDRESSES = 'node-addresses.'

export interface ClusterInfo {
  clusterName: string
  caPem: string
  /** SHA-256 of the CA's public key, hex. */
  caHash: string
  /** `host:port` of every server, in no particular order. */
  nodeAddresses: string[]
}

export interface OwnInfo extends ClusterInfo {
  serverId: string
}

/** The ConfigMap with this server's facts in it. */
export function withClusterInfo(old: ConfigMap | undefined, own: OwnInfo): ConfigMap {
  return {
    ...(old ?? { apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...CLUSTER_INFO } }),
    data: {
      ...old?.data,
      'cluster-name': own.clusterName,
      'ca.crt': own.caPem,
      'ca-hash': own.caHash,
      [`${ADDRESSES}${own.serverId}`]: own.nodeAddresses.join(','),
    },
  }
}

/** Throws `internal` when the ConfigMap lacks what a server always writes. */
export function readClusterInfo({ data = {} }: ConfigMap): ClusterInfo {
  const { 'cluster-name': clusterName = '', 'ca.crt': caPem, 'ca-hash': caHash } = data
  if (caPem === undefined || caHash === undefined) {
    throw new DroverError('internal', 'ConfigMap kube-public/cluster-info is damaged: restart a server, which mends it')
  }
  const nodeAddresses = Object.entries(data).flatMap(([key, value]) =>
    key.startsWith(ADDRESSES) ? value.split(',').filter((address) => address !== '') : [],
  )
  return { clusterName, caPem, caHash, nodeAddresses: [...new Set(nodeAddresses)] }
}
