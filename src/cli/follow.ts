/**
 * A watch that outlives its connection: a server that restarts, or a timeout of its own, only costs a reconnect from
 * the last revision seen, and where the server's memory does not reach back so far, a list of what changed since (what
 * was deleted meanwhile goes unsaid). It ends when the user interrupts or the cluster stays away.
 */
import type { KubeObject } from '../api/meta.ts'
import { sleep } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { CliContext } from './context.ts'
import { jsonLines, type ObjectList, type WatchEvent } from './rest_client.ts'
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
        if (event.type === 'ERROR') throw new DroverError('gone', 'the watch fell too far behind')
        resourceVersion = revisionOf(event.object) ?? resourceVersion
        if (event.type !== 'BOOKMARK') yield event
      }
    } catch (thrown) {
      const error = DroverError.from(thrown, 'unavailable')
      if (signal.aborted) return
      if (error.code === 'gone') {
        const since = await changedSince<T>(context, request, resourceVersion)
        resourceVersion = since.resourceVersion
        for (const object of since.changed) yield { type: 'MODIFIED', object }
        continue
      }
      if (!error.temporary) throw error
      if (lostMs === undefined) context.note('connection lost; trying again…')
      lostMs ??= clock.monotonicMs()
      if (clock.monotonicMs() - lostMs > GIVE_UP_MS) throw error
      await sleep(clock, RETRY_MS, signal).catch(() => undefined)
    }
  }
}

type Listing = Table | ObjectList<KubeObject>

async function changedSince<T>(
  context: CliContext,
  { path, query, accept }: FollowRequest,
  resourceVersion: string | undefined,
): Promise<{ changed: T[]; resourceVersion: string | undefined }> {
  const newer = (object: KubeObject): boolean => Number(object.metadata.resourceVersion) > Number(resourceVersion ?? 0)
  const list = await context.client.call<Listing>('GET', path, { query, accept })
  const changed: unknown[] =
    'rows' in list ? [{ ...list, rows: list.rows.filter((row) => newer(row.object)) }] : list.items.filter(newer)
  return { changed: changed as T[], resourceVersion: list.metadata?.resourceVersion }
}

function revisionOf(object: KubeObject | Table): string | undefined {
  if ('rows' in object) {
    return object.rows.at(-1)?.object?.metadata?.resourceVersion ?? object.metadata?.resourceVersion
  }
  return object.metadata?.resourceVersion
}
