/**
 * All controllers of the control plane. They meet only through stored objects; each is made anew when leadership is won
 * and every write of theirs carries that leadership's proof.
 */
import type { Service } from '../base/service.ts'
import { type ApiEndpoints, createApiServiceController } from './apiservice/controller.ts'
import { createClusterRoleController } from './clusterrole/controller.ts'
import type { ControllerContext } from './common/context.ts'
import { createCronJobController } from './cronjob/controller.ts'
import { createDaemonSetController } from './daemonset/controller.ts'
import { createDeploymentController } from './deployment/controller.ts'
import { createDisruptionController } from './disruption/controller.ts'
import { createEndpointSliceController } from './endpointslice/controller.ts'
import { createGarbageController } from './garbage/controller.ts'
import { createJobController } from './job/controller.ts'
import { createNamespaceController } from './namespace/controller.ts'
import { createIpamController } from './node/ipam_controller.ts'
import { createNodeLifecycleController } from './node/lifecycle.ts'
import { createPodGarbageController } from './podgc/controller.ts'
import { createReplicaSetController } from './replicaset/controller.ts'
import { createServiceAccountController } from './serviceaccount/controller.ts'
import { createTokenSecretController, type TokenSigner } from './serviceaccount/token_secrets.ts'
import { createStatefulSetController } from './statefulset/controller.ts'
import { createTokenController } from './token/controller.ts'
import { createVolumeController } from './volume/controller.ts'

export interface ControllersOptions extends ControllerContext {
  /** Range of all pod addresses, e.g. `10.244.0.0/16`. */
  clusterCidr: string
  /** Size of one node's range, e.g. 24. */
  nodeCidrPrefixLength: number
  /** Range of service addresses, and where the API is served: for the service `kubernetes`. Absent: it is not made. */
  serviceCidr?: string
  apiEndpoints?: ApiEndpoints
  /** Fills Secrets with tokens of service accounts. Absent: they stay empty. */
  tokenSigner?: TokenSigner
  /** Wait between a node's loss and the eviction of its pods. Default 0. */
  nodeEvictionDelayMs?: number
}

export function createControllers(options: ControllersOptions): Service[] {
  const { serviceCidr, apiEndpoints, tokenSigner } = options
  return [
    createIpamController(options),
    createNodeLifecycleController(options),
    createNamespaceController(options),
    createGarbageController(options),
    createDeploymentController(options),
    createReplicaSetController(options),
    createStatefulSetController(options),
    createDaemonSetController(options),
    createJobController(options),
    createCronJobController(options),
    createDisruptionController(options),
    createVolumeController(options),
    createEndpointSliceController(options),
    createPodGarbageController(options),
    ...(serviceCidr === undefined || apiEndpoints === undefined
      ? []
      : [createApiServiceController({ ...options, serviceCidr, apiEndpoints })]),
    createTokenController(options),
    createServiceAccountController(options),
    ...(tokenSigner === undefined ? [] : [createTokenSecretController({ ...options, tokenSigner })]),
    createClusterRoleController(options),
  ]
}
