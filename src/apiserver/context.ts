/** What handlers share: built once in server.ts, passed as an argument. */

import type { SecretKeysPort } from '../api/maintenance.ts'
import type { PlacementPort } from '../api/why.ts'
import type { Clock } from '../base/clock.ts'
import type { DatabasePort } from '../base/database.ts'
import type { Logger } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { NodeGateway } from '../base/stream.ts'
import type { Resources } from '../resources/resources.ts'
import type { ServiceAccountTokens } from '../resources/service_account_tokens.ts'
import type { AuthenticateToken } from './authentication.ts'
import type { Authorizer } from './authorization/authorizer.ts'
import type { Freshness } from './freshness.ts'

export interface ReadinessCheck {
  name: string
  ok: boolean
  message?: string
}

/** What the cluster's ranges have room for. */
export interface NetworkLimits {
  clusterCidr: string
  serviceCidr: string
  nodeCidrPrefixLength: number
  overlay: string
  maxNodes: number
  maxPodsPerNode: number
}

export interface ApiContext {
  resources: Resources
  /** The same for Endpoints, which are shown and not stored. */
  endpoints: Resources
  gateway: NodeGateway
  freshness: Freshness
  authenticateToken: AuthenticateToken
  authorizer: Authorizer
  /** Absent: service accounts have no tokens here. */
  serviceAccounts?: ServiceAccountTokens | undefined
  /** Says where pods would go; without it nobody can be asked. */
  placement?: PlacementPort
  /** Absent: this server does not keep them. */
  secretKeys?: SecretKeysPort | undefined
  database?: DatabasePort | undefined
  /** Lines of watch events that several watchers are sent. */
  watchLines: WeakMap<object, Buffer>
  clock: Clock
  random: Random
  log: Logger
  version: string
  /** Raised when the server stops: whatever runs long must end. */
  stopping: AbortSignal
  readiness: () => Promise<ReadinessCheck[]>
  /** Absent where nothing is known of it. */
  network?: NetworkLimits | undefined
}
