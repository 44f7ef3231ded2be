/** A session begins when the server has seen what its agent may speak of. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import type { Resources } from '../../src/resources/resources.ts'
import type { MessageStream } from '../../src/rpc/message_stream.ts'
import { type AgentMessage, jsonBytes, type ServerMessage } from '../../src/rpc/messages.ts'
import type { NodeServerHandlers } from '../../src/rpc/server.ts'
import { eventually } from '../support/eventually.ts'
import { SessionHarness } from '../support/node_session.ts'

let harness: SessionHarness

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
})
afterEach(() => harness.close())

/** An agent's call, as the server holds it: `say` is the agent. */
class Line implements MessageStream<AgentMessage, ServerMessage> {
  readonly heard: string[] = []
  #listener: (message: AgentMessage) => void = () => undefined
  say(message: AgentMessage): void {
    this.#listener(message)
  }
  write(message: ServerMessage): void {
    this.heard.push(message.type)
  }
  onMessage(listener: (message: AgentMessage) => void): void {
    this.#listener = listener
  }
  end(): void {}
  close(): void {}
  onEnd(): void {}
  onClose(): void {}
  pause(): void {}
  resume(): void {}
}

test('an agent is not welcome before the cache shows all that is stored, so no report of its pods is dropped', async () => {
  const { resources } = harness
  const created = await resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default' },
    spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'web:1' }] },
  } as Pod)
  let show = (): void => undefined
  const shown = new Promise<void>((resolve) => {
    show = resolve
  })
  let stale = true
  // A server that was cut off from the store: its cache has yet to hear of the pod.
  const behind = Object.assign(Object.create(resources) as Resources, {
    get: (...[kind, namespace, name]: Parameters<Resources['get']>) =>
      stale && kind.plural === podKind.plural ? undefined : resources.get(kind, namespace, name),
    currentRevision: async () => {
      await shown
      stale = false
      return await resources.currentRevision()
    },
  })
  let handlers: NodeServerHandlers | undefined
  await harness.startDispatch({
    resources: behind,
    createServer: (_tls, given) => {
      handlers = given
      return { listen: async () => 1, close: async () => undefined, setTls: () => undefined }
    },
  })
  const line = new Line()
  handlers?.onConnect({ nodeName: 'n1', joinId: undefined }, line)
  line.say({ type: 'hello', nodeName: 'n1', bootId: 'b', agentVersion: '0', nodeJson: jsonBytes({}) })
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(line.heard).toEqual([])
  show()
  await eventually(() => line.heard.length > 0)
  expect(line.heard[0]).toBe('welcome')
  const { namespace = '', name, uid } = created.metadata
  const statusJson = jsonBytes({ phase: 'Running' })
  line.say({ type: 'podStatuses', reports: [{ namespace, name, uid, statusJson, removed: false }] })
  await eventually(() => resources.get(podKind, 'default', 'web')?.status?.phase === 'Running')
})
