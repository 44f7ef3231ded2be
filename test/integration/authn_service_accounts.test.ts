/** Tokens of service accounts with a real server and real kubectl: asked for, used, reviewed, refused. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { podKind } from '../../src/api/pod_kind.ts'
import { serviceAccountKind } from '../../src/api/serviceaccount.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { createTokenSecretController } from '../../src/controllers/serviceaccount/token_secrets.ts'
import { createEventRecorder } from '../../src/resources/events.ts'
import { GUEST_TOKEN, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
  const metadata = { name: 'builder', namespace: 'default' }
  await harness.resources.create(serviceAccountKind, { apiVersion: 'v1', kind: 'ServiceAccount', metadata })
})
afterAll(() => harness.stop())

const TOKEN_PATH = '/api/v1/namespaces/default/serviceaccounts/builder/token'
const WHO = '/apis/authentication.k8s.io/v1/selfsubjectreviews'

async function ask(spec: object): Promise<string> {
  const { status, json } = await harness.call(TOKEN_PATH, { method: 'POST', body: { spec } })
  expect(status).toBe(201)
  return String((json.status as { token?: string }).token)
}

const review = async (token: string, audiences?: string[]): Promise<unknown> => {
  const { status, json } = await harness.call('/apis/authentication.k8s.io/v1/tokenreviews', {
    method: 'POST',
    body: {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, ...(audiences ? { audiences } : {}) },
    },
  })
  expect(status).toBe(201)
  return json.status
}

describe('service accounts', () => {
  it('get tokens from kubectl and are known by them', async () => {
    const made = await harness.kubectl(['create', 'token', 'builder', '--duration', '20m'])
    expect([made.exitCode, made.stderr]).toEqual([0, ''])
    const token = made.stdout.trim()
    const me = await harness.call(WHO, { method: 'POST', body: {}, token })
    expect(me.json).toMatchObject({
      status: {
        userInfo: {
          username: 'system:serviceaccount:default:builder',
          groups: ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'],
        },
      },
    })
  })

  it('lose what is bound to a pod when the pod goes', async () => {
    const pod = await harness.resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'default' },
      spec: { serviceAccountName: 'builder', containers: [{ name: 'c', image: 'i' }] },
    })
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: pod.metadata.uid }
    const token = await ask({ boundObjectRef })
    expect((await harness.call(WHO, { method: 'POST', body: {}, token })).status).toBe(201)
    await harness.resources.delete(podKind, 'default', 'p')
    const refused = await harness.call(WHO, { method: 'POST', body: {}, token })
    expect(refused.json).toMatchObject({
      code: 401,
      reason: 'Unauthorized',
      message: 'Unauthorized: pod default/p has gone',
    })
    expect(await review(token)).toMatchObject({ error: expect.stringContaining('has gone') })
  })

  it('are reviewed for their audience', async () => {
    const token = await ask({ audiences: ['vault'] })
    expect((await harness.call(WHO, { method: 'POST', body: {}, token })).status).toBe(401)
    expect(await review(token, ['vault', 'x'])).toMatchObject({
      authenticated: true,
      audiences: ['vault'],
      user: { username: 'system:serviceaccount:default:builder' },
    })
    expect(await review(token)).toMatchObject({ error: expect.stringContaining('for vault') })
    expect(await review(GUEST_TOKEN)).toMatchObject({ authenticated: true, user: { username: 'guest' } })
    expect(await review('nonsense')).toMatchObject({ error: expect.stringContaining('not known') })
  })

  it('have tokens in Secrets, which are filled, used, mended, and go with the account', async () => {
    const { resources, clock, serviceAccounts } = harness
    const stop = new AbortController()
    const { fence } = await harness.store.campaign('/test/leader', 'test', stop.signal)
    const context = { resources, clock, random: systemRandom, log: silentLogger, fence }
    const controller = createTokenSecretController({
      ...context,
      events: createEventRecorder({ ...context, component: 'test' }),
      tokenSigner: { tokens: serviceAccounts, caPem: harness.ca },
    })
    const running = controller.run(stop.signal)
    const SECRETS = '/api/v1/namespaces/default/secrets'
    const body = (name: string, account: string) => ({
      type: 'kubernetes.io/service-account-token',
      metadata: { name, annotations: { 'kubernetes.io/service-account.name': account } },
    })
    const read = async (name: string): Promise<Record<string, string>> => {
      const { data = {} } = (await harness.call(`${SECRETS}/${name}`)).json as { data?: Record<string, string> }
      return Object.fromEntries(
        Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
      )
    }
    const who = async (token: string) => (await harness.call(WHO, { method: 'POST', body: {}, token })).json
    const filled = async (name: string): Promise<Record<string, string>> => {
      let data: Record<string, string> = {}
      await eventually(async () => {
        data = await read(name)
        return data.token !== undefined
      })
      return data
    }
    try {
      const nameless = { type: 'kubernetes.io/service-account-token', metadata: { name: 'x' } }
      const refused = await harness.call(SECRETS, { method: 'POST', body: nameless })
      expect([refused.status, refused.json.message]).toEqual([422, expect.stringContaining('service-account.name')])

      // The Secret first, as a manifest may list it.
      for (const name of ['robot-token', 'robot-other']) {
        expect((await harness.call(SECRETS, { method: 'POST', body: body(name, 'robot') })).status).toBe(201)
      }
      const metadata = { name: 'robot' }
      await harness.call('/api/v1/namespaces/default/serviceaccounts', { method: 'POST', body: { metadata } })
      const data = await filled('robot-token')
      expect(data).toMatchObject({ 'ca.crt': harness.ca, namespace: 'default' })
      const userInfo = { username: 'system:serviceaccount:default:robot' }
      expect(await who(data.token ?? '')).toMatchObject({ status: { userInfo } })

      await harness.call(`${SECRETS}/robot-token`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({ data: { token: null, 'ca.crt': 'eA==' } }),
      })
      const mended = await filled('robot-token')
      expect(mended['ca.crt']).toBe(harness.ca)
      expect(await who(mended.token ?? '')).toMatchObject({ status: { userInfo } })

      // A token ends with its Secret, and all of them with the account.
      const other = (await filled('robot-other')).token ?? ''
      expect(await who(other)).toMatchObject({ status: { userInfo } })
      await harness.call(`${SECRETS}/robot-other`, { method: 'DELETE' })
      expect(await who(other)).toMatchObject({ code: 401, message: expect.stringContaining('has gone') })
      await harness.call('/api/v1/namespaces/default/serviceaccounts/robot', { method: 'DELETE' })
      expect(await who(mended.token ?? '')).toMatchObject({ code: 401 })
      await eventually(async () => (await harness.call(`${SECRETS}/robot-token`)).status === 404)
    } finally {
      stop.abort()
      await running
    }
  })

  it('publish their keys', async () => {
    const { json } = await harness.call('/.well-known/openid-configuration')
    expect(json).toMatchObject({ id_token_signing_alg_values_supported: ['ES256'] })
    expect((await harness.call('/openid/v1/jwks')).json).toMatchObject({ keys: [{ kty: 'EC', crv: 'P-256' }] })
  })

  it.each([
    [{ expirationSeconds: 10 }, 422, /less than 10 minutes/],
    [{ audiences: 'x' }, 422, /spec.audiences/],
    [{ boundObjectRef: { kind: 'Deployment', name: 'x' } }, 422, /Pod, Secret or Node/],
    [{ boundObjectRef: { kind: 'Pod', name: 'nope' } }, 404, /pods "nope" not found/],
  ])('refuse %j', async (spec, status, words) => {
    const answer = await harness.call(TOKEN_PATH, { method: 'POST', body: { spec } })
    expect([answer.status, answer.json.message]).toEqual([status, expect.stringMatching(words)])
  })

  it('are there in discovery', async () => {
    const { json } = await harness.call('/api/v1')
    expect(json.resources).toContainEqual(
      expect.objectContaining({
        name: 'serviceaccounts/token',
        group: 'authentication.k8s.io',
        kind: 'TokenRequest',
        verbs: ['create'],
      }),
    )
  })
})
