/**
 * Streams that the server asks for. The agent dials each one back; what it carries is decided by the verb. A request
 * that cannot be met ends the stream with a coded error, which the API server turns into its own answer.
 */
import { DroverError } from '../base/errors.ts'
import { CHANNEL, type FrameStream, type NodeStreamVerb } from '../base/stream.ts'
import type { NodeClient } from '../rpc/client.ts'
import { parseJson } from '../rpc/messages.ts'
import type { AgentContext } from './context.ts'
import type { OpenStream } from './session.ts'
import { nodeFsck } from './streams/fsck.ts'
import { imageImport, imageList, imageLoad, imagePull, imageRemove } from './streams/images.ts'
import { streamLogs } from './streams/logs.ts'
import { imageInspect, imagePrune, imagePush, imageSave, imageTag } from './streams/more_images.ts'
import { forwardPort } from './streams/port_forward.ts'
import { attachStream, execStream } from './streams/remote_command.ts'

export type StreamHandler = (
  agent: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
) => Promise<void>

const HANDLERS: Readonly<Partial<Record<NodeStreamVerb, StreamHandler>>> = {
  logs: streamLogs,
  exec: execStream,
  attach: attachStream,
  portForward: forwardPort,
  usage: sendUsage,
  imageLoad,
  imageImport,
  imageList,
  imageRemove,
  imagePull,
  imagePush,
  imageTag,
  imageSave,
  imageInspect,
  imagePrune,
  nodeFsck,
}

async function sendUsage({ usage }: AgentContext, _request: unknown, stream: FrameStream): Promise<void> {
  if (usage === undefined) throw new DroverError('unsupported', 'this agent measures nothing')
  await stream.send({ channel: CHANNEL.stdout, data: Buffer.from(JSON.stringify(await usage.read())) })
}

/** Streams at once on one node. */
const MAX_STREAMS = 500

export class StreamServer {
  readonly #agent: AgentContext
  readonly #open = new Set<AbortController>()

  constructor(agent: AgentContext) {
    this.#agent = agent
  }

  open({ streamId, verb, requestJson }: OpenStream, client: NodeClient): void {
    const stream = client.stream(streamId)
    const control = new AbortController()
    this.#open.add(control)
    stream.onClose(() => control.abort())
    this.#serve(verb, requestJson, stream, control.signal)
      .then(
        () => stream.end(),
        (error: unknown) => {
          this.#agent.log.debug({ verb, err: error }, 'stream ended with an error')
          stream.end(error)
        },
      )
      .finally(() => this.#open.delete(control))
  }

  close(): void {
    for (const control of this.#open) control.abort()
  }

  async #serve(verb: string, requestJson: Uint8Array, stream: FrameStream, signal: AbortSignal): Promise<void> {
    const handler = Object.hasOwn(HANDLERS, verb) ? HANDLERS[verb as NodeStreamVerb] : undefined
    if (handler === undefined) throw new DroverError('unsupported', `this agent does not know the stream "${verb}"`)
    if (this.#open.size > MAX_STREAMS) {
      throw new DroverError('tooManyRequests', `node ${this.#agent.nodeName} has ${MAX_STREAMS} streams open`)
    }
    await handler(this.#agent, parseJson(requestJson, `the request for ${verb}`), stream, signal)
  }
}
