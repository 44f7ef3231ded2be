/** Watch events as lines of JSON, in the form that the client asked for. */
import { apiVersionOf, type KindDefinition } from '../api/kind.ts'
import type { ResourceEvent } from '../resources/resources.ts'
import type { Form } from './codec.ts'
import type { ApiContext } from './context.ts'
import { columnDefinitions, includeObjectParam, metadataOnly, toTable } from './table.ts'

export interface WatchEncoder {
  /** All lines in one chunk. */
  events(events: readonly ResourceEvent[]): Buffer
  bookmark(revision: number, annotations: Record<string, string>): Buffer
}

const LINE_END = Buffer.from('}\n')
const HEADS = {
  ADDED: Buffer.from('{"type":"ADDED","object":'),
  MODIFIED: Buffer.from('{"type":"MODIFIED","object":'),
  DELETED: Buffer.from('{"type":"DELETED","object":'),
} as const

export interface EncoderOptions {
  context: ApiContext
  query: URLSearchParams
  kind: KindDefinition
  form: Form
}

function line(type: string, object: unknown): Buffer {
  return Buffer.from(`${JSON.stringify({ type, object })}\n`)
}

export function createWatchEncoder(options: EncoderOptions): WatchEncoder {
  const { form, kind, context } = options
  if (form.as === 'table') return tableEncoder(options, form.version)
  const bookmarkMeta = (revision: number, annotations: Record<string, string>): object => ({
    resourceVersion: String(revision),
    creationTimestamp: null,
    ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
  })
  if (form.as === 'metadata') {
    return {
      events: (events) => Buffer.concat(events.map(({ type, object }) => line(type, metadataOnly(object)))),
      bookmark: (revision, annotations) =>
        line('BOOKMARK', {
          kind: 'PartialObjectMetadata',
          apiVersion: 'meta.k8s.io/v1',
          metadata: bookmarkMeta(revision, annotations),
        }),
    }
  }
  return {
    events(events) {
      const [only] = events
      if (only !== undefined && events.length === 1) return plainLine(context, only)
      return Buffer.concat(events.map((event) => plainLine(context, event)))
    },
    bookmark: (revision, annotations) =>
      line('BOOKMARK', {
        kind: kind.kind,
        apiVersion: apiVersionOf(kind),
        metadata: bookmarkMeta(revision, annotations),
      }),
  }
}

/** Nearly all watchers of a change are sent the same bytes: they are kept with the server, for as long as the event lives. */
function plainLine({ resources, watchLines }: ApiContext, event: ResourceEvent): Buffer {
  const known = watchLines.get(event)
  if (known !== undefined) return known
  const line = Buffer.concat([HEADS[event.type], resources.encoded(event.object), LINE_END])
  watchLines.set(event, line)
  return line
}

function tableEncoder({ context, query, kind }: EncoderOptions, version: 'v1' | 'v1beta1'): WatchEncoder {
  const include = includeObjectParam(query)
  let first = true
  return {
    events: (events) =>
      Buffer.concat(
        events.map(({ type, object }) => {
          const metadata = { resourceVersion: object.metadata.resourceVersion }
          const options = { version, include, nowMs: context.clock.now(), metadata, columns: first }
          first = false
          return line(type, toTable(kind, [object], options))
        }),
      ),
    bookmark: (revision, annotations) => {
      const metadata = { resourceVersion: String(revision), annotations }
      const options = { version, include, nowMs: context.clock.now(), metadata, columns: false }
      // Readers of tables look for the revision in the rows' objects: a bookmark is a row of nothing else.
      const object = {
        kind: 'PartialObjectMetadata',
        apiVersion: `meta.k8s.io/${version}`,
        metadata: { ...metadata, creationTimestamp: null },
      }
      const cells = columnDefinitions(kind).map(() => null)
      return line('BOOKMARK', { ...toTable(kind, [], options), rows: [{ cells, object }] })
    },
  }
}
