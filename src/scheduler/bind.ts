/** The scheduler's writes: a binding, and the word that there is no place. */
import { findCondition, withCondition } from '../api/conditions.ts'
import { POD_CONDITION } from '../api/names.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { isCode } from '../base/errors.ts'
import type { SchedulerOptions } from './loop.ts'
import type { Placement, Refusal } from './place.ts'

const UNSCHEDULABLE = 'Unschedulable'

/** Binds in one write. True when the pod now is on that node; false when it went, was bound elsewhere or is ending. */
export async function bind(options: SchedulerOptions, { pod, nodeName }: Placement): Promise<boolean> {
  const { resources, events, clock, fence } = options
  const { namespace = '', name, uid } = pod.metadata
  const change = (current: Pod): Pod | undefined => {
    const { metadata, spec, status } = current
    if (metadata.uid !== uid || spec.nodeName || metadata.deletionTimestamp !== undefined) return undefined
    const scheduled = { type: POD_CONDITION.scheduled, status: 'True' } as const
    const conditions = [...withCondition(status?.conditions, scheduled, clock.now())]
    return { ...current, spec: { ...spec, nodeName }, status: { ...status, conditions } }
  }
  try {
    const bound = await resources.modify(podKind, namespace, name, 'all', change, { fence })
    if (bound.metadata.uid !== uid || bound.spec.nodeName !== nodeName) return false
  } catch (error) {
    if (isCode(error, 'notFound')) return false
    throw error
  }
  events.record(pod, 'Normal', 'Scheduled', `Successfully assigned ${namespace}/${name} to ${nodeName}`)
  return true
}

/** Whether the stored pod says already what the refusal says. */
export function isReported({ pod, message }: Refusal): boolean {
  const condition = findCondition(pod.status?.conditions, POD_CONDITION.scheduled)
  return condition?.status === 'False' && condition.reason === UNSCHEDULABLE && condition.message === message
}

export async function report(options: SchedulerOptions, { pod, message }: Refusal): Promise<void> {
  const { resources, events, clock, fence } = options
  const { namespace = '', name, uid } = pod.metadata
  events.record(pod, 'Warning', 'FailedScheduling', message)
  const value = { type: POD_CONDITION.scheduled, status: 'False', reason: UNSCHEDULABLE, message } as const
  const change = (current: Pod): Pod | undefined => {
    if (current.metadata.uid !== uid || current.spec.nodeName) return undefined
    const conditions = [...withCondition(current.status?.conditions, value, clock.now())]
    return { ...current, status: { ...current.status, conditions } }
  }
  try {
    await resources.modify(podKind, namespace, name, 'status', change, { fence })
  } catch (error) {
    if (!isCode(error, 'notFound')) throw error
  }
}
