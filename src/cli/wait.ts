/** Waiting for one object by watching it: no polling, one connection, a deadline. */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import type { CliContext } from './context.ts'
import { jsonLines, type ObjectList, resourcePath, type WatchEvent } from './rest_client.ts'

export interface WaitRequest {
  kind: KindDefinition
  namespace: string | undefined
  name: string
  /** Completes "waiting for …". */
  what: string
  /** 0: for ever. */
  timeoutMs: number
}

/** Resolves with the object (or undefined when it is gone) as soon as `done` says so. Throws `timeout`. */
export async function waitFor<T extends KubeObject>(
  context: CliContext,
  request: WaitRequest,
  done: (object: T | undefined) => boolean,
): Promise<T | undefined> {
  const { kind, namespace, name, what, timeoutMs } = request
  const abort = new AbortController()
  let timedOut = false
  const timer =
    timeoutMs > 0
      ? context.io.clock.schedule(timeoutMs, () => {
          timedOut = true
          abort.abort()
        })
      : undefined
  const signal = AbortSignal.any([abort.signal, context.io.signal])
  try {
    // A watch may end at the server's bound or with the server: the list before it makes starting over safe.
    for (;;) {
      const outcome = await watchOnce(context, { path: resourcePath(kind, namespace), name, signal }, done)
      if (outcome.done) return outcome.object
    }
  } catch (error) {
    if (timedOut) throw new DroverError('timeout', `timed out waiting for ${what}`, { cause: error })
    throw error
  } finally {
    timer?.cancel()
    abort.abort()
  }
}

type Outcome<T> = { done: true; object: T | undefined } | { done: false }

async function watchOnce<T extends KubeObject>(
  context: CliContext,
  { path, name, signal }: { path: string; name: string; signal: AbortSignal },
  done: (object: T | undefined) => boolean,
): Promise<Outcome<T>> {
  const query = { fieldSelector: `metadata.name=${name}` }
  const list = await context.client.call<ObjectList<T>>('GET', path, { query, signal })
  const [first] = list.items
  if (done(first)) return { done: true, object: first }
  const resourceVersion = list.metadata.resourceVersion
  const response = await context.client.open('GET', path, { query: { ...query, watch: true, resourceVersion }, signal })
  try {
    for await (const event of jsonLines<WatchEvent<T>>(response)) {
      if (event.type === 'ERROR') return { done: false }
      if (event.type === 'BOOKMARK') continue
      const object = event.type === 'DELETED' ? undefined : event.object
      if (done(object)) return { done: true, object }
    }
  } finally {
    response.destroy()
  }
  return { done: false }
}
