import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { podKind } from '../../src/api/pod_kind.ts'
import { serviceAccountKind } from '../../src/api/serviceaccount.ts'
import { parseSigningKeys, type SigningKey } from '../../src/base/cluster_keys.ts'
import { seededRandom } from '../../src/base/random.ts'
import {
  createServiceAccountTokens,
  DEFAULT_ISSUER,
  type ServiceAccountTokens,
} from '../../src/resources/service_account_tokens.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const newKeys = (): SigningKey[] =>
  parseSigningKeys(
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    'test',
  )

const keys = newKeys()
const clock = createManualClock()
let world: TestResources
let tokens: ServiceAccountTokens

async function account(name: string): Promise<void> {
  const metadata = { name, namespace: 'default' }
  await world.resources.create(serviceAccountKind, { apiVersion: 'v1', kind: 'ServiceAccount', metadata })
}

async function pod(name: string): Promise<string> {
  const spec = { serviceAccountName: 'builder', containers: [{ name: 'c', image: 'i' }] }
  const made = await world.resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec,
  })
  return made.metadata.uid
}

beforeAll(async () => {
  world = await runResources({ clock })
  tokens = createServiceAccountTokens({ resources: world.resources, clock, random: seededRandom(1), keys })
  await account('builder')
})
afterAll(() => world.stop())

const wish = { namespace: 'default', serviceAccount: 'builder' }
const payloadOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>

describe('tokens of service accounts', () => {
  it('say who the bearer is', async () => {
    const podUid = await pod('p1')
    const { token, expiresAt, expiresAtMs } = tokens.issueToken({ ...wish, podName: 'p1', podUid })
    expect(Date.parse(expiresAt)).toBe(expiresAtMs)
    expect(tokens.verify(token)).toMatchObject({
      username: 'system:serviceaccount:default:builder',
      groups: ['system:serviceaccounts', 'system:serviceaccounts:default'],
      extra: { 'authentication.kubernetes.io/pod-name': ['p1'], 'authentication.kubernetes.io/pod-uid': [podUid] },
    })
    expect(payloadOf(token)).toMatchObject({ iss: DEFAULT_ISSUER, aud: [DEFAULT_ISSUER] })
  })

  it('can be verified by anyone with the published keys', () => {
    const { token } = tokens.issueToken(wish)
    const [jwk] = (tokens.jwks() as { keys: Record<string, string>[] }).keys
    const [head, payload, signature = ''] = token.split('.')
    const key = createPublicKey({ key: jwk ?? {}, format: 'jwk' })
    const signed = Buffer.from(`${head}.${payload}`)
    expect(verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'))).toBe(true)
    expect(JSON.parse(Buffer.from(head ?? '', 'base64url').toString())).toMatchObject({ alg: 'ES256', kid: jwk?.kid })
  })

  it('end with their time, whatever is remembered', async () => {
    const { token } = tokens.issueToken({ ...wish, expirationSeconds: 600 })
    tokens.verify(token)
    await clock.advance(605_000)
    tokens.verify(token)
    await clock.advance(6_000)
    expect(() => tokens.verify(token)).toThrow(/expired/)
    expect(() => tokens.verify(token)).toThrow(/expired/)
  })

  it('end with their pod, and are not those of the next pod of its name', async () => {
    const podUid = await pod('p2')
    const { token } = tokens.issueToken({ ...wish, podName: 'p2', podUid })
    tokens.verify(token)
    await world.resources.delete(podKind, 'default', 'p2')
    expect(() => tokens.verify(token)).toThrow(/pod default\/p2 has gone/)
    await pod('p2')
    expect(() => tokens.verify(token)).toThrow(/pod default\/p2 has gone/)
    expect(() => tokens.issueToken({ ...wish, podName: 'p2', podUid })).toThrow(/does not match the UID/)
    expect(() => tokens.issueToken({ ...wish, podName: 'nope' })).toThrow('pods "nope" not found')
  })

  it('end with their account', async () => {
    await account('other')
    const { token } = tokens.issueToken({ ...wish, serviceAccount: 'other' })
    tokens.verify(token)
    await world.resources.delete(serviceAccountKind, 'default', 'other')
    expect(() => tokens.verify(token)).toThrow(/has gone/)
    await account('other')
    expect(() => tokens.verify(token)).toThrow(/has gone/)
    expect(() => tokens.issueToken({ ...wish, serviceAccount: 'none' })).toThrow('serviceaccounts "none" not found')
  })

  it('are for those whom they name', () => {
    const { token } = tokens.issueToken({ ...wish, audiences: ['vault', 'billing'] })
    expect(() => tokens.verify(token)).toThrow(/for vault, billing, not for/)
    expect(tokens.verify(token, ['billing', 'x']).audiences).toEqual(['billing'])
  })

  it('of a pod with another account are not given', async () => {
    await account('third')
    await pod('p3')
    expect(() => tokens.issueToken({ ...wish, serviceAccount: 'third', podName: 'p3' })).toThrow(
      /pod running with different serviceaccount name "builder"/,
    )
  })

  it('are refused when anything of them was changed', () => {
    const { token } = tokens.issueToken(wish)
    const [head = '', payload = '', signature = ''] = token.split('.')
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const raised = encode({ ...payloadOf(token), sub: 'system:serviceaccount:kube-system:admin' })
    expect(() => tokens.verify(`${head}.${raised}.${signature}`)).toThrow(/signature is wrong/)
    const none = encode({ alg: 'none', kid: keys[0]?.id })
    expect(() => tokens.verify(`${none}.${payload}.`)).toThrow(/no ES256/)
    expect(() => tokens.verify(`${token}.x`)).toThrow(/no ES256/)
    for (const text of ['', 'a', 'a.b', 'a.b.c', '..', `${head}.${payload}`]) {
      expect([text, tokens.isOurs(text)]).toEqual([text, false])
      expect(() => tokens.verify(text)).toThrow(/Unauthorized/)
    }
    const stranger = createServiceAccountTokens({
      resources: world.resources,
      clock,
      random: seededRandom(2),
      keys: newKeys(),
    })
    expect(() => tokens.verify(stranger.issueToken(wish).token)).toThrow(/key that this cluster does not have/)
  })

  it('of a former key hold while that key is kept', () => {
    const { token } = tokens.issueToken(wish)
    const both = { resources: world.resources, clock, random: seededRandom(3), keys: [...newKeys(), ...keys] }
    const rotated = createServiceAccountTokens(both)
    rotated.verify(token)
    expect(() => tokens.verify(rotated.issueToken(wish).token)).toThrow(/does not have/)
  })
})
