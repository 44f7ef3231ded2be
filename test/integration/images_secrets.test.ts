/** Pull secrets reach the node that pulls: those that a pod names, and those of its service account. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RegistryCredentials } from '../../src/agent/images/images.ts'
import { parseReference } from '../../src/agent/images/reference.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { secretKind } from '../../src/api/secret.ts'
import { serviceAccountKind } from '../../src/api/serviceaccount.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { addressOf, holds, SessionHarness } from '../support/node_session.ts'

const HOST = 'registry.local:5000'
let harness: SessionHarness
let asked: Map<string, readonly RegistryCredentials[] | undefined>
beforeEach(async () => {
  asked = new Map()
  harness = new SessionHarness()
  await harness.open()
  const host = new FakeHost()
  const drivers = fakeDrivers(host)
  const { pull } = drivers.images
  drivers.images.pull = (reference, options) => {
    const { registry, repository } = parseReference(reference)
    asked.set(reference, options.credentials?.(registry, repository))
    host.registry.add(reference)
    return pull(reference, options)
  }
  const dispatch = await harness.startDispatch()
  await harness.startAgent('n1', drivers, addressOf(dispatch))
})
afterEach(() => harness.close())

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64')
const auth = (user: string): string => Buffer.from(`${user}:secret of ${user}`).toString('base64')

async function secret(name: string, type: string, data: Record<string, string>): Promise<void> {
  const metadata = { name, namespace: 'default' }
  await harness.resources.create(secretKind, { apiVersion: 'v1', kind: 'Secret', metadata, type, data })
}

async function pull(name: string, spec: Partial<Pod['spec']>, image = `${HOST}/${name}:1`) {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { hostNetwork: true, containers: [{ name: 'main', image }], ...spec },
  }
  await harness.resources.create(podKind, pod)
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (object) => ({
    ...object,
    spec: { ...object.spec, nodeName: 'n1' },
  }))
  await holds(() => expect(asked.has(image)).toBe(true), 10_000)
  return asked.get(image)
}

test('of both forms, by the registry that they are for', async () => {
  const auths = { [HOST]: { auth: auth('ada') }, 'other.local': { auth: auth('eve') } }
  await secret('new', 'kubernetes.io/dockerconfigjson', { '.dockerconfigjson': encoded({ auths }) })
  await secret('old', 'kubernetes.io/dockercfg', {
    '.dockercfg': encoded({ [`https://${HOST}`]: { username: 'bob', password: 'p' } }),
  })
  const ada = { username: 'ada', password: 'secret of ada' }
  const bob = { username: 'bob', password: 'p' }
  expect(await pull('a', { imagePullSecrets: [{ name: 'new' }] })).toEqual([ada])
  expect(await pull('b', { imagePullSecrets: [{ name: 'old' }] })).toEqual([bob])
  expect(await pull('c', {})).toEqual([])
  expect(await pull('d', { imagePullSecrets: [{ name: 'old' }, { name: 'new' }] })).toEqual([bob, ada])
})

test("Docker Hub's, by the name that kubectl gives it", async () => {
  const auths = { 'https://index.docker.io/v1/': { username: 'ada', password: 'p', auth: auth('ada') } }
  await secret('hub', 'kubernetes.io/dockerconfigjson', { '.dockerconfigjson': encoded({ auths }) })
  const found = await pull('a', { imagePullSecrets: [{ name: 'hub' }] }, 'team/app:1')
  expect(found).toEqual([{ username: 'ada', password: 'secret of ada' }])
})

test("those of the pod's account, unless it names its own", async () => {
  const auths = (user: string) => ({ auths: { [HOST]: { auth: auth(user) } } })
  await secret('account', 'kubernetes.io/dockerconfigjson', { '.dockerconfigjson': encoded(auths('robot')) })
  await secret('own', 'kubernetes.io/dockerconfigjson', { '.dockerconfigjson': encoded(auths('ada')) })
  await harness.resources.create(serviceAccountKind, {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'builder', namespace: 'default' },
    imagePullSecrets: [{ name: 'account' }],
  })
  const users = (found: readonly RegistryCredentials[] | undefined) => found?.map(({ username }) => username)
  expect(users(await pull('a', { serviceAccountName: 'builder' }))).toEqual(['robot'])
  const both = { serviceAccountName: 'builder', imagePullSecrets: [{ name: 'own' }] }
  expect(users(await pull('b', both))).toEqual(['ada'])
})
