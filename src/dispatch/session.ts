/**
 * The sending half of one node's session. Nothing is queued for a slow node: what it gets next is computed from how
 * far it has come when the connection takes more, so its backlog is bounded by what is in flight, and changes that
 * pile up meanwhile collapse into one.
 */
import type { MessageStream } from '../rpc/message_stream.ts'
import type { AgentMessage, ServerMessage, TableChange, TableChanges, TableName } from '../rpc/messages.ts'
import { changeBytes, type RowTable } from './row_table.ts'

/** Bytes that may be under way to one node. */
const MAX_IN_FLIGHT_BYTES = 2 << 20
/** A COMPLETE is cut into parts of about this size. */
const MAX_PART_BYTES = 512 << 10

interface TableState {
  table: RowTable
  /** How far the agent has come, counting what is under way; undefined: it needs a COMPLETE. */
  sequence: number | undefined
  parts: TableChanges[]
}

export interface NodeSessionOptions {
  nodeName: string
  bootId: string
  stream: MessageStream<AgentMessage, ServerMessage>
  /** In the order in which they are sent. */
  tables: readonly (readonly [TableName, RowTable])[]
}

export class NodeSession {
  readonly nodeName: string
  readonly bootId: string
  readonly stream: MessageStream<AgentMessage, ServerMessage>
  /** What the node says the kernel holds. */
  programmedRevision = 0
  peersRevision = 0
  #toldServers = ''
  readonly #tables: Map<TableName, TableState>
  #inFlightBytes = 0

  constructor({ nodeName, bootId, stream, tables }: NodeSessionOptions) {
    this.nodeName = nodeName
    this.bootId = bootId
    this.stream = stream
    this.#tables = new Map(tables.map(([name, table]) => [name, { table, sequence: undefined, parts: [] }]))
  }

  /** Sends what the node lacks, as far as the connection takes it. */
  pump(): void {
    while (this.#inFlightBytes < MAX_IN_FLIGHT_BYTES) {
      const message = this.#next()
      if (message === undefined) return
      const bytes = message.changes.reduce((sum, change) => sum + changeBytes(change), 0)
      this.#inFlightBytes += bytes
      this.stream.write(message, () => {
        this.#inFlightBytes -= bytes
        this.pump()
      })
    }
  }

  /** Whether all that the table holds now has been written to the connection. */
  isCurrent(name: TableName): boolean {
    const state = this.#tables.get(name)
    return state !== undefined && state.parts.length === 0 && state.sequence === state.table.sequence
  }

  /** The live servers, if this session has not been told of just these; else none. */
  serversToTell(live: readonly string[]): string[] {
    const servers = [...live].sort()
    if (servers.join() === this.#toldServers) return []
    this.#toldServers = servers.join()
    return servers
  }

  resync(name: TableName): void {
    const state = this.#tables.get(name)
    if (state === undefined) return
    state.sequence = undefined
    state.parts = []
    this.pump()
  }

  #next(): TableChanges | undefined {
    for (const [name, state] of this.#tables) {
      const part = state.parts.shift()
      if (part !== undefined) return part
      const { sequence, table } = state
      if (sequence === table.sequence) continue
      const delta = sequence === undefined ? undefined : table.since(sequence)
      if (sequence !== undefined && delta !== undefined) {
        state.sequence = delta.sequence
        return {
          type: 'changes',
          table: name,
          complete: false,
          baseSequence: sequence,
          sequence: delta.sequence,
          changes: delta.changes,
          last: true,
        }
      }
      const whole = table.complete()
      state.sequence = whole.sequence
      state.parts = completeParts(name, whole.sequence, whole.changes)
      return state.parts.shift()
    }
    return undefined
  }
}

/** At least one part: an empty table is news too. */
export function completeParts(table: TableName, sequence: number, changes: readonly TableChange[]): TableChanges[] {
  const groups: TableChange[][] = [[]]
  let bytes = 0
  for (const change of changes) {
    const size = changeBytes(change)
    if (bytes > 0 && bytes + size > MAX_PART_BYTES) {
      groups.push([])
      bytes = 0
    }
    groups.at(-1)?.push(change)
    bytes += size
  }
  return groups.map((group, index) => ({
    type: 'changes',
    table,
    complete: true,
    baseSequence: 0,
    sequence,
    changes: group,
    last: index === groups.length - 1,
  }))
}
