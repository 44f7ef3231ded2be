/**
 * Eviction: a deletion that a disruption budget may refuse (src/resources/disruption_leave.ts).
 * Source: Kubernetes policy/v1 `Eviction`, "API-initiated Eviction".
 */
import { isTerminating, withCondition } from '../api/conditions.ts'
import type { Stored } from '../api/meta.ts'
import { POD_CONDITION } from '../api/names.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { takeLeave } from '../resources/disruption_leave.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { deleteOptions } from './mutate.ts'
import type { Target } from './router.ts'
import { notFound, successStatus } from './status_error.ts'

export async function handleEviction(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { namespace, name } = target
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  checkNames(body, target)
  const options = deleteOptions(exchange, body.deleteOptions)
  const pod = context.resources.get(podKind, namespace, name)
  if (pod === undefined) throw notFound('pods', name)
  const { uid } = pod.metadata
  const nowMs = context.clock.now()
  await takeLeave(context.resources, pod, { nowMs, ...(options.dryRun === true && { dryRun: true }) })
  if (options.dryRun !== true && !isTerminating(pod)) await markPod(context, pod)
  // Leave was given for this pod, not for one that may have its name by now.
  await context.resources.delete(podKind, namespace, name, {
    ...options,
    preconditions: { uid, ...options.preconditions },
  })
  exchange.sendStatus(successStatus({ name, kind: 'pods', uid }, 201))
}

/** The wrong pod must not go because a client mixed up names. */
function checkNames({ kind = 'Eviction', metadata }: Record<string, unknown>, { namespace, name }: Target): void {
  if (kind !== 'Eviction')
    throw new DroverError('invalid', `the body is a ${String(kind)}; this path takes an Eviction`)
  const named = isObject(metadata) ? metadata : {}
  for (const [field, given, own] of [
    ['name', named.name, name],
    ['namespace', named.namespace, namespace],
  ] as const) {
    if (given === undefined || given === '' || given === own) continue
    throw new DroverError(
      'invalid',
      `metadata.${field} of the Eviction (${String(given)}) is not that of the path (${own})`,
    )
  }
}

/** Says on the pod why it goes: job failure policies ask for it. */
async function markPod({ resources, clock }: ApiContext, pod: Stored<Pod>): Promise<void> {
  const { namespace = '', name, uid } = pod.metadata
  const value = {
    type: POD_CONDITION.disruptionTarget,
    status: 'True',
    reason: 'EvictionByEvictionAPI',
    message: 'Eviction API: evicting',
  } as const
  await resources.modify(podKind, namespace, name, 'status', (current) => {
    if (current.metadata.uid !== uid) return undefined
    const conditions = [...withCondition(current.status?.conditions, value, clock.now())]
    return { ...current, status: { ...current.status, conditions } }
  })
}
