/** Which run of a container a request for its log means. Pure. Source: the kubelet's `validateContainerLogStatus`. */
import { isPodFinished, isTerminating } from '../../api/conditions.ts'
import { DroverError } from '../../base/errors.ts'
import { isSidecar, restartsAfter } from '../pod/facts.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import type { Target } from './find_container.ts'

/**
 * The run that the status shows, or with `previous` the one of its `lastState`. A container that is to be started again
 * waits, and its last run is both. Where it has ended for good that run is its state, and the previous is the one before.
 */
export function chooseAttempt(target: Target, previous: boolean): ContainerState {
  // One that is only made has said nothing, and the status shows what was before it.
  const [newest, older] = target.attempts.filter(({ phase }) => phase !== 'created')
  const chosen = previous && (newest === undefined || !waitsForRestart(target, newest)) ? older : newest
  if (chosen !== undefined) return chosen
  const what = previous ? 'no previous terminated' : 'not yet a started'
  throw new DroverError(
    'invalid',
    `there is ${what} container "${target.container}" in pod "${target.pod.metadata.name}"`,
  )
}

/** As the server has been told: a pod that this node has just failed may count as alive for a moment more. */
function waitsForRestart({ pod, container }: Target, newest: ContainerState): boolean {
  if (newest.phase !== 'exited' || isTerminating(pod) || isPodFinished(pod)) return false
  const init = pod.spec.initContainers?.find(({ name }) => name === container)
  return restartsAfter(pod, newest, init === undefined ? 'app' : isSidecar(init) ? 'sidecar' : 'init')
}
