/** What else decides about a deployment beside its sets: its namespace, its pods' restarts, what its pods read. */

import { isPodReady } from '../../api/conditions.ts'
import { configMapKind } from '../../api/configmap.ts'
import { type Deployment, deploymentKind } from '../../api/deployment.ts'
import { keyOf, splitKey } from '../../api/kind.ts'
import { ANNOTATION } from '../../api/names.ts'
import { namespaceKind } from '../../api/namespace.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { secretKind } from '../../api/secret.ts'
import type { WorkQueue } from '../../base/queue.ts'
import type { ControllerContext } from '../common/context.ts'
import { isActive } from '../common/pods.ts'
import { type ConfigObject, configReferences, rollsOnConfigChange } from './config_hash.ts'
import { deploymentKeyOf } from './counted.ts'
import type { StoredSet } from './sets.ts'

/** Restarts after which a pod that does not serve is taken to crash for good. */
const CRASH_LOOP_RESTARTS = 3

/** Whether rollouts of this deployment go back by themselves: its own word, else its namespace's. */
export function rollsBack({ resources }: ControllerContext, { metadata }: Deployment): boolean {
  const namespace = resources.get(namespaceKind, '', metadata.namespace ?? '')
  const said =
    metadata.annotations?.[ANNOTATION.autoRollback] ?? namespace?.metadata.annotations?.[ANNOTATION.autoRollback]
  return said === 'true'
}

export function findConfig({ resources }: ControllerContext, reference: string): ConfigObject | undefined {
  const slash = reference.indexOf('/')
  const { namespace, name } = splitKey(reference.slice(slash + 1))
  const kind = reference.slice(0, slash) === 'secret' ? secretKind : configMapKind
  return resources.get<ConfigObject>(kind, namespace, name)
}

/** By uid of the set: why its pods crash. */
export function findTroubles({ resources }: ControllerContext, sets: readonly StoredSet[]): Map<string, string> {
  const troubles = new Map<string, string>()
  for (const { metadata } of sets) {
    for (const pod of resources.ownedBy(podKind, metadata.uid)) {
      const trouble = isActive(pod) ? troubleOf(pod) : undefined
      if (trouble !== undefined) troubles.set(metadata.uid, trouble)
    }
  }
  return troubles
}

function troubleOf(pod: Pod): string | undefined {
  if (isPodReady(pod)) return undefined
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {}
  const crashing = [...initContainerStatuses, ...containerStatuses].find(
    ({ restartCount }) => restartCount >= CRASH_LOOP_RESTARTS,
  )
  if (crashing === undefined) return undefined
  const code = (crashing.lastState?.terminated ?? crashing.state?.terminated)?.exitCode
  const ended = code === undefined ? '' : `, last with exit code ${code}`
  return `container ${crashing.name} of pod ${pod.metadata.name} was restarted ${crashing.restartCount} times${ended}`
}

/** Wakes deployments for what their sets' changes do not show. */
export function watchCauses(context: ControllerContext, queue: WorkQueue): (() => void)[] {
  const { resources } = context
  const wakeReaders = (kind: 'configmap' | 'secret', namespace: string, name: string): void => {
    const reference = `${kind}/${namespace}/${name}`
    for (const deployment of resources.list(deploymentKind, { namespace })) {
      if (rollsOnConfigChange(deployment) && configReferences(deployment).includes(reference)) {
        queue.add(keyOf(deployment))
      }
    }
  }
  return [
    resources.subscribe(configMapKind, ({ object: { metadata } }) =>
      wakeReaders('configmap', metadata.namespace ?? '', metadata.name),
    ),
    resources.subscribe(secretKind, ({ object: { metadata } }) =>
      wakeReaders('secret', metadata.namespace ?? '', metadata.name),
    ),
    resources.subscribe(namespaceKind, (event) => {
      if (event.type !== 'MODIFIED') return
      const [before, after] = [event.old, event.object].map(
        ({ metadata }) => metadata.annotations?.[ANNOTATION.autoRollback],
      )
      if (before === after) return
      const namespace = event.object.metadata.name
      for (const deployment of resources.list(deploymentKind, { namespace })) queue.add(keyOf(deployment))
    }),
    resources.subscribe(podKind, (event) => {
      if (event.type !== 'MODIFIED' || troubleOf(event.object) === undefined || troubleOf(event.old) !== undefined)
        return
      const key = deploymentKeyOf(context, event.object)
      if (key !== undefined) queue.add(key)
    }),
  ]
}
