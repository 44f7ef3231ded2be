/** Whether a toleration bears a taint. Source: Kubernetes "Taints and Tolerations". */
import type { Taint } from './node.ts'
import type { Toleration } from './pod.ts'

/** An empty effect bears every effect; `Exists` with an empty key bears every taint. */
export function toleratesTaint(toleration: Toleration, taint: Pick<Taint, 'key' | 'value' | 'effect'>): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false
  if (toleration.key && toleration.key !== taint.key) return false
  if (toleration.operator === 'Exists') return true
  return Boolean(toleration.key) && (toleration.value ?? '') === (taint.value ?? '')
}

export function anyTolerates(
  tolerations: readonly Toleration[] | undefined,
  taint: Pick<Taint, 'key' | 'value' | 'effect'>,
): boolean {
  return (tolerations ?? []).some((toleration) => toleratesTaint(toleration, taint))
}
