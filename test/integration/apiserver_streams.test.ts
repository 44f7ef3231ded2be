/** Logs, exec and images: frames of a node that is a function, through the real server, to real kubectl. */
import { once } from 'node:events'
import { request as httpsRequest } from 'node:https'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { ADMIN_TOKEN, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { gatewayOf, type NodeCall } from '../support/frame_pair.ts'

const text = (value: string): Uint8Array => Buffer.from(value)

/** What the last call asked for, and what the nodes took in. */
const seen: { request?: Record<string, unknown>; stopped: boolean; loaded: Map<string, Buffer> } = {
  stopped: false,
  loaded: new Map(),
}

async function answerLogs({ request, stream, signal }: NodeCall): Promise<void> {
  seen.request = request
  await stream.send({ channel: CHANNEL.stdout, data: text('one\n') })
  await stream.send({ channel: CHANNEL.stdout, data: text('two\n') })
  if (request.follow !== true) return
  await once(signal, 'abort')
  seen.stopped = true
}

/** A shell of three words: `cat` gives back what comes in, `size` tells the window's, `exit N` ends with N. */
async function answerExec({ request, stream }: NodeCall): Promise<void> {
  seen.request = request
  const [word, argument] = request.command as string[]
  if (word === 'cat' || word === 'size') {
    for await (const { channel, data } of stream.frames) {
      if (channel === CHANNEL.close) break
      if (channel === CHANNEL.stdin && word === 'cat') await stream.send({ channel: CHANNEL.stdout, data })
      if (channel === CHANNEL.resize && word === 'size') {
        await stream.send({ channel: CHANNEL.stdout, data })
        break
      }
    }
  } else {
    await stream.send({ channel: CHANNEL.stdout, data: text('out\n') })
    await stream.send({ channel: CHANNEL.stderr, data: text('err\n') })
  }
  const code = Number(argument ?? 0)
  const status =
    code === 0
      ? { metadata: {}, status: 'Success' }
      : {
          metadata: {},
          status: 'Failure',
          reason: 'NonZeroExitCode',
          message: `command terminated with exit code ${code}`,
          details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
        }
  await stream.send({ channel: CHANNEL.error, data: text(JSON.stringify(status)) })
}

function node(name: string, delayMs: number) {
  return async (call: NodeCall): Promise<void> => {
    const { verb, stream, request } = call
    if (verb === 'logs') return answerLogs(call)
    if (verb === 'exec') return answerExec(call)
    if (verb === 'imageList') {
      const images = [{ names: ['a:1'], digest: 'sha256:0', sizeBytes: 1, createdAt: '2026-01-01T00:00:00Z' }]
      return stream.send({ channel: CHANNEL.stdout, data: text(JSON.stringify(images)) })
    }
    seen.request = request
    await stream.send({ channel: CHANNEL.stdout, data: text('begun\n') })
    const chunks: Uint8Array[] = []
    for await (const { data } of stream.frames) {
      chunks.push(data)
      if (delayMs > 0) await sleep(systemClock, delayMs)
    }
    seen.loaded.set(name, Buffer.concat(chunks))
    if (request.reference === 'bad:1' && name === 'n2') throw new DroverError('invalid', 'not an archive')
  }
}

const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'default' },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }] },
}

let harness: Harness

beforeAll(async () => {
  harness = await startHarness({ gateway: gatewayOf({ n1: node('n1', 0), n2: node('n2', 2) }) })
  const { resources } = harness
  const state = { running: { startedAt: '2026-01-01T00:00:00Z' } }
  const common = { ready: true, restartCount: 0, image: 'x', imageID: 'x' }
  const create = async (given: Pod, names: string[]): Promise<void> => {
    await resources.create(podKind, given)
    if (names.length === 0) return
    const containerStatuses = names.map((name) => ({ ...common, name, state }))
    await resources.modify(podKind, 'default', given.metadata.name ?? '', 'status', (found) => ({
      ...found,
      status: { phase: 'Running' as const, containerStatuses },
    }))
  }
  await create(pod, ['c'])
  const two = [...pod.spec.containers, { name: 'd', image: 'x' }]
  await create({ ...pod, metadata: { ...pod.metadata, name: 'two' }, spec: { ...pod.spec, containers: two } }, [
    'c',
    'd',
  ])
  await create({ ...pod, metadata: { ...pod.metadata, name: 'far' }, spec: { ...pod.spec, nodeName: 'n9' } }, ['c'])
  await create({ ...pod, metadata: { ...pod.metadata, name: 'new' } }, [])
  await create({ ...pod, metadata: { ...pod.metadata, name: 'free' }, spec: { containers: pod.spec.containers } }, [])
})

afterAll(() => harness.stop())

const logPath = (name: string, query = ''): string => `/api/v1/namespaces/default/pods/${name}/log${query}`

describe('logs', () => {
  it('pipes the output and passes every option on', async () => {
    const query = '?tailLines=5&timestamps=true&previous=false&limitBytes=100&sinceTime=2026-01-01T00:00:00Z'
    const answer = await harness.call(logPath('p', query))
    expect(answer).toMatchObject({ status: 200, text: 'one\ntwo\n' })
    expect(answer.headers['content-type']).toContain('text/plain')
    expect(seen.request).toEqual({
      namespace: 'default',
      pod: 'p',
      container: 'c',
      follow: false,
      previous: false,
      timestamps: true,
      tailLines: 5,
      limitBytes: 100,
      sinceTime: '2026-01-01T00:00:00Z',
    })
  })

  it('says what is wrong', async () => {
    const cases: [string, number, string][] = [
      [logPath('two'), 400, 'a container name must be specified for pod two, choose one of: [c d]'],
      [logPath('p', '?container=z'), 400, 'container z is not valid for pod p; choose one of: [c]'],
      [logPath('nope'), 404, 'pods "nope" not found'],
      [logPath('far'), 503, 'node n9 has no session with this server'],
      [logPath('free'), 400, 'pod free does not have a host assigned; "describe pod free" says why'],
      [logPath('new'), 400, 'container "c" in pod "new" is waiting to start: ContainerCreating'],
      [logPath('p', '?previous=true'), 400, 'previous terminated container "c" in pod "p" not found'],
      [logPath('p', '?tailLines=-1'), 422, 'tailLines: "-1" is not a whole number of at least 0'],
    ]
    for (const [path, status, message] of cases) {
      const answer = await harness.call(path)
      expect([path, answer.status, answer.json.message]).toEqual([path, status, message])
    }
  })

  it('stops the node when a follower leaves', async () => {
    seen.stopped = false
    const stream = harness.session().request({
      ':path': logPath('p', '?follow=true'),
      authorization: `Bearer ${ADMIN_TOKEN}`,
    })
    await once(stream, 'data')
    stream.close()
    await expect.poll(() => seen.stopped, { timeout: 5_000 }).toBe(true)
  })

  it('works with kubectl', async () => {
    expect(await harness.kubectl(['logs', 'two', '-c', 'd'])).toMatchObject({ exitCode: 0, stdout: 'one\ntwo\n' })
  })
})

/** kubectl before 1.30 knows SPDY alone. */
describe.each([
  ['as it likes', {}],
  ['over SPDY', { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' }],
])('exec of kubectl, %s', (_name, env) => {
  it('gets both outputs and the exit code', async () => {
    const result = await harness.kubectl(['exec', 'p', '--', 'exit', '7'], { env })
    expect(result).toMatchObject({ exitCode: 7, stdout: 'out\n' })
    expect(result.stderr).toContain('err\n')
    expect(seen.request).toEqual({
      namespace: 'default',
      pod: 'p',
      container: 'c',
      command: ['exit', '7'],
      stdin: false,
      stdout: true,
      stderr: true,
      tty: false,
    })
  })

  it('passes standard input, its end, and large data unharmed', async () => {
    const input = 'x'.repeat(3 << 20)
    const result = await harness.kubectl(['exec', '-i', 'p', '--', 'cat'], { input, env })
    expect(result.exitCode).toBe(0)
    expect(result.stdout.length).toBe(input.length)
  })

  it('is told of a node that cannot be reached on the error channel', async () => {
    const result = await harness.kubectl(['exec', 'far', '--', 'exit', '0'], { env })
    expect(result.exitCode).not.toBe(0)
    expect(result.stderr).toContain('node n9 has no session with this server')
  })
})

describe('exec', () => {
  it('passes window sizes', async () => {
    const messages = await socketSession(
      '?command=size&stdin=true&stdout=true&tty=true',
      'v4.channel.k8s.io',
      (socket) => socket.send(Buffer.concat([Buffer.of(4), Buffer.from('{"Width":80,"Height":24}')])),
    )
    expect(messages[0]).toEqual('1:{"Width":80,"Height":24}')
    expect(messages.at(-1)).toContain('"Success"')
    expect(seen.request).toMatchObject({ tty: true, stderr: false })
  })

  it('refuses before the handshake, in words', async () => {
    const cases: [string, string, number, string][] = [
      ['p/exec', 'websocket', 400, 'command: say what to run'],
      ['nope/exec?command=x&stdout=1', 'websocket', 404, 'pods "nope" not found'],
      ['new/exec?command=x&stdout=1', 'websocket', 400, 'not running yet: ContainerCreating'],
      [
        'p/exec?command=x&stdout=1',
        'SPDY/3.1',
        400,
        'use a WebSocket with v5.channel.k8s.io or v4.channel.k8s.io, or SPDY',
      ],
      ['p/exec?command=x&stdout=1', 'h2c', 400, 'h2c is not served here'],
      ['p/portforward', 'websocket', 400, 'ports: say which ports of the pod to connect to'],
      ['new/portforward?ports=80', 'websocket', 400, 'pod new is not running: its phase is Pending'],
    ]
    for (const [path, protocol, status, message] of cases) {
      const answer = await upgradeRefusal(path, protocol, ADMIN_TOKEN)
      expect([path, answer.status]).toEqual([path, status])
      expect(answer.body.message).toContain(message)
    }
    expect(await upgradeRefusal('p/exec?command=x&stdout=1', 'websocket', 'wrong')).toMatchObject({ status: 401 })
  })
})

function socketSession(query: string, protocol: string, opened: (socket: WebSocket) => void): Promise<string[]> {
  const url = `wss://127.0.0.1:${harness.port}/api/v1/namespaces/default/pods/p/exec${query}`
  const socket = new WebSocket(url, protocol, { ca: harness.ca, headers: { authorization: `Bearer ${ADMIN_TOKEN}` } })
  const messages: string[] = []
  socket.on('message', (raw: Buffer) => messages.push(`${raw[0]}:${raw.subarray(1).toString()}`))
  return new Promise((resolve, reject) => {
    socket.on('open', () => opened(socket))
    socket.on('error', reject)
    socket.on('close', () => resolve(messages))
  })
}

function upgradeRefusal(path: string, protocol: string, token: string) {
  return new Promise<{ status: number; body: { message: string } }>((resolve, reject) => {
    const request = httpsRequest({
      host: '127.0.0.1',
      port: harness.port,
      ca: harness.ca,
      path: `/api/v1/namespaces/default/pods/${path}`,
      headers: {
        authorization: `Bearer ${token}`,
        connection: 'Upgrade',
        upgrade: protocol,
        'sec-websocket-key': Buffer.alloc(16).toString('base64'),
        'sec-websocket-version': '13',
        'sec-websocket-protocol': 'v5.channel.k8s.io',
      },
    })
    request.on('error', reject)
    request.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          body: JSON.parse(Buffer.concat(chunks).toString()) as { message: string },
        })
      })
    })
    request.end()
  })
}

describe('images', () => {
  const path = '/apis/drover.dev/v1/images'
  const lines = (answer: { text: string }): Record<string, unknown>[] =>
    answer.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>)

  it('sends one archive whole to every node, however slow one is', async () => {
    seen.loaded.clear()
    const body = Buffer.alloc(2 << 20, 'archive of an image ')
    const answer = await harness.call(`${path}?verb=load`, { method: 'POST', body })
    expect(answer.status).toBe(200)
    const told = lines(answer)
    for (const name of ['n1', 'n2']) {
      expect(seen.loaded.get(name)?.equals(body)).toBe(true)
      expect(told).toContainEqual({ node: name, message: 'begun' })
      expect(told).toContainEqual({ node: name, ok: true })
    }
  })

  it("keeps one node's failure to itself", async () => {
    const answer = await harness.call(`${path}?verb=import&reference=bad:1`, { method: 'POST', body: 'not a tar' })
    expect(lines(answer)).toContainEqual({ node: 'n1', ok: true })
    expect(lines(answer)).toContainEqual({ node: 'n2', ok: false, error: 'not an archive', code: 'invalid' })
  })

  it('asks only the nodes that are named', async () => {
    const answer = await harness.call(`${path}?verb=load&node=n1,n9`, { method: 'POST', body: 'x' })
    expect(lines(answer).filter(({ ok }) => ok === true)).toEqual([{ node: 'n1', ok: true }])
    expect(lines(answer)).toContainEqual(expect.objectContaining({ node: 'n9', ok: false, code: 'unavailable' }))
  })

  it('lists, and refuses what it cannot do', async () => {
    const list = await harness.call(path)
    expect(list.json.items).toMatchObject([{ node: 'n1', images: [{ names: ['a:1'] }] }, { node: 'n2' }])
    expect(await harness.call(`${path}?verb=dance`, { method: 'POST' })).toMatchObject({ status: 400 })
    expect(await harness.call(path, { method: 'DELETE' })).toMatchObject({ status: 400 })
    expect(await harness.call(`${path}?verb=pull`, { method: 'POST' })).toMatchObject({ status: 400 })
  })
})
