/** Sees to it that every namespace that is not ending has its service account `default`. */
import { isTerminating } from '../../api/conditions.ts'
import { DEFAULT_SERVICE_ACCOUNT } from '../../api/names.ts'
import { namespaceKind } from '../../api/namespace.ts'
import { serviceAccountKind } from '../../api/serviceaccount.ts'
import { isCode } from '../../base/errors.ts'
import type { Service } from '../../base/service.ts'
import { type ControllerContext, queueService } from '../common/context.ts'

export function createServiceAccountController(context: ControllerContext): Service {
  const { resources, fence } = context

  const isOpen = (name: string): boolean => {
    const namespace = resources.get(namespaceKind, '', name)
    return namespace !== undefined && !isTerminating(namespace)
  }

  async function reconcile(name: string): Promise<undefined> {
    if (!isOpen(name)) return undefined
    if (resources.get(serviceAccountKind, name, DEFAULT_SERVICE_ACCOUNT) !== undefined) return undefined
    const metadata = { name: DEFAULT_SERVICE_ACCOUNT, namespace: name }
    try {
      await resources.create(serviceAccountKind, { apiVersion: 'v1', kind: 'ServiceAccount', metadata }, { fence })
    } catch (error) {
      // Someone else has made it, or the namespace has gone; whether it ends, this cache knows by now.
      if (isCode(error, 'alreadyExists') || isCode(error, 'notFound')) return undefined
      if (isOpen(name)) throw error
    }
    return undefined
  }

  return queueService({
    id: 'service-account-controller',
    context,
    reconcile,
    watch(queue) {
      const stops = [
        resources.subscribe(namespaceKind, ({ type, object }) => {
          if (type === 'ADDED') queue.add(object.metadata.name)
        }),
        resources.subscribe(serviceAccountKind, ({ type, object }) => {
          if (type === 'DELETED') queue.add(object.metadata.namespace ?? '')
        }),
      ]
      for (const { metadata } of resources.list(namespaceKind)) queue.add(metadata.name)
      return stops
    },
  })
}
