/**
 * The name server of a node: answers for the cluster's names from the node's own table, and passes the rest on. It
 * listens on addresses of the host's loopback device, in the network namespace that the agent runs in.
 */
import type { ClusterConfig, ServiceRow } from '../../rpc/tables.ts'

export interface DnsDriver {
  /** Where pods ask, with search paths completed by the server. */
  readonly address: string
  /** The same names without completion: for pods with search lists of their own. */
  readonly plainAddress: string
  /** Puts the addresses on `lo` and listens. Idempotent. Fails with `unavailable` when another program has the port. */
  initialize(): Promise<void>
  /** The whole table as it is now. Until it has been given, the cluster's names are answered with SERVFAIL. */
  applyServices(services: readonly ServiceRow[], config: ClusterConfig): void
  /** Puts the addresses back where somebody took them away; true when it had to. */
  mendDrift(): Promise<boolean>
  /** Stops listening; the addresses stay, so that a question fails at once until the next agent listens. */
  close(): Promise<void>
  /** Stops and removes the addresses. */
  teardown(): Promise<void>
}
