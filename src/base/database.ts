/** The store's own keeping, as its makers offer it and administrators are told of it. */

export interface DatabaseStatus {
  endpoint: string
  version: string
  revision: number
  /** What the file takes, and what of it is in use; the rest is what defragmentation gives back. */
  sizeBytes: number
  inUseBytes: number
  /** Space before writes are refused, where it is known. */
  quotaBytes?: number
  /** `NOSPACE`: the quota was reached, and no writes are taken until `defrag` has made room. */
  alarms: string[]
}

export interface DefragResult {
  before: DatabaseStatus[]
  after: DatabaseStatus[]
}

/** The database's members, each by its endpoint. */
export interface DatabasePort {
  status(): Promise<DatabaseStatus[]>
  /** Forgets all history up to now; returns that revision. */
  compact(): Promise<number>
  /** Gives free space back, one member after the other, and lifts the alarm when there is room again. */
  defrag(): Promise<DefragResult>
  /** The whole database, as `etcdctl snapshot restore` takes it. */
  snapshot(signal: AbortSignal): AsyncIterable<Uint8Array>
}
