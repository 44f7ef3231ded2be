/**
 * Topology spread constraints. Source: Kubernetes "Pod Topology Spread Constraints". Domains are counted over the nodes that the pod's
 * node selector admits; pods count that the selector matches, in the pod's own namespace, and that are not on their way out.
 */
import { matchesSelector } from '../api/selector.ts'
import type { Draft } from './draft.ts'
import { REASON } from './explain.ts'
import type { PodClass, SpreadConstraint } from './pod_class.ts'
import type { NodeFacts } from './snapshot.ts'

interface Domains {
  constraint: SpreadConstraint
  counts: Map<string, number>
  /** What one more pod of the class adds. */
  self: 0 | 1
  /** Of `counts`; kept beside them because every node asks. */
  least: number
  most: number
}

export class SpreadState {
  readonly #domains: Domains[]

  constructor(podClass: PodClass, draft: Draft) {
    this.#domains = podClass.spread.map((constraint) => countDomains(podClass, constraint, draft))
  }

  /** Why a hard constraint keeps the pod off the node. */
  barredBy(node: NodeFacts): string | undefined {
    for (const { constraint, counts, self, least } of this.#domains) {
      if (!constraint.hard) continue
      const domain = node.labels[constraint.topologyKey]
      if (domain === undefined) return REASON.spreadLabel
      if ((counts.get(domain) ?? 0) + self - least > constraint.maxSkew) return REASON.spread
    }
    return undefined
  }

  /** How far soft constraints would be overdone on the node; 0 is best. */
  penalty(node: NodeFacts): number {
    let penalty = 0
    for (const { constraint, counts, most } of this.#domains) {
      if (constraint.hard || counts.size === 0) continue
      const domain = node.labels[constraint.topologyKey]
      // A node outside all domains comes after the fullest of them.
      penalty += domain === undefined ? most + 1 : (counts.get(domain) ?? 0)
    }
    return penalty
  }

  take(node: NodeFacts): void {
    for (const domains of this.#domains) {
      const { constraint, counts, self } = domains
      const domain = node.labels[constraint.topologyKey]
      if (domain === undefined || !counts.has(domain)) continue
      counts.set(domain, (counts.get(domain) ?? 0) + self)
      measure(domains)
    }
  }
}

function countDomains(podClass: PodClass, constraint: SpreadConstraint, draft: Draft): Domains {
  const { snapshot } = draft
  const { topologyKey, selector } = constraint
  const counts = new Map<string, number>()
  const admits = (node: NodeFacts): boolean => podClass.nodeSelector.every(([key, value]) => node.labels[key] === value)
  for (const node of snapshot.nodes) {
    const domain = node?.labels[topologyKey]
    if (node !== undefined && domain !== undefined && admits(node)) counts.set(domain, 0)
  }
  const count = (row: number | undefined): void => {
    const domain = row === undefined ? undefined : snapshot.nodes[row]?.labels[topologyKey]
    if (domain !== undefined && counts.has(domain)) counts.set(domain, (counts.get(domain) ?? 0) + 1)
  }
  for (const pod of snapshot.pods()) {
    if (pod.ending || pod.namespace !== podClass.namespace || !matchesSelector(selector, pod.labels)) continue
    count(snapshot.rowOf(pod.nodeName))
  }
  for (const { row, podClass: other } of draft.taken) {
    if (other.namespace === podClass.namespace && matchesSelector(selector, other.labels)) count(row)
  }
  return measure({ constraint, counts, self: matchesSelector(selector, podClass.labels) ? 1 : 0, least: 0, most: 0 })
}

function measure(domains: Domains): Domains {
  domains.least = Number.POSITIVE_INFINITY
  domains.most = 0
  for (const count of domains.counts.values()) {
    domains.least = Math.min(domains.least, count)
    domains.most = Math.max(domains.most, count)
  }
  return domains
}
