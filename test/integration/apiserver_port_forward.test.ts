/** Port-forward through the real server: real kubectl in both of its ways, and the JavaScript client's framing by hand. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { podKind } from '../../src/api/pod_kind.ts'
import { DroverError } from '../../src/base/errors.ts'
import { start } from '../../src/base/process.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { ADMIN_TOKEN, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { gatewayOf, type NodeCall } from '../support/frame_pair.ts'

/** Port 7 gives back what comes in; port 9 says one word and ends; nobody listens on any other. */
async function node({ verb, request, stream }: NodeCall): Promise<void> {
  expect(verb).toBe('portForward')
  expect(request).toMatchObject({ namespace: 'default', pod: 'p' })
  if (request.port === 9) return stream.send({ channel: CHANNEL.stdout, data: Buffer.from('bye') })
  if (request.port !== 7) throw new DroverError('unavailable', `port ${String(request.port)}: connection refused`)
  for await (const { data } of stream.frames) await stream.send({ channel: CHANNEL.stdout, data })
}

let harness: Harness
const children: ChildProcess[] = []

beforeAll(async () => {
  harness = await startHarness({ gateway: gatewayOf({ n1: node }) })
  await harness.resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default' },
    spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }] },
  })
  await harness.resources.modify(podKind, 'default', 'p', 'status', (pod) => ({
    ...pod,
    status: { phase: 'Running' as const },
  }))
})

afterEach(async () => {
  for (const child of children.splice(0)) {
    const closed = once(child, 'close')
    child.kill('SIGTERM')
    await closed
  }
})
afterAll(() => harness.stop())

/** Starts kubectl and returns the ports that it listens on, and what it says on standard error. */
async function portForward(env: Record<string, string>, ports: readonly number[]) {
  const words = ports.map((port) => `:${port}`)
  const child = start('kubectl', ['--kubeconfig', harness.kubeconfig, 'port-forward', 'pod/p', ...words], {
    env: { ...process.env, HOME: '/nonexistent', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  const said = { text: '' }
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said.text += text
  })
  const local: number[] = []
  let text = ''
  for await (const chunk of child.stdout?.setEncoding('utf8').iterator({ destroyOnReturn: false }) ?? []) {
    text += chunk
    local.length = 0
    for (const port of ports) {
      const found = new RegExp(`127\\.0\\.0\\.1:(\\d+) -> ${port}\n`).exec(text)
      if (found !== null) local.push(Number(found[1]))
    }
    if (local.length === ports.length) return { local, said }
  }
  throw new Error(`kubectl ended: ${said.text}`)
}

/** Sends, ends its direction, and reads to the end. */
async function exchange(port: number, data: Buffer): Promise<Buffer> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.end(data)
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

describe.each([
  ['as it likes', {}],
  ['over SPDY', { KUBECTL_PORT_FORWARD_WEBSOCKETS: 'false' }],
])('port-forward of kubectl, %s', (_name, env: Record<string, string>) => {
  it('carries connections side by side, whole and unharmed', async () => {
    const { local } = await portForward(env, [7, 9])
    const [echo = 0, word = 0] = local
    const large = Buffer.alloc(2 << 20, 'what is sent comes back ')
    const [a, b, c] = await Promise.all([
      exchange(echo, large),
      exchange(echo, Buffer.from('small')),
      exchange(word, Buffer.alloc(0)),
    ])
    expect(a.equals(large)).toBe(true)
    expect(b.toString()).toBe('small')
    expect(c.toString()).toBe('bye')
  })

  it('says that nobody listens', async () => {
    const { local, said } = await portForward(env, [81])
    expect(await exchange(local[0] ?? 0, Buffer.from('x'))).toHaveLength(0)
    await expect.poll(() => said.text, { timeout: 10_000 }).toContain('port 81: connection refused')
  })
})

describe('port-forward by channels', () => {
  const open = (query: string): WebSocket =>
    new WebSocket(
      `wss://127.0.0.1:${harness.port}/api/v1/namespaces/default/pods/p/portforward${query}`,
      ['v5.channel.k8s.io', 'v4.channel.k8s.io'],
      { ca: harness.ca, headers: { authorization: `Bearer ${ADMIN_TOKEN}` } },
    )

  it('has a pair of channels a port, each of which names it first', async () => {
    const socket = open('?ports=7&ports=9,82')
    const messages: Buffer[] = []
    socket.on('message', (raw: Buffer) => {
      messages.push(raw)
    })
    await once(socket, 'open')
    expect(socket.protocol).toBe('v5.channel.k8s.io')
    socket.send(Buffer.concat([Buffer.of(0), Buffer.from('hello')]))
    socket.send(Buffer.of(255, 0))
    await once(socket, 'close')
    const of = (channel: number): Buffer[] => messages.filter((raw) => raw[0] === channel).map((raw) => raw.subarray(1))
    for (const [i, port] of [7, 9, 82].entries()) {
      expect(of(2 * i)[0]?.readUInt16LE()).toBe(port)
      expect(of(2 * i + 1)[0]?.readUInt16LE()).toBe(port)
    }
    expect(of(0)[1]?.toString()).toBe('hello')
    expect(of(2)[1]?.toString()).toBe('bye')
    expect(of(5)[1]?.toString()).toContain('port 82: connection refused')
  })

  it('refuses what is no port', async () => {
    for (const query of ['', '?ports=0', '?ports=70000', '?ports=web']) {
      const socket = open(query)
      socket.on('error', () => undefined)
      const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number }]
      expect([query, response.statusCode]).toEqual([query, 400])
      socket.terminate()
    }
  })
})
