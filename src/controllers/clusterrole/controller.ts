/** Keeps the rules of ClusterRoles that gather others' (`aggregationRule`): admin, edit and view grow with what is labelled for them. */
import { clusterRoleKind } from '../../api/clusterrole.ts'
import { jsonEqual } from '../../base/json.ts'
import type { Service } from '../../base/service.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject } from '../common/writes.ts'
import { gatheredRules } from './plan.ts'

export function createClusterRoleController(context: ControllerContext): Service {
  const { resources } = context

  async function reconcile(name: string): Promise<undefined> {
    const role = resources.get(clusterRoleKind, '', name)
    const rules = role === undefined ? undefined : gatheredRules(role, resources.list(clusterRoleKind))
    if (role === undefined || rules === undefined || jsonEqual(rules, role.rules ?? [])) return undefined
    await changeObject(context, clusterRoleKind, role, {
      part: 'main',
      change: (current) => (current.aggregationRule === undefined ? undefined : { ...current, rules }),
    })
    return undefined
  }

  return queueService({
    id: 'cluster-role-controller',
    context,
    concurrency: 1,
    reconcile,
    watch(queue) {
      const wakeAll = (): void => {
        for (const { metadata, aggregationRule } of resources.list(clusterRoleKind)) {
          if (aggregationRule !== undefined) queue.add(metadata.name)
        }
      }
      wakeAll()
      return [resources.subscribe(clusterRoleKind, wakeAll)]
    },
  })
}
