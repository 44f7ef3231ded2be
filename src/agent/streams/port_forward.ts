/** port-forward: one TCP connection to a port of a pod, made from inside it. */
import { once } from 'node:events'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { AgentContext } from '../context.ts'
import type { PodSocket } from '../network/network.ts'
import { findPod } from './find_container.ts'

/** `request`: `namespace`, `pod`, `port`. A port that nobody listens on is `unavailable`. */
export async function forwardPort(
  agent: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
): Promise<void> {
  if (!isObject(request)) throw new DroverError('invalid', 'the request is not an object')
  const port = Number(request.port)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new DroverError('invalid', `port ${String(request.port)} is not a number from 1 to 65535`)
  }
  const socket = agent.drivers.network.openSocket(await namespaceOf(agent, request), port)
  const onAbort = (): void => socket.close()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    toPod(stream, socket).catch(() => socket.close())
    for await (const data of socket.output) await stream.send({ channel: CHANNEL.stdout, data: data as Buffer })
    // Clients close a connection whose far end has ended, and only its end tells whether anybody listened.
    socket.input.end()
    await socket.ended
  } finally {
    signal.removeEventListener('abort', onAbort)
    socket.close()
  }
}

/** Undefined: the pod shares the node's own namespace. */
async function namespaceOf(agent: AgentContext, request: unknown): Promise<string | undefined> {
  const { metadata } = findPod(agent, request)
  const sandboxes = await agent.drivers.runtime.listSandboxes()
  const sandbox = sandboxes.find(({ podUid }) => podUid === metadata.uid)
  if (sandbox === undefined) {
    throw new DroverError('conflict', `pod ${metadata.namespace}/${metadata.name} has no network yet`)
  }
  return sandbox.netNamespacePath
}

async function toPod(stream: FrameStream, { input }: PodSocket): Promise<void> {
  for await (const { channel, data } of stream.frames) {
    if (channel !== CHANNEL.stdin || data.length === 0 || !input.writable) continue
    if (!input.write(data)) await Promise.race([once(input, 'drain'), once(input, 'close')])
  }
  input.end()
}
