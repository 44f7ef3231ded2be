/** Why a pod found no node, in Kubernetes' words, which people and tools know. */
export const REASON = {
  cordoned: 'node(s) were unschedulable',
  notReady: 'node(s) were not ready',
  network: 'node(s) had no pod network',
  selector: "node(s) didn't match Pod's node affinity/selector",
  ports: "node(s) didn't have free ports for the requested pod ports",
  pods: 'Too many pods',
  volumes: "node(s) didn't find available persistent volumes to bind",
  spread: "node(s) didn't match pod topology spread constraints",
  spreadLabel: "node(s) didn't match pod topology spread constraints (missing required label)",
} as const

export const insufficient = (resource: string): string =>
  resource === 'pods' ? REASON.pods : `Insufficient ${resource}`

/** Drover's own words: the label by which a node offers it is not for people to set. */
export const noHandler = (handler: string): string => `node(s) had no runtime handler ${handler}`

export const untolerated = (key: string, value: string | undefined): string =>
  `node(s) had untolerated taint {${key}: ${value ?? ''}}`

export type ReasonCounts = Map<string, number>

export function countReasons(counts: ReasonCounts, reasons: readonly string[]): void {
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1)
}

/** `0/5 nodes are available: 2 node(s) were unschedulable, 3 Insufficient memory.` */
export function explainRefusal(nodes: number, counts: ReasonCounts): string {
  if (nodes === 0) return '0/0 nodes are available: no node has joined the cluster yet.'
  const parts = [...counts].map(([reason, count]) => `${count} ${reason}`).sort()
  return `0/${nodes} nodes are available: ${parts.join(', ')}.`
}

/** Of a pod that can go nowhere, whatever the nodes. */
export function explainFault(nodes: number, fault: string): string {
  return `0/${nodes} nodes are available: ${fault}.`
}
