/** `pods/NAME/log`: the container's output, piped from its node as it comes. */
import { type Clock, timestamp } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { CHANNEL, type FrameStream } from '../base/stream.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { requireStarted, resolveContainer } from './pod_container.ts'
import { boolParam, countParam } from './query.ts'
import type { Target } from './router.ts'

/** While nothing has come, a failure can still be told in the status line; after this the headers go out anyway. */
const HEADERS_AFTER_MS = 1_000

/** The request to the node; see `LogsRequest` in rpc/tables.ts. */
function logsRequest(clock: Clock, query: URLSearchParams): object {
  const sinceSeconds = countParam(query, 'sinceSeconds')
  const sinceTime = query.get('sinceTime') || undefined
  if (sinceSeconds !== undefined && sinceTime !== undefined) {
    throw new DroverError('invalid', 'sinceSeconds and sinceTime: give at most one of them')
  }
  if (sinceTime !== undefined && Number.isNaN(Date.parse(sinceTime))) {
    throw new DroverError('invalid', `sinceTime: "${sinceTime}" is not a time; write for example 2030-01-31T12:00:00Z`)
  }
  const since = sinceSeconds === undefined ? sinceTime : timestamp(clock.now() - sinceSeconds * 1000)
  const tailLines = countParam(query, 'tailLines')
  const limitBytes = countParam(query, 'limitBytes')
  return {
    follow: boolParam(query, 'follow'),
    previous: boolParam(query, 'previous'),
    timestamps: boolParam(query, 'timestamps'),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(since === undefined ? {} : { sinceTime: since }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
  }
}

export async function handleLog(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { query } = exchange
  const options = logsRequest(context.clock, query)
  const found = resolveContainer(context, target, query.get('container') ?? '')
  requireStarted(found, boolParam(query, 'previous'))
  const request = { namespace: target.namespace, pod: target.name, container: found.container, ...options }
  const stop = new AbortController()
  const onClose = (): void => stop.abort()
  for (const signal of [exchange.signal, context.stopping]) signal.addEventListener('abort', onClose, { once: true })
  try {
    const stream = await context.gateway.open(found.node, 'logs', request, stop.signal)
    await pipe(context.clock, exchange, stream)
  } finally {
    stop.abort()
    for (const signal of [exchange.signal, context.stopping]) signal.removeEventListener('abort', onClose)
  }
}

async function pipe(clock: Clock, exchange: Exchange, stream: FrameStream): Promise<void> {
  stream.end()
  const begin = (): void => {
    if (!exchange.begun) exchange.begin(200, 'text/plain; charset=utf-8')
  }
  const timer = clock.schedule(
    HEADERS_AFTER_MS,
    () => {
      begin()
      exchange.flush()
    },
    true,
  )
  try {
    for await (const { channel, data } of stream.frames) {
      if (channel !== CHANNEL.stdout && channel !== CHANNEL.stderr) continue
      begin()
      await exchange.write(Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    }
    begin()
    exchange.end()
  } finally {
    timer.cancel()
  }
}
