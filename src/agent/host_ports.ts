/** The host ports of this node's pods, for the network driver: of pods with an address of their own that are not over. Pure. */
import { hostPortRequests } from '../api/host_ports.ts'
import { ANNOTATION } from '../api/names.ts'
import type { Pod } from '../api/pod.ts'
import type { HostPortRow } from './network/network.ts'

function hasAddress({ metadata, spec, status }: Pod): boolean {
  if (spec.hostNetwork === true || metadata.annotations?.[ANNOTATION.network] === 'none') return false
  return status?.phase !== 'Succeeded' && status?.phase !== 'Failed'
}

/** The oldest first: a port that two pods claim is the first one's. */
export function hostPortRows(pods: readonly Pod[]): HostPortRow[] {
  const rows: { row: HostPortRow; since: string }[] = []
  for (const pod of pods) {
    if (!hasAddress(pod)) continue
    const { uid: podUid = '', creationTimestamp = '' } = pod.metadata
    for (const request of hostPortRequests(pod.spec)) {
      rows.push({ row: { podUid, ...request }, since: `${creationTimestamp} ${podUid}` })
    }
  }
  rows.sort((a, b) => (a.since < b.since ? -1 : Number(a.since > b.since)))
  return rows.map(({ row }) => row)
}
