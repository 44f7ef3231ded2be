/** When a pod's image is asked for again, and with whose credentials. */
import { describe, expect, test } from 'vitest'
import { Desired } from '../../src/agent/desired.ts'
import { pullCredentials, pullDelayMs } from '../../src/agent/pod/pull.ts'
import { credentialsOf } from '../../src/agent/streams/images.ts'
import { DroverError } from '../../src/base/errors.ts'
import { jsonBytes } from '../../src/rpc/messages.ts'
import { podOf, World } from '../support/pod_world.ts'

describe('the next pull', () => {
  test.each([
    [1, undefined, 10_000],
    [2, undefined, 20_000],
    [5, undefined, 160_000],
    [6, undefined, 300_000],
    [1000, undefined, 300_000],
    [1, 0, 10_000],
    [1, 9, 10_000],
    [1, 11, 11_000],
    [2, 15, 20_000],
    [3, 120, 120_000],
    [1, 300, 300_000],
    [1, 301, 300_000],
    [1, Number.MAX_SAFE_INTEGER, 300_000],
  ])('after %i failures, asked for %s s: in %i ms', (failures, retryAfterSeconds, delayMs) => {
    expect(pullDelayMs(failures, retryAfterSeconds)).toBe(delayMs)
  })

  test('waits as long as the registry asks', async () => {
    const world = new World(podOf({ containers: [{ name: 'app', image: 'far:1' }] }))
    let pulls = 0
    world.host.before = (call) => {
      if (!call.startsWith('pull')) return
      if (++pulls === 1) throw new DroverError('tooManyRequests', 'slow down', { retryAfterSeconds: 60 })
    }
    world.host.registry.add('far:1')
    await world.run(2)
    expect(pulls).toBe(1)
    await world.run(55)
    expect(pulls).toBe(1)
    await world.run(10)
    expect(pulls).toBe(2)
    expect(world.last?.status.phase).toBe('Running')
  })
})

describe('credentials', () => {
  type Auths = Record<string, object>
  const login = (username: string) => ({ username, password: `of ${username}` })
  /** From a pod's secrets by name, in the order in which the pod names them. */
  const given = (secrets: Record<string, Record<string, string>>, order = Object.keys(secrets)) => {
    const desired = new Desired()
    const changes = Object.entries(secrets).map(([name, data]) => ({
      key: `secret/default/${name}`,
      json: jsonBytes({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'default' }, data }),
    }))
    const base = { type: 'changes', table: 'assignments', complete: true, baseSequence: 0, sequence: 1 } as const
    desired.apply({ ...base, last: true, changes })
    const pod = podOf({ imagePullSecrets: order.map((name) => ({ name })) })
    const find = pullCredentials(pod, { desired })
    return (registry: string, repository: string) => find(registry, repository).map(({ username }) => username)
  }
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const secret = (auths: Auths) => ({ '.dockerconfigjson': base64(JSON.stringify({ auths })) })

  test("Docker Hub's, as kubectl writes them", () => {
    const find = given({ hub: secret({ 'https://index.docker.io/v1/': { ...login('ada'), auth: base64('ada:p') } }) })
    expect(find('docker.io', 'library/busybox')).toEqual(['ada'])
    expect(find('quay.io', 'library/busybox')).toEqual([])
  })

  test('all that match: longest path first, then as the pod names its secrets', () => {
    const secrets = {
      one: secret({ 'quay.io': login('one'), 'quay.io/team': login('team'), 'lab.test': login('lab') }),
      two: secret({ 'quay.io': login('two'), '*.io': login('glob') }),
      old: { '.dockercfg': base64(JSON.stringify({ 'https://quay.io': login('old') })) },
    }
    expect(given(secrets)('quay.io', 'team/app')).toEqual(['team', 'one', 'two', 'glob', 'old'])
    expect(given(secrets, ['old', 'two', 'none', 'one'])('quay.io', 'app')).toEqual(['old', 'two', 'glob', 'one'])
    expect(given(secrets)('lab.test', 'team/app')).toEqual(['lab'])
    expect(given(secrets)('mirror.test', 'team/app')).toEqual([])
  })

  test('a secret that cannot be read gives none, and hides no other', () => {
    const bad = { '.dockerconfigjson': base64('{"auths": ') }
    const list = { '.dockerconfigjson': base64('[]') }
    expect(given({ bad, list, empty: {}, good: secret({ 'quay.io': login('ada') }) })('quay.io', 'a')).toEqual(['ada'])
  })

  test('so many and no more', () => {
    const entries = Array.from({ length: 40 }, (_, i) => [`quay.io/${'a'.repeat(i)}`, login(`user${i}`)])
    const found = given({ many: secret(Object.fromEntries(entries)) })('quay.io', 'a'.repeat(50))
    expect(found).toHaveLength(16)
    expect(found[0]).toBe('user39')
  })

  test('of a request: for the registry of its image, not for its mirrors', () => {
    const find = credentialsOf({ reference: 'team/app:v1', ...login('ada') })
    expect(find('docker.io', 'team/app')).toEqual([login('ada')])
    expect(find('mirror.test', 'team/app')).toEqual([])
    expect(credentialsOf({ reference: 'team/app:v1', username: 'ada' })('docker.io', 'team/app')).toEqual([])
  })
})
