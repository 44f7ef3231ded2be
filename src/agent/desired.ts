/**
 * What the server wants of this node: the tables as they were last given. They may come from the node's own disk first
 * (see table_store.ts): such a table is known, but not confirmed until a server has given a COMPLETE, and nothing is
 * removed for not being in it.
 */
import type { ConfigMap } from '../api/configmap.ts'
import type { PersistentVolume } from '../api/persistentvolume.ts'
import type { Pod } from '../api/pod.ts'
import type { RuntimeClass } from '../api/runtimeclass.ts'
import type { Secret } from '../api/secret.ts'
import { parseJson, type TableChanges, type TableName } from '../rpc/messages.ts'
import type { PeerRow, PolicyTableRow, ServiceRow } from '../rpc/tables.ts'

interface Table {
  /** Undefined until this session has given a COMPLETE. */
  sequence: number | undefined
  rows: Map<string, unknown>
  /** Parts of a COMPLETE whose last has not come. */
  staged: Map<string, unknown> | undefined
  /** Whether there are rows to go by: from a server, or from disk. */
  known: boolean
  /** Whether any session has ever given a COMPLETE. */
  confirmed: boolean
  /** Counts up with every change, whoever made it. */
  version: number
}

/** `staged`: more parts follow; `outOfSequence`: ask for a COMPLETE. */
export type Applied = 'applied' | 'staged' | 'outOfSequence'

function newTable(): Table {
  return { sequence: undefined, rows: new Map(), staged: undefined, known: false, confirmed: false, version: 0 }
}

export class Desired {
  readonly #tables: Record<TableName, Table> = {
    assignments: newTable(),
    services: newTable(),
    peers: newTable(),
    policies: newTable(),
  }
  /** Counts up whenever a ConfigMap, Secret or runtime class comes, changes or goes. */
  #configRevision = 0

  get configRevision(): number {
    return this.#configRevision
  }

  /** A new session counts from its own COMPLETE; rows stay in force until it comes. */
  beginSession(): void {
    for (const table of Object.values(this.#tables)) {
      table.sequence = undefined
      table.staged = undefined
    }
  }

  known(table: TableName): boolean {
    return this.#tables[table].known
  }

  confirmed(table: TableName): boolean {
    return this.#tables[table].confirmed
  }

  version(table: TableName): number {
    return this.#tables[table].version
  }

  rows(table: TableName): ReadonlyMap<string, unknown> {
    return this.#tables[table].rows
  }

  /** Takes what was saved, unless a server has spoken already. */
  restore(name: TableName, rows: Map<string, unknown>): void {
    const table = this.#tables[name]
    if (table.known) return
    table.rows = rows
    table.known = true
    table.version++
    if (name === 'assignments') this.#configRevision++
  }

  sequence(table: TableName): number {
    return this.#tables[table].sequence ?? 0
  }

  apply(message: TableChanges): Applied {
    const table = this.#tables[message.table]
    if (message.complete) return this.#applyComplete(table, message)
    if (table.sequence === undefined || table.sequence !== message.baseSequence) return 'outOfSequence'
    for (const { key, json } of message.changes) {
      if (isConfig(key)) this.#configRevision++
      if (json.length === 0) table.rows.delete(key)
      else table.rows.set(key, parseJson(json, key))
    }
    table.sequence = message.sequence
    table.version++
    return 'applied'
  }

  #applyComplete(table: Table, message: TableChanges): Applied {
    table.staged ??= new Map()
    for (const { key, json } of message.changes) table.staged.set(key, parseJson(json, key))
    if (!message.last) return 'staged'
    table.rows = table.staged
    table.staged = undefined
    table.sequence = message.sequence
    table.known = true
    table.confirmed = true
    table.version++
    if (message.table === 'assignments') this.#configRevision++
    return 'applied'
  }

  pods(): Pod[] {
    const pods: Pod[] = []
    for (const [key, row] of this.#tables.assignments.rows) if (key.startsWith('pod/')) pods.push(row as Pod)
    return pods
  }

  pod(namespace: string, name: string): Pod | undefined {
    return this.#tables.assignments.rows.get(`pod/${namespace}/${name}`) as Pod | undefined
  }

  configMap(namespace: string, name: string): ConfigMap | undefined {
    return this.#tables.assignments.rows.get(`configmap/${namespace}/${name}`) as ConfigMap | undefined
  }

  secret(namespace: string, name: string): Secret | undefined {
    return this.#tables.assignments.rows.get(`secret/${namespace}/${name}`) as Secret | undefined
  }

  /** One that a pod here names. */
  runtimeClass(name: string): RuntimeClass | undefined {
    return this.#tables.assignments.rows.get(`runtimeclass/${name}`) as RuntimeClass | undefined
  }

  /** Volumes that lie on this node. */
  volumes(): PersistentVolume[] {
    const volumes: PersistentVolume[] = []
    for (const [key, row] of this.#tables.assignments.rows) {
      if (key.startsWith('volume/')) volumes.push(row as PersistentVolume)
    }
    return volumes
  }

  /** The volume that is bound to a claim. */
  volumeOf(namespace: string, claimName: string): PersistentVolume | undefined {
    return this.volumes().find(
      ({ spec: { claimRef } }) => claimRef?.namespace === namespace && claimRef.name === claimName && claimRef.uid,
    )
  }

  services(): ServiceRow[] {
    return [...this.#tables.services.rows.values()] as ServiceRow[]
  }

  policies(): PolicyTableRow[] {
    return [...this.#tables.policies.rows.values()] as PolicyTableRow[]
  }

  peers(): PeerRow[] {
    return [...this.#tables.peers.rows.values()] as PeerRow[]
  }
}

function isConfig(key: string): boolean {
  return key.startsWith('configmap/') || key.startsWith('secret/') || key.startsWith('runtimeclass/')
}
