/**
 * Which node gets which range of pod addresses: pure, recomputed from all nodes each time, so that nothing can leak and a
 * failover starts from the truth. A range once given stays with its node for as long as the Node object lives.
 */
import type { Stored } from '../../api/meta.ts'
import type { Node } from '../../api/node.ts'
import { type Cidr, cidrsOverlap, formatCidr, parseCidr, subnet } from '../../base/cidr.ts'

export interface IpamPlan {
  assign: { node: Stored<Node>; cidr: string }[]
  /** Nodes for which no range is left. */
  exhausted: Stored<Node>[]
}

export function planPodCidrs(nodes: readonly Stored<Node>[], cluster: Cidr, prefixLength: number): IpamPlan {
  const plan: IpamPlan = { assign: [], exhausted: [] }
  const exact = new Set<string>()
  const others: Cidr[] = []
  for (const node of nodes) {
    for (const text of rangesOf(node)) {
      const range = parseCidr(text)
      if (range.prefixLength === prefixLength) exact.add(formatCidr(range))
      else others.push(range)
    }
  }
  let index = 0
  const nextFree = (): string | undefined => {
    for (;;) {
      const candidate = subnet(cluster, prefixLength, index)
      if (candidate === undefined) return undefined
      index++
      const text = formatCidr(candidate)
      if (!exact.has(text) && !others.some((range) => cidrsOverlap(range, candidate))) return text
    }
  }
  const waiting = nodes.filter((node) => rangesOf(node).length === 0).sort(byName)
  for (const node of waiting) {
    const cidr = nextFree()
    if (cidr === undefined) plan.exhausted.push(node)
    else plan.assign.push({ node, cidr })
  }
  return plan
}

function rangesOf({ spec }: Node): string[] {
  const { podCIDR, podCIDRs = [] } = spec ?? {}
  return [...new Set([...(podCIDR ? [podCIDR] : []), ...podCIDRs])]
}

function byName(a: Stored<Node>, b: Stored<Node>): number {
  return a.metadata.name < b.metadata.name ? -1 : 1
}
