/** Which nodes can take a pod of a class, and why the others cannot. */
import { handlerOfLabel, TAINT } from '../api/names.ts'
import type { Taint } from '../api/node.ts'
import { matchesNodeSelector } from '../api/node_selector.ts'
import { anyTolerates } from '../api/taints.ts'
import type { Draft } from './draft.ts'
import { insufficient, noHandler, REASON, untolerated } from './explain.ts'
import type { PodClass } from './pod_class.ts'
import type { NodeFacts, Snapshot } from './snapshot.ts'
import { STORAGE } from './volume_facts.ts'

/** Asked for by many manifests, declared by few nodes: where a node says nothing of it, it is no bar. */
const OPTIONAL_RESOURCES: ReadonlySet<string> = new Set(['ephemeral-storage', STORAGE])

const tolerates = (podClass: PodClass, key: string): boolean =>
  anyTolerates(podClass.tolerations, { key, effect: 'NoSchedule' })

export interface NodeJudge {
  /** What no placement of this cycle can change; undefined when the node will do. */
  barredBy(row: number): string | undefined
  /** What placements use up; empty when there is room. */
  lacks(row: number): string[]
  /** Taints that the pod would rather avoid. */
  avoided(row: number): number
}

/** Judges nodes for one class. Labels and taints are compared as numbers, each set of taints once. */
export function judgeFor(podClass: PodClass, draft: Draft): NodeJudge {
  const { snapshot } = draft
  const verdicts = new Map<number, { bar: string | undefined; avoided: number }>()
  const wanted = podClass.nodeSelector.map(([key, value]) => {
    const handler = handlerOfLabel(key, value)
    return { pair: snapshot.pairOf(key, value), reason: handler === undefined ? REASON.selector : noHandler(handler) }
  })
  const requests = Object.entries(podClass.requests).filter(([, amount]) => amount > 0)
  const bearsCordon = tolerates(podClass, TAINT.unschedulable)
  const bearsNotReady = tolerates(podClass, TAINT.notReady)
  const bearsUnreachable = tolerates(podClass, TAINT.unreachable)

  const verdictOn = (taintSet: number): { bar: string | undefined; avoided: number } => {
    let verdict = verdicts.get(taintSet)
    if (verdict === undefined) {
      verdict = judgeTaints(podClass, snapshot.taints[taintSet] ?? [])
      verdicts.set(taintSet, verdict)
    }
    return verdict
  }
  const isUnready = (node: NodeFacts): boolean => {
    if (node.ready === 'True') return false
    return node.ready === 'Unknown' ? !bearsUnreachable : !bearsNotReady
  }

  return {
    barredBy(row) {
      const node = snapshot.nodes[row]
      if (node === undefined) return REASON.notReady
      if (node.cordoned && !bearsCordon) return REASON.cordoned
      if (isUnready(node)) return REASON.notReady
      const { bar } = verdictOn(node.taintSet)
      if (bar !== undefined) return bar
      const missing = wanted.find(({ pair }) => pair === undefined || !node.pairs.has(pair))
      if (missing !== undefined) return missing.reason
      if (!podClass.nodes.every((selector) => matchesNodeSelector(selector, node))) return REASON.selector
      return node.hasNetwork || podClass.hostNetwork ? undefined : REASON.network
    },
    lacks(row) {
      const reasons: string[] = []
      for (const [resource, amount] of requests) {
        if (draft.free(resource, row) >= amount || isUndeclared(snapshot, resource, row)) continue
        reasons.push(insufficient(resource))
      }
      const share = draft.volumesFor(podClass, row)
      if (share === undefined) reasons.push(REASON.volumes)
      else if (
        share.newBytes > 0 &&
        draft.free(STORAGE, row) < share.newBytes &&
        !isUndeclared(snapshot, STORAGE, row)
      ) {
        reasons.push(insufficient(STORAGE))
      }
      if (!draft.portsAreFree(podClass.ports, row)) reasons.push(REASON.ports)
      return reasons
    },
    avoided: (row) => verdictOn(snapshot.nodes[row]?.taintSet ?? -1).avoided,
  }
}

function isUndeclared(snapshot: Snapshot, resource: string, row: number): boolean {
  return OPTIONAL_RESOURCES.has(resource) && !snapshot.column(resource)?.allocatable[row]
}

function judgeTaints(podClass: PodClass, taints: readonly Taint[]): { bar: string | undefined; avoided: number } {
  const untoleratedTaints = taints.filter((taint) => !anyTolerates(podClass.tolerations, taint))
  const bar = untoleratedTaints.find(({ effect }) => effect !== 'PreferNoSchedule')
  return {
    bar: bar && untolerated(bar.key, bar.value),
    avoided: untoleratedTaints.filter(({ effect }) => effect === 'PreferNoSchedule').length,
  }
}
