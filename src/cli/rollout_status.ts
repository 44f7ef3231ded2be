/** Where a rollout stands, in words; pure. Source: Kubernetes "Deployment status", "Updating StatefulSets", "DaemonSet rolling update". */
import type { DaemonSet } from '../api/daemonset.ts'
import type { Deployment } from '../api/deployment.ts'
import type { StatefulSet } from '../api/statefulset.ts'
import { DroverError } from '../base/errors.ts'

export type RolloutState = { done: boolean; failed: boolean; message: string }

const going = (message: string): RolloutState => ({ done: false, failed: false, message })
const done = (message: string): RolloutState => ({ done: true, failed: false, message })

export function rolloutState(object: Deployment | StatefulSet | DaemonSet): RolloutState {
  if ((object.status?.observedGeneration ?? 0) < (object.metadata.generation ?? 0)) {
    return going('Waiting for the change to be observed…')
  }
  if (object.kind === 'StatefulSet') return statefulSetState(object as StatefulSet)
  if (object.kind === 'DaemonSet') return daemonSetState(object as DaemonSet)
  return deploymentState(object as Deployment)
}

function requireRolling(object: StatefulSet | DaemonSet): void {
  if (object.spec.updateStrategy?.type !== 'OnDelete') return
  const message =
    'with updateStrategy OnDelete pods are replaced when someone deletes them: there is no rollout to follow'
  throw new DroverError('invalid', message)
}

function statefulSetState(set: StatefulSet): RolloutState {
  requireRolling(set)
  const { spec, status = {}, metadata } = set
  const { replicas = 1, updateStrategy } = spec
  const { readyReplicas = 0, availableReplicas = 0, updatedReplicas = 0, replicas: total = 0 } = status
  const waiting = (rest: string): RolloutState =>
    going(`Waiting for statefulset "${metadata.name}" rollout to finish: ${rest}…`)
  if (readyReplicas < replicas) return waiting(`${readyReplicas} of ${replicas} pods are ready`)
  const partition = updateStrategy?.rollingUpdate?.partition ?? 0
  const wanted = Math.max(0, replicas - partition)
  if (updatedReplicas < wanted) return waiting(`${updatedReplicas} out of ${wanted} new pods have been updated`)
  if (total > replicas) return waiting(`${total - replicas} pods are pending termination`)
  if (availableReplicas < replicas) return waiting(`${availableReplicas} of ${replicas} pods are available`)
  if (partition > 0) return done(`partitioned roll out complete: ${updatedReplicas} new pods have been updated`)
  if (status.updateRevision !== status.currentRevision) return waiting('the last pods are being looked at')
  return done(
    `statefulset "${metadata.name}" successfully rolled out, ${replicas} pods at revision ${status.updateRevision}`,
  )
}

function daemonSetState(set: DaemonSet): RolloutState {
  requireRolling(set)
  const { status, metadata } = set
  const { desiredNumberScheduled: wanted = 0, updatedNumberScheduled = 0, numberAvailable = 0 } = status ?? {}
  const waiting = (rest: string): RolloutState =>
    going(`Waiting for daemon set "${metadata.name}" rollout to finish: ${rest}…`)
  if (updatedNumberScheduled < wanted) {
    return waiting(`${updatedNumberScheduled} out of ${wanted} new pods have been updated`)
  }
  if (numberAvailable < wanted) return waiting(`${numberAvailable} of ${wanted} updated pods are available`)
  return done(`daemon set "${metadata.name}" successfully rolled out`)
}

function deploymentState({ spec, status = {}, metadata }: Deployment): RolloutState {
  const name = metadata.name ?? ''
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
  return done(`deployment "${name}" successfully rolled out`)
}
