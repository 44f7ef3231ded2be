/**
 * Network policies as each node needs them, kept current from events. Nodes get only what binds their own pods; a
 * peer that comes or goes is one small row on those nodes whose pods' policies select it.
 *
 * A pod's row is in its node's table before the pod itself is in its assignments: `subscribe` this before those, so that
 * the agent knows the policies of a pod before it starts it.
 */
import { keyOf } from '../api/kind.ts'
import type { Stored } from '../api/meta.ts'
import { namespaceKind } from '../api/namespace.ts'
import { type NetworkPolicy, networkPolicyKind } from '../api/networkpolicy.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { jsonEqual } from '../base/json.ts'
import type { Resources } from '../resources/resources.ts'
import type { PolicyPodRow } from '../rpc/tables.ts'
import { NodePolicies } from './policy_node.ts'
import {
  type CompiledPolicy,
  compilePolicy,
  elementsOf,
  isPolicySubject,
  type SetSpec,
  selectsPod,
} from './policy_rules.ts'
import { RowTable } from './row_table.ts'

interface MemberSet {
  spec: SetSpec
  policies: Set<string>
  /** Pods behind each element: two may hold one address for a moment. */
  elements: Map<string, Set<string>>
  /** What each pod adds. */
  pods: Map<string, readonly string[]>
}

export class PolicyTables {
  readonly #resources: Resources
  readonly #policies = new Map<string, CompiledPolicy>()
  readonly #sets = new Map<string, MemberSet>()
  readonly #nodes = new Map<string, NodePolicies>()

  constructor(resources: Resources) {
    this.#resources = resources
  }

  /** Follows events; returns how to stop. */
  subscribe(): () => void {
    for (const policy of this.#resources.list(networkPolicyKind)) this.#takePolicy(policy, false)
    const stops = [
      this.#resources.subscribe(networkPolicyKind, ({ type, object }) => {
        this.#takePolicy(object, type === 'DELETED')
        this.#flush()
      }),
      this.#resources.subscribe(podKind, (event) => {
        if (event.type === 'MODIFIED' && !concernsPolicies(event.old, event.object)) return
        if (event.type === 'MODIFIED') this.#moved(event.old, event.object)
        this.#takePod(event.object, event.type === 'DELETED')
        this.#flush()
      }),
      this.#resources.subscribe(namespaceKind, (event) => {
        if (event.type === 'MODIFIED' && jsonEqual(event.old.metadata.labels, event.object.metadata.labels)) return
        const namespace = event.object.metadata.name
        for (const pod of this.#resources.list(podKind, { namespace })) this.#takeMember(pod, false)
        this.#flush()
      }),
    ]
    return () => {
      for (const stop of stops) stop()
      this.#nodes.clear()
    }
  }

  /** The node's table, filled; `onChange` is called after every change until `close`. */
  open(nodeName: string, onChange: () => void): RowTable {
    const table = new RowTable(Math.max(1, this.#resources.revision()))
    const state = {
      policy: (key: string) => this.#policies.get(key),
      members: (set: string) => this.#sets.get(set)?.elements.keys() ?? [],
    }
    const node = new NodePolicies(table, state, () => {
      if (this.#nodes.get(nodeName) === node) onChange()
    })
    for (const pod of this.#resources.podsOnNode(nodeName)) this.#putPod(node, pod as Stored<Pod>, false)
    node.flush(this.#resources.revision())
    this.#nodes.set(nodeName, node)
    return table
  }

  close(nodeName: string, table: RowTable): void {
    if (this.#nodes.get(nodeName)?.table === table) this.#nodes.delete(nodeName)
  }

  #flush(): void {
    const revision = this.#resources.revision()
    for (const node of this.#nodes.values()) node.flush(revision)
  }

  #takePolicy(policy: Stored<NetworkPolicy>, deleted: boolean): void {
    const key = keyOf(policy)
    const before = this.#policies.get(key)
    const after = deleted ? undefined : compilePolicy(policy)
    if (after === undefined) this.#policies.delete(key)
    else this.#policies.set(key, after)
    for (const [name, spec] of after?.sets ?? []) this.#useSet(name, spec, key)
    for (const node of this.#nodes.values()) node.policyChanged(key)
    const changed = before === undefined || after === undefined || !sameSelection(before, after)
    if (changed) {
      for (const pod of this.#resources.list(podKind, { namespace: policy.metadata.namespace ?? '' })) {
        const node = this.#nodes.get(pod.spec.nodeName ?? '')
        if (node !== undefined) this.#putPod(node, pod, false)
      }
    }
    for (const name of before?.sets.keys() ?? []) if (after?.sets.has(name) !== true) this.#leaveSet(name, key)
  }

  #useSet(name: string, spec: SetSpec, policy: string): void {
    let set = this.#sets.get(name)
    if (set === undefined) {
      set = { spec, policies: new Set(), elements: new Map(), pods: new Map() }
      this.#sets.set(name, set)
      const namespace = 'namespace' in spec ? spec.namespace : undefined
      const pods = this.#resources.list(podKind, namespace === undefined ? {} : { namespace })
      for (const pod of pods) this.#member(name, set, pod, false)
    }
    set.policies.add(policy)
  }

  /** After the nodes have let go of it: they ask for its members to take them out. */
  #leaveSet(name: string, policy: string): void {
    const set = this.#sets.get(name)
    set?.policies.delete(policy)
    if (set?.policies.size === 0) this.#sets.delete(name)
  }

  #takePod(pod: Stored<Pod>, deleted: boolean): void {
    const node = this.#nodes.get(pod.spec.nodeName ?? '')
    if (node !== undefined) this.#putPod(node, pod, deleted)
    this.#takeMember(pod, deleted)
  }

  /** A pod of the same name that is another one now leaves nothing behind. */
  #moved(old: Stored<Pod>, pod: Stored<Pod>): void {
    if (old.metadata.uid === pod.metadata.uid && old.spec.nodeName === pod.spec.nodeName) return
    this.#takePod(old, true)
  }

  #takeMember(pod: Stored<Pod>, deleted: boolean): void {
    for (const [name, set] of this.#sets) this.#member(name, set, pod, deleted)
  }

  #member(name: string, set: MemberSet, pod: Stored<Pod>, deleted: boolean): void {
    const { uid, namespace = '' } = pod.metadata
    const before = set.pods.get(uid) ?? []
    const labels = this.#resources.get(namespaceKind, '', namespace)?.metadata.labels
    const after = deleted ? [] : elementsOf(set.spec, pod, labels)
    if (after.length === 0 && before.length === 0) return
    if (after.length > 0) set.pods.set(uid, after)
    else set.pods.delete(uid)
    for (const element of after) {
      const holders = set.elements.get(element) ?? new Set()
      set.elements.set(element, holders.add(uid))
      if (holders.size === 1) this.#tell(name, element, true)
    }
    for (const element of before) {
      if (after.includes(element)) continue
      const holders = set.elements.get(element)
      holders?.delete(uid)
      if (holders !== undefined && holders.size > 0) continue
      set.elements.delete(element)
      this.#tell(name, element, false)
    }
  }

  #tell(set: string, element: string, isMember: boolean): void {
    for (const node of this.#nodes.values()) node.memberChanged(set, element, isMember)
  }

  #putPod(node: NodePolicies, pod: Stored<Pod>, deleted: boolean): void {
    node.putPod(pod.metadata.uid, deleted ? undefined : this.#podRow(pod))
  }

  /** Undefined for a pod that no policy selects. */
  #podRow(pod: Stored<Pod>): PolicyPodRow | undefined {
    if (!isPolicySubject(pod)) return undefined
    const selecting = [...this.#policies.values()].filter((policy) => selectsPod(policy, pod))
    const keys = (direction: 'ingress' | 'egress'): string[] =>
      selecting
        .filter(({ isolates }) => isolates[direction])
        .map(({ row }) => row.key)
        .sort()
    const [ingress, egress] = [keys('ingress'), keys('egress')]
    if (ingress.length + egress.length === 0) return undefined
    return {
      type: 'pod',
      podUid: pod.metadata.uid,
      ...(ingress.length === 0 ? {} : { ingress }),
      ...(egress.length === 0 ? {} : { egress }),
    }
  }
}

function sameSelection(a: CompiledPolicy, b: CompiledPolicy): boolean {
  return jsonEqual([a.podSelector, a.isolates], [b.podSelector, b.isolates])
}

/** Most changes of a pod are of its status, which is none of a policy's business but for its address. */
function concernsPolicies(old: Stored<Pod>, pod: Stored<Pod>): boolean {
  return (
    old.metadata.uid !== pod.metadata.uid ||
    old.spec.nodeName !== pod.spec.nodeName ||
    old.status?.podIP !== pod.status?.podIP ||
    isPolicySubject(old) !== isPolicySubject(pod) ||
    !jsonEqual(old.metadata.labels, pod.metadata.labels)
  )
}
