/**
 * The node's tables on its disk, so that an agent that starts while no server can be reached knows what it is to run and
 * route. A file a table, replaced as a whole and synced; readable by root alone, for Secrets are among the rows.
 *
 * A file is good only for the node and the cluster (by its CA) that it was written for, and one that is damaged counts as
 * none: the first COMPLETE of a server replaces everything anyway.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isObject } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import { TABLES, type TableName } from '../rpc/messages.ts'
import type { ClusterConfig } from '../rpc/tables.ts'

export type Rows = ReadonlyMap<string, unknown>

export interface SavedTables {
  cluster: ClusterConfig
  tables: Map<TableName, Map<string, unknown>>
}

export interface TableStore {
  /** Undefined when nothing usable is there. */
  load(): Promise<SavedTables | undefined>
  saveCluster(cluster: ClusterConfig): Promise<void>
  saveTable(table: TableName, rows: Rows): Promise<void>
}

export interface TableStoreOptions {
  dataDir: string
  nodeName: string
  /** Hash of the cluster's CA. */
  caHash: string
  log: Logger
}

const VERSION = 1

export const tablesDir = (dataDir: string): string => join(dataDir, 'tables')

export function createTableStore({ dataDir, nodeName, caHash, log }: TableStoreOptions): TableStore {
  const directory = tablesDir(dataDir)
  const owner = { version: VERSION, nodeName, caHash }

  const read = async (name: string): Promise<Record<string, unknown> | undefined> => {
    const path = join(directory, `${name}.json`)
    let text: string
    try {
      text = await readFile(path, 'utf8')
    } catch {
      return undefined
    }
    try {
      const value: unknown = JSON.parse(text)
      if (!isObject(value)) throw new Error('no object')
      const ours = value.version === VERSION && value.nodeName === nodeName && value.caHash === caHash
      return ours ? value : undefined
    } catch (error) {
      log.warn({ err: error, path }, 'a saved table is damaged and was ignored')
      return undefined
    }
  }

  const write = async (name: string, content: object): Promise<void> => {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const path = join(directory, `${name}.json`)
    const file = await open(`${path}.new`, 'w', 0o600)
    try {
      await file.writeFile(JSON.stringify({ ...owner, ...content }))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(`${path}.new`, path)
  }

  return {
    async load() {
      const [saved, ...contents] = await Promise.all([read('cluster'), ...TABLES.map(read)])
      if (!isObject(saved?.cluster)) return undefined
      const tables = new Map<TableName, Map<string, unknown>>()
      for (const [index, name] of TABLES.entries()) {
        const rows = contents[index]?.rows
        if (isObject(rows)) tables.set(name, new Map(Object.entries(rows)))
      }
      return { cluster: saved.cluster as unknown as ClusterConfig, tables }
    },
    saveCluster: (cluster) => write('cluster', { cluster }),
    saveTable: (table, rows) => write(table, { rows: Object.fromEntries(rows) }),
  }
}

/** For a node that is reset: nothing of it may come back. */
export function removeTables(dataDir: string): Promise<void> {
  return rm(tablesDir(dataDir), { recursive: true, force: true })
}
