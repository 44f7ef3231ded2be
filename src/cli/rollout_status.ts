/** Where a rollout stands, in words; pure. Source: Kubernetes "Deployment status". */
import type { Deployment } from '../api/deployment.ts'

export type RolloutState = { done: boolean; failed: boolean; message: string }

export function rolloutState(deployment: Deployment): RolloutState {
  const { spec, status = {}, metadata } = deployment
  const name = metadata.name ?? ''
  const going = (message: string): RolloutState => ({ done: false, failed: false, message })
  if ((status.observedGeneration ?? 0) < (metadata.generation ?? 0)) {
    return going('Waiting for the change to be observed…')
  }
  const progressing = status.conditions?.find((condition) => condition.type === 'Progressing')
  const rolledBack = status.conditions?.find((condition) => condition.type === 'RolledBack')
  if (rolledBack?.status === 'True') {
    return { done: false, failed: true, message: `deployment "${name}" was rolled back: ${rolledBack.message}` }
  }
  if (progressing?.reason === 'ProgressDeadlineExceeded') {
    return { done: false, failed: true, message: `deployment "${name}" exceeded its progress deadline` }
  }
  const { replicas = 1 } = spec
  const { updatedReplicas = 0, availableReplicas = 0, replicas: total = 0 } = status
  const waiting = (rest: string): RolloutState => going(`Waiting for deployment "${name}" rollout to finish: ${rest}…`)
  if (updatedReplicas < replicas) return waiting(`${updatedReplicas} out of ${replicas} new replicas have been updated`)
  if (total > updatedReplicas) return waiting(`${total - updatedReplicas} old replicas are pending termination`)
  if (availableReplicas < updatedReplicas) {
    return waiting(`${availableReplicas} of ${updatedReplicas} updated replicas are available`)
  }
  return { done: true, failed: false, message: `deployment "${name}" successfully rolled out` }
}
