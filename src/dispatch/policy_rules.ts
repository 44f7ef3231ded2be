/**
 * One NetworkPolicy as rules over named sets, and who belongs to a set. Pure. Source: Kubernetes "Network Policies" and the
 * API's reference: absent or empty `from`/`to` means everybody, absent or empty `ports` every port, a selector without a
 * namespaceSelector the policy's own namespace.
 *
 * A set's name follows from what it selects: policies that select the same pods share it.
 */
import { createHash } from 'node:crypto'
import { isPodFinished } from '../api/conditions.ts'
import { keyOf } from '../api/kind.ts'
import type { LabelSelector } from '../api/meta.ts'
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '../api/networkpolicy.ts'
import type { Pod } from '../api/pod.ts'
import { matchesSelector } from '../api/selector.ts'
import { canonicalJson } from '../base/json.ts'
import type { PolicyPeer, PolicyPort, PolicyRow, PolicyRule } from '../rpc/tables.ts'

type Protocol = PolicyPort['protocol']

/** Pods by labels, or every pod's port of a name. */
export type SetSpec =
  | { namespace?: string; namespaceSelector?: LabelSelector; podSelector: LabelSelector }
  | { portName: string; protocol: Protocol }

export interface CompiledPolicy {
  row: PolicyRow
  namespace: string
  podSelector: LabelSelector
  isolates: { ingress: boolean; egress: boolean }
  sets: ReadonlyMap<string, SetSpec>
}

/** Whether policies bind the pod: not one on its host's network, nor one that is over. */
export function isPolicySubject(pod: Pod): boolean {
  return pod.spec.hostNetwork !== true && !isPodFinished(pod)
}

function setName(prefix: 'peers' | 'ports', spec: SetSpec): string {
  return `${prefix}-${createHash('sha256').update(canonicalJson(spec)).digest('hex').slice(0, 12)}`
}

export function compilePolicy(policy: NetworkPolicy): CompiledPolicy {
  const { podSelector = {}, ingress = [], egress = [], policyTypes = ['Ingress'] } = policy.spec ?? {}
  const namespace = policy.metadata.namespace ?? ''
  const sets = new Map<string, SetSpec>()
  const named = (prefix: 'peers' | 'ports', spec: SetSpec): string => {
    const name = setName(prefix, spec)
    sets.set(name, spec)
    return name
  }
  const peerOf = ({ podSelector: pods = {}, namespaceSelector, ipBlock }: NetworkPolicyPeer): PolicyPeer => {
    if (ipBlock !== undefined) return { cidr: ipBlock.cidr, except: ipBlock.except ?? [] }
    const scope = namespaceSelector === undefined ? { namespace } : { namespaceSelector }
    return { set: named('peers', { ...scope, podSelector: pods }) }
  }
  const portOf = ({ protocol = 'TCP', port, endPort }: NetworkPolicyPort): PolicyPort => {
    if (port === undefined) return { protocol }
    if (typeof port === 'number') return { protocol, from: port, to: endPort ?? port }
    return { protocol, named: named('ports', { portName: port, protocol }) }
  }
  const ruleOf = (peers: readonly NetworkPolicyPeer[] = [], ports: readonly NetworkPolicyPort[] = []): PolicyRule => ({
    ...(peers.length === 0 ? {} : { peers: peers.map(peerOf) }),
    ...(ports.length === 0 ? {} : { ports: ports.map(portOf) }),
  })
  const isolates = { ingress: policyTypes.includes('Ingress'), egress: policyTypes.includes('Egress') }
  return {
    row: {
      type: 'policy',
      key: keyOf(policy),
      // Rules of a direction that the policy does not isolate say nothing.
      ingress: isolates.ingress ? ingress.map(({ from, ports }) => ruleOf(from, ports)) : [],
      egress: isolates.egress ? egress.map(({ to, ports }) => ruleOf(to, ports)) : [],
    },
    namespace,
    podSelector,
    isolates,
    sets,
  }
}

export function selectsPod({ namespace, podSelector }: CompiledPolicy, pod: Pod): boolean {
  return pod.metadata.namespace === namespace && matchesSelector(podSelector, pod.metadata.labels)
}

/** What the pod adds to the set: nothing while it has no address of its own. */
export function elementsOf(
  spec: SetSpec,
  pod: Pod,
  namespaceLabels: Readonly<Record<string, string>> | undefined,
): string[] {
  const address = pod.status?.podIP
  if (address === undefined || address === '' || !isPolicySubject(pod)) return []
  if ('portName' in spec) {
    const ports = pod.spec.containers.flatMap(({ ports: list = [] }) => list)
    return ports
      .filter(({ name, protocol = 'TCP' }) => name === spec.portName && protocol === spec.protocol)
      .map(({ containerPort }) => `${address} . ${spec.protocol.toLowerCase()} . ${containerPort}`)
  }
  if (spec.namespace !== undefined && spec.namespace !== pod.metadata.namespace) return []
  if (spec.namespaceSelector !== undefined && !matchesSelector(spec.namespaceSelector, namespaceLabels)) return []
  return matchesSelector(spec.podSelector, pod.metadata.labels) ? [address] : []
}
