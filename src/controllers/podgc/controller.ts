/** Removes finished pods beyond a limit, so that what nobody deletes cannot fill the store. */
import { isPodFinished } from '../../api/conditions.ts'
import { podKind } from '../../api/pod_kind.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { deleteObject } from '../common/writes.ts'
import { planPodGarbage } from './plan.ts'

const KEY = 'finished'
/** A sweep looks at every pod: many that finish together share one. */
const SWEEP_DELAY_MS = 5_000

export function createPodGarbageController(context: ControllerContext): Service {
  const { resources } = context
  return queueService({
    id: 'podgc-controller',
    context,
    concurrency: 1,
    async reconcile() {
      await settleAll(planPodGarbage(resources.list(podKind)).map((pod) => deleteObject(context, podKind, pod)))
      return undefined
    },
    watch(queue) {
      queue.add(KEY)
      return [
        resources.subscribe(podKind, (event) => {
          const finished = event.type === 'MODIFIED' && isPodFinished(event.object) && !isPodFinished(event.old)
          if (finished) queue.addAfter(KEY, SWEEP_DELAY_MS)
        }),
      ]
    },
  })
}
