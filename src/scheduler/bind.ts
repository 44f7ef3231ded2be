/** The scheduler's words on a pod: its binding, and that there is no place. */
import { findCondition, withCondition } from '../api/conditions.ts'
import { POD_CONDITION } from '../api/names.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { isCode } from '../base/errors.ts'
import type { SchedulerOptions } from './loop.ts'
import type { Placement, Refusal } from './place.ts'

const UNSCHEDULABLE = 'Unschedulable'

/** What a binding changes of a pod, whether it stands already or is about to be written. */
export function withNode(pod: Pod, nodeName: string, nowMs: number): Pod {
  const scheduled = { type: POD_CONDITION.scheduled, status: 'True' } as const
  const conditions = [...withCondition(pod.status?.conditions, scheduled, nowMs)]
  return { ...pod, spec: { ...pod.spec, nodeName }, status: { ...pod.status, conditions } }
}

export function recordBinding({ events }: SchedulerOptions, { pod, nodeName }: Placement): void {
  const { namespace, name } = pod.metadata
  events.record(pod, 'Normal', 'Scheduled', `Successfully assigned ${namespace}/${name} to ${nodeName}`)
}

/** Binds in one write. True when the pod now is on that node; false when it went, was bound elsewhere or is ending. */
export async function bind(options: SchedulerOptions, placement: Placement): Promise<boolean> {
  const { resources, clock, fence } = options
  const { pod, nodeName } = placement
  const { namespace = '', name, uid } = pod.metadata
  const change = (current: Pod): Pod | undefined => {
    const { metadata, spec } = current
    if (metadata.uid !== uid || spec.nodeName || metadata.deletionTimestamp !== undefined) return undefined
    return withNode(current, nodeName, clock.now())
  }
  try {
    const bound = await resources.modify(podKind, namespace, name, 'all', change, { fence })
    if (bound.metadata.uid !== uid || bound.spec.nodeName !== nodeName) return false
  } catch (error) {
    if (isCode(error, 'notFound')) return false
    throw error
  }
  recordBinding(options, placement)
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
