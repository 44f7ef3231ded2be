/** Tokens on their way from the server to a pod's files. */
import { describe, expect, test } from 'vitest'
import { fieldFile } from '../../src/agent/pod/environment.ts'
import { tokenRefreshMs } from '../../src/agent/pod/token_age.ts'
import { TokenRequests } from '../../src/agent/token_requests.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { DroverError } from '../../src/base/errors.ts'
import { answerTokenRequest, type TokenDesk } from '../../src/dispatch/tokens.ts'
import {
  type AgentMessage,
  decodeAgentMessage,
  decodeServerMessage,
  encodeAgentMessage,
  encodeServerMessage,
  type TokenAnswer,
  type TokenRequest,
} from '../../src/rpc/messages.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { podOf, World } from '../support/pod_world.ts'
import { runResources } from '../support/resources.ts'

const HOUR_MS = 3_600_000
const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const tokenOf = (issuedMs: number, forMs: number, name = 't'): string =>
  `${encode({})}.${encode({ iat: issuedMs / 1000, exp: (issuedMs + forMs) / 1000, name })}.s`

const REQUEST: TokenRequest = {
  type: 'tokenRequest',
  requestId: 7,
  namespace: 'default',
  podName: 'p',
  podUid: 'u',
  serviceAccount: 'default',
  audiences: ['vault', 'api'],
  expirationSeconds: 600,
}
const ANSWER: TokenAnswer = { type: 'tokenAnswer', requestId: 7, token: 'abc', errorCode: '', errorMessage: '' }

describe('requests for tokens', () => {
  test('cross the wire', () => {
    expect(decodeAgentMessage(encodeAgentMessage(REQUEST))).toEqual(REQUEST)
    expect(decodeServerMessage(encodeServerMessage(ANSWER))).toEqual(ANSWER)
    const refusal = { ...ANSWER, token: '', errorCode: 'forbidden', errorMessage: 'no' }
    expect(decodeServerMessage(encodeServerMessage(refusal))).toEqual(refusal)
  })

  test('are answered each by its number, fail with the session, and do not wait for ever', async () => {
    const clock = createManualClock()
    const sent: AgentMessage[] = []
    let live = true
    const requests = new TokenRequests(clock, (message) => {
      if (live) sent.push(message)
      return live
    })
    const { type: _type, requestId: _id, ...wish } = REQUEST
    const [first, second] = [requests.request(wish), requests.request(wish)]
    const ids = sent.map((message) => (message.type === 'tokenRequest' ? message.requestId : 0))
    requests.answered({ ...ANSWER, requestId: ids[1] ?? 0, token: 'second' })
    requests.answered({ ...ANSWER, requestId: ids[0] ?? 0, errorCode: 'forbidden', errorMessage: 'not yours' })
    await expect(first).rejects.toMatchObject({ code: 'forbidden', message: 'not yours' })
    expect(await second).toBe('second')
    const cut = requests.request(wish)
    requests.beginSession()
    await expect(cut).rejects.toMatchObject({ code: 'unavailable' })
    const late = requests.request(wish)
    const refused = expect(late).rejects.toMatchObject({ code: 'timeout' })
    await clock.advance(10_000)
    await refused
    live = false
    await expect(requests.request(wish)).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('are granted for pods of the node that asks, as the account that they run as', async () => {
    const world = await runResources({ clock: createManualClock() })
    try {
      const { metadata } = await world.resources.create(podKind, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'p', namespace: 'default' },
        spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] },
      })
      const desk: TokenDesk = {
        resources: world.resources,
        clock: createManualClock(),
        issueToken: ({ audiences = [], expirationSeconds }) => ({
          token: `${audiences.join('+')} ${expirationSeconds}`,
          expiresAt: '',
          expiresAtMs: 0,
        }),
      }
      const request = { ...REQUEST, podUid: metadata.uid }
      expect(await answerTokenRequest(desk, 'n1', request)).toEqual({ ...ANSWER, token: 'vault+api 600' })
      const refusals = [
        answerTokenRequest(desk, 'n2', request),
        answerTokenRequest(desk, 'n1', { ...request, podUid: 'another' }),
        answerTokenRequest(desk, 'n1', { ...request, serviceAccount: 'admin' }),
        answerTokenRequest(desk, 'n1', { ...request, podName: 'q' }),
      ]
      for (const refusal of await Promise.all(refusals))
        expect(refusal).toMatchObject({ errorCode: 'forbidden', token: '' })
      const { issueToken: _sign, ...unsigned } = desk
      expect(await answerTokenRequest(unsigned, 'n1', request)).toMatchObject({ errorCode: 'unsupported' })
    } finally {
      await world.stop()
    }
  })
})

describe('tokens in files', () => {
  test('are renewed after four fifths of their time, or after a day', () => {
    expect(tokenRefreshMs(tokenOf(0, HOUR_MS), 0)).toBe(0.8 * HOUR_MS)
    expect(tokenRefreshMs(tokenOf(0, 1_000 * HOUR_MS), HOUR_MS)).toBe(23 * HOUR_MS)
    expect(tokenRefreshMs(tokenOf(0, HOUR_MS), HOUR_MS)).toBeLessThan(0)
    expect(tokenRefreshMs('no token', 0)).toBe(0)
  })

  test('a pod without a server starts without its token, gets it when there is one, and then a new one in time', async () => {
    const world = new World(podOf({ automountServiceAccountToken: true }))
    const asked: string[] = []
    await world.run(2)
    expect(world.last?.status.phase).toBe('Running')
    expect(world.host.access.get('u1')).toEqual({ 'ca.crt': 'the CA', namespace: 'default' })
    const token = () => world.host.access.get('u1')?.token
    world.giveToken = async ({ podName, serviceAccount }) => {
      asked.push(`${podName} ${serviceAccount}`)
      return tokenOf(world.clock.now(), HOUR_MS, String(asked.length))
    }
    await world.run(2)
    const first = token()
    expect(first).toBeDefined()
    await world.run(5)
    world.restartAgent()
    await world.run(3)
    expect([token(), asked]).toEqual([first, ['p default']])
    world.giveToken = async () => {
      throw new DroverError('unavailable', 'gone')
    }
    await world.clock.advance(0.8 * HOUR_MS)
    await world.run(2)
    expect(token()).toBe(first)
    world.giveToken = async () => tokenOf(world.clock.now(), HOUR_MS, 'new')
    await world.run(12)
    expect(token()).not.toBe(first)
    expect(world.host.running('app')[0]?.request.mounts).toContainEqual({
      hostPath: '/fake/u1/access',
      containerPath: '/var/run/secrets/kubernetes.io/serviceaccount',
      readOnly: true,
    })
  })

  test('a refusal keeps the pod from starting, and says why', async () => {
    const world = new World(podOf({ automountServiceAccountToken: true }))
    world.giveToken = async () => {
      throw new DroverError('notFound', 'serviceaccounts "default" not found')
    }
    await world.run(2)
    expect(world.events).toEqual(['FailedMount'])
    expect(world.host.running()).toEqual([])
  })
})

test('labels and annotations stand in a file as a line each, quoted', () => {
  const pod = { ...podOf(), metadata: { name: 'p', labels: { b: 'x"y', a: '1' }, annotations: { k: 'one\ntwo' } } }
  const context = {
    pod,
    nodeName: 'n',
    podIP: '',
    hostIP: '',
    nodeCpuMillis: 1,
    nodeMemoryBytes: 1,
    nodeStorageBytes: 1,
    services: [],
  }
  const sources = { configMap: () => undefined, secret: () => undefined }
  const read = (path: string): string => fieldFile(path, { ...context, sources })
  expect(read('metadata.labels')).toBe('a="1"\nb="x\\"y"')
  expect(read('metadata.annotations')).toBe('k="one\\ntwo"')
  expect(read("metadata.annotations['k']")).toBe('one\ntwo')
  expect(() => read('spec.nothing')).toThrow('not offered')
})
