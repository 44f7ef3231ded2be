/**
 * A watch that outlives its connection: a server that restarts, or a timeout of its own, only costs a reconnect from
 * the last revision seen. It ends when the user interrupts, when history was compacted away, or when the cluster stays
 * away.
 */
import type { KubeObject } from '../api/meta.ts'
import { sleep } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { CliContext } from './context.ts'
import { jsonLines, type WatchEvent } from './rest_client.ts'
import type { Table } from './table.ts'

export interface FollowRequest {
  path: string
  query: Readonly<Record<string, string | undefined>>
  accept: string
  /** Where to begin: a list's. */
  resourceVersion: string | undefined
}

const RETRY_MS = 250
const GIVE_UP_MS = 60_000

/** Added, changed and deleted objects, or tables of them. */
export async function* follow<T extends KubeObject | Table>(
  context: CliContext,
  request: FollowRequest,
): AsyncGenerator<WatchEvent<T>> {
  const { clock, signal } = context.io
  let resourceVersion = request.resourceVersion
  let lostMs: number | undefined
  while (!signal.aborted) {
    try {
      const query = { ...request.query, watch: true, allowWatchBookmarks: true, resourceVersion }
      const response = await context.client.open('GET', request.path, { accept: request.accept, signal, query })
      lostMs = undefined
      for await (const event of jsonLines<WatchEvent<T>>(response)) {
        if (event.type === 'ERROR') throw new DroverError('gone', 'the watch fell too far behind; start it again')
        resourceVersion = revisionOf(event.object) ?? resourceVersion
        if (event.type !== 'BOOKMARK') yield event
      }
    } catch (thrown) {
      const error = DroverError.from(thrown, 'unavailable')
      if (signal.aborted) return
      if (!(error.temporary && error.code !== 'gone')) throw error
      if (lostMs === undefined) context.note('connection lost; trying again…')
      lostMs ??= clock.monotonicMs()
      if (clock.monotonicMs() - lostMs > GIVE_UP_MS) throw error
      await sleep(clock, RETRY_MS, signal).catch(() => undefined)
    }
  }
}

function revisionOf(object: KubeObject | Table): string | undefined {
  if ('rows' in object) {
    return object.rows.at(-1)?.object?.metadata?.resourceVersion ?? object.metadata?.resourceVersion
  }
  return object.metadata?.resourceVersion
}
