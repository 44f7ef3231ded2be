/** The sub-resource of pods by which a scheduler from outside binds them. Eviction is in eviction.ts. */
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { writeOptions } from './query.ts'
import type { Target } from './router.ts'
import { successStatus } from './status_error.ts'

/** Sets the node, once: what a scheduler from outside does. */
export async function handleBinding(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { namespace, name } = target
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  const node = isObject(body.target) ? body.target.name : undefined
  if (typeof node !== 'string' || node === '') {
    const message = 'name the node to bind the pod to'
    throw new DroverError('invalid', `target.name: ${message}`, {
      fields: [{ path: 'target.name', reason: 'Required', message }],
    })
  }
  const bound = await context.resources.modify(
    podKind,
    namespace,
    name,
    'main',
    (pod) => {
      const present = pod.spec.nodeName ?? ''
      if (present !== '') throw new DroverError('conflict', `pod ${name} is already assigned to node "${present}"`)
      return { ...pod, spec: { ...pod.spec, nodeName: node } }
    },
    writeOptions(exchange, { subresource: 'binding' }),
  )
  exchange.sendStatus(successStatus({ name, kind: 'pods', uid: bound.metadata.uid }, 201))
}
