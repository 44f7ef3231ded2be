/** What a pod's spec names of ConfigMaps and Secrets. Pure. */
import type { Pod } from './pod.ts'

/** `configmap/NS/NAME` and `secret/NS/NAME` of everything that the pod's spec names. */
export function podReferences(pod: Pick<Pod, 'metadata' | 'spec'>): Set<string> {
  const references = new Set<string>()
  const namespace = pod.metadata.namespace ?? ''
  const add = (table: 'configmap' | 'secret', name: string | undefined): void => {
    if (name !== undefined && name !== '') references.add(`${table}/${namespace}/${name}`)
  }
  for (const volume of pod.spec.volumes ?? []) {
    add('configmap', volume.configMap?.name)
    add('secret', volume.secret?.secretName)
    for (const source of volume.projected?.sources ?? []) {
      add('configmap', source.configMap?.name)
      add('secret', source.secret?.name)
    }
  }
  for (const container of [...(pod.spec.initContainers ?? []), ...pod.spec.containers]) {
    for (const source of container.envFrom ?? []) {
      add('configmap', source.configMapRef?.name)
      add('secret', source.secretRef?.name)
    }
    for (const variable of container.env ?? []) {
      add('configmap', variable.valueFrom?.configMapKeyRef?.name)
      add('secret', variable.valueFrom?.secretKeyRef?.name)
    }
  }
  for (const { name } of pod.spec.imagePullSecrets ?? []) add('secret', name)
  return references
}
