/** Volumes as running pods see them: tokens, fields, limits, mounts that are read-only or shared. One agent for all of them. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ConfigMap, configMapKind } from '../../src/api/configmap.ts'
import type { Container, Pod, Volume } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { secretKind } from '../../src/api/secret.ts'
import { serviceAccountKind } from '../../src/api/serviceaccount.ts'
import { systemClock } from '../../src/base/clock.ts'
import { parseSigningKeys } from '../../src/base/cluster_keys.ts'
import { mountsBelow } from '../../src/base/mountinfo.ts'
import { runOk } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import { readText } from '../../src/base/records.ts'
import { createServiceAccountTokens, type ServiceAccountTokens } from '../../src/resources/service_account_tokens.ts'
import { AgentPods } from '../support/agent_pods.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let runtimeHost: RuntimeHost
let pods: AgentPods
let tokens: ServiceAccountTokens
let directory: string

const ACCESS = '/var/run/secrets/kubernetes.io/serviceaccount'
const account = (name: string, more: object = {}) =>
  pods.harness.resources.create(serviceAccountKind, {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace: 'default' },
    ...more,
  })
/** Programs here do nothing that needs a good end. */
const run: AgentPods['run'] = (name, container, spec, metadata) =>
  pods.run(name, { lifecycle: { stopSignal: 'SIGKILL' }, ...container }, spec, metadata)
const uidOf = (name: string): string | undefined => pods.harness.resources.get(podKind, 'default', name)?.metadata.uid
const sh = (script: string): Partial<Container> => ({ command: ['/bin/sh', '-c', script] })

beforeAll(async () => {
  runtimeHost = await createRuntimeHost()
  directory = mkdtempSync(join(runtimeHost.directory, 'host-'))
  pods = new AgentPods(runtimeHost)
  const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' })
  await pods.open(({ resources }) => {
    const keys = parseSigningKeys(pem.toString(), 'test')
    tokens = createServiceAccountTokens({ resources, clock: systemClock, random: systemRandom, keys })
    return { issueToken: (wish) => tokens.issueToken(wish) }
  })
  // Looked at every ten seconds: the last test sees what has become of it.
  await run(
    'greedy',
    {
      ...sh('dd if=/dev/zero of=/cache/big bs=1024 count=2048; exec sleep 1000'),
      volumeMounts: [{ name: 'cache', mountPath: '/cache' }],
    },
    { automountServiceAccountToken: false, volumes: [{ name: 'cache', emptyDir: { sizeLimit: '1Mi' } }] },
  )
})
afterAll(async () => {
  await pods.close()
  for (const mount of mountsBelow(readText('/proc/self/mountinfo') ?? '', directory))
    await runOk('umount', ['-l', mount])
  rmSync(directory, { recursive: true, force: true })
  await runtimeHost.destroy()
})

describe('a pod’s volumes', () => {
  test('the token of its account, which names the pod; also when the account comes after the pod', async () => {
    await run('speaker', {})
    await account('default')
    await pods.ready('speaker')
    const token = await pods.exec('speaker', ['/bin/cat', `${ACCESS}/token`])
    expect(tokens.verify(token)).toMatchObject({
      username: 'system:serviceaccount:default:default',
      extra: { 'authentication.kubernetes.io/pod-name': ['speaker'] },
    })
    expect(await pods.exec('speaker', ['/bin/cat', `${ACCESS}/namespace`])).toBe('default')
    expect(await pods.exec('speaker', ['/bin/cat', `${ACCESS}/ca.crt`])).toBe(pods.harness.ca.certPem.trim())
    expect(await pods.exec('speaker', ['/bin/touch', `${ACCESS}/token`])).toContain('Read-only file system')
    await pods.remove('speaker')
  })

  test('no token where pod or account want none; a token for others where it is asked for', async () => {
    await account('quiet', { automountServiceAccountToken: false })
    await run('silent', {}, { automountServiceAccountToken: false })
    await run(
      'vault',
      { volumeMounts: [{ name: 't', mountPath: '/t' }] },
      {
        serviceAccountName: 'quiet',
        volumes: [
          {
            name: 't',
            projected: {
              sources: [{ serviceAccountToken: { path: 'vault', audience: 'vault', expirationSeconds: 600 } }],
            },
          },
        ],
      },
    )
    await pods.ready('silent')
    await pods.ready('vault')
    for (const name of ['silent', 'vault']) expect(await pods.exec(name, ['/bin/ls', ACCESS])).toContain('No such file')
    const token = await pods.exec('vault', ['/bin/cat', '/t/vault'])
    expect(tokens.verify(token, ['vault'])).toMatchObject({ username: 'system:serviceaccount:default:quiet' })
    expect(() => tokens.verify(token)).toThrow('the token is for vault')
    await pods.remove('silent')
    await pods.remove('vault')
  })

  test('labels and annotations that change reach a running pod; limits are told in units', async () => {
    const items = [
      { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
      { path: 'note', fieldRef: { fieldPath: "metadata.annotations['note']" } },
      { path: 'memory', resourceFieldRef: { containerName: 'app', resource: 'limits.memory', divisor: '1Mi' } },
    ]
    await run(
      'told',
      { volumeMounts: [{ name: 'd', mountPath: '/d' }], resources: { limits: { memory: '64Mi' } } },
      { volumes: [{ name: 'd', downwardAPI: { items } }] },
      { labels: { b: '2', a: 'one' }, annotations: { note: 'first' } },
    )
    await pods.ready('told')
    const read = (file: string) => pods.exec('told', ['/bin/cat', `/d/${file}`])
    expect(await read('labels')).toBe('a="one"\nb="2"')
    expect([await read('note'), await read('memory')]).toEqual(['first', '64'])
    const id = pods.container('told')?.containerID
    await pods.harness.resources.modify<Pod>(podKind, 'default', 'told', 'all', (pod) => ({
      ...pod,
      metadata: { ...pod.metadata, labels: { a: 'two' }, annotations: { note: 'second' } },
    }))
    await pods.holds(async () => expect([await read('labels'), await read('note')]).toEqual(['a="two"', 'second']))
    expect(pods.container('told')?.containerID).toBe(id)
    await pods.remove('told')
  })

  test('what the agent writes nobody in a pod can write, root neither; no link in its place leads the agent away', async () => {
    const { resources } = pods.harness
    const made = (kind: 'ConfigMap' | 'Secret') => ({
      apiVersion: 'v1' as const,
      kind,
      metadata: { name: 'own', namespace: 'default' },
    })
    await resources.create(configMapKind, { ...made('ConfigMap'), data: { key: 'x' } })
    await resources.create(secretKind, { ...made('Secret'), data: { key: 'eA==' } })
    const sources: Omit<Volume, 'name'>[] = [
      { configMap: { name: 'own' } },
      { secret: { secretName: 'own' } },
      { downwardAPI: { items: [{ path: 'key', fieldRef: { fieldPath: 'metadata.name' } }] } },
      { projected: { sources: [{ configMap: { name: 'own' } }] } },
    ]
    await run(
      'scribbler',
      {
        ...sh('exec sleep 1000'),
        volumeMounts: [
          ...sources.map((_, i) => ({ name: `v${i}`, mountPath: `/v${i}` })),
          { name: 'v0', mountPath: '/sub', subPath: 'key' },
        ],
      },
      { automountServiceAccountToken: false, volumes: sources.map((source, i) => ({ name: `v${i}`, ...source })) },
    )
    await pods.ready('scribbler')
    const attempts = sources.flatMap((_, i) => [
      `echo y > /v${i}/new`,
      `echo y > /v${i}/key`,
      `ln -s /etc /v${i}/..other`,
      `mv /v${i}/..data /v${i}/gone`,
    ])
    for (const attempt of [...attempts, 'echo y > /sub']) {
      expect(await pods.exec('scribbler', ['/bin/sh', '-c', attempt]), attempt).toMatch(/Read-only file system/)
    }
    await pods.remove('scribbler')
  })

  test('what is mounted inside what nobody can write; it stays when that changes, and is there when a container starts again', async () => {
    const { resources } = pods.harness
    const named = { name: 'outer', namespace: 'default' }
    await resources.create(configMapKind, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: named,
      data: { key: 'one' },
    })
    await resources.create(secretKind, { apiVersion: 'v1', kind: 'Secret', metadata: named, data: { pass: 'eA==' } })
    await run(
      'nested',
      {
        ...sh('exec sleep 1000'),
        terminationMessagePath: '/etc/app/last/words',
        volumeMounts: [
          { name: 'config', mountPath: '/etc/app/' },
          { name: 'secret', mountPath: '/etc/app/certs' },
          { name: 'scratch', mountPath: '/etc/app/run/deep' },
          { name: 'config', mountPath: '/etc/app/extra.conf', subPath: 'key' },
        ],
      },
      {
        automountServiceAccountToken: false,
        volumes: [
          { name: 'config', configMap: { name: 'outer' } },
          { name: 'secret', secret: { secretName: 'outer' } },
          { name: 'scratch', emptyDir: {} },
        ],
      },
    )
    await pods.ready('nested')
    const read = (command: string) => pods.exec('nested', ['/bin/sh', '-c', `cd /etc/app; ${command}`])
    const whole = (key: string) => async () =>
      expect(await read('touch run/deep/x last/words && cat key certs/pass extra.conf')).toBe(`${key}xone`)
    await whole('one')()
    await resources.modify<ConfigMap>(configMapKind, 'default', 'outer', 'all', (map) => ({
      ...map,
      data: { key: 'two' },
    }))
    await pods.holds(whole('two'))
    const started = (await runtimeHost.driver.listContainers()).find(({ podUid }) => podUid === uidOf('nested'))
    process.kill(started?.pid ?? 0, 'SIGKILL')
    await pods.holds(() => expect(pods.container('nested')).toMatchObject({ restartCount: 1, ready: true }))
    expect(await read('touch run/deep/y last/words && cat key certs/pass')).toBe('twox')
    await pods.remove('nested')
  })

  test('a sub-path by variables, and none where one is missing', async () => {
    const mounted = (subPathExpr: string): Partial<Container> => ({
      ...sh('touch /s/here; exec sleep 1000'),
      env: [{ name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
      volumeMounts: [{ name: 'h', mountPath: '/s', subPathExpr }],
    })
    const spec = { volumes: [{ name: 'h', hostPath: { path: directory } }] }
    await run('by-name', mounted('logs/$(NAME)'), spec)
    await run('lost', mounted('logs/$(MISSING)'), spec)
    await pods.ready('by-name')
    await pods.holds(() => expect(readText(join(directory, 'logs/by-name/here'))).toBe(''))
    await pods.holds(() =>
      expect(pods.container('lost')?.state?.waiting).toEqual({
        reason: 'CreateContainerConfigError',
        message: 'subPathExpr "logs/$(MISSING)" of container "app": no variable MISSING',
      }),
    )
    await pods.remove('by-name')
    await pods.remove('lost')
  })

  test('read-only down to the last mount below; mounts that come later, on both sides', async () => {
    const shared = join(directory, 'shared')
    mkdirSync(shared)
    await runOk('mount', ['-t', 'tmpfs', 'drvt', shared])
    await runOk('mount', ['--make-shared', shared])
    for (const name of ['before', 'after', 'inside']) mkdirSync(join(shared, name))
    await runOk('mount', ['-t', 'tmpfs', 'drvt', join(shared, 'before')])
    const mount = (mountPath: string, more: object) => ({ name: 'h', mountPath, ...more })
    await run(
      'mounts',
      {
        ...sh('mount -t tmpfs drvt /both/inside && touch /both/inside/mine; exec sleep 1000'),
        securityContext: { privileged: true },
        volumeMounts: [
          mount('/ro', { readOnly: true }),
          mount('/rro', { readOnly: true, recursiveReadOnly: 'Enabled' }),
          mount('/later', { mountPropagation: 'HostToContainer' }),
          mount('/both', { mountPropagation: 'Bidirectional' }),
        ],
      },
      { volumes: [{ name: 'h', hostPath: { path: shared } }] },
    )
    await pods.ready('mounts')
    const write = (path: string) => pods.exec('mounts', ['/bin/touch', path])
    expect(await write('/ro/x')).toContain('Read-only')
    expect(await write('/ro/before/x')).toBe('')
    expect(await write('/rro/before/x')).toContain('Read-only')
    await runOk('mount', ['-t', 'tmpfs', 'drvt', join(shared, 'after')])
    writeFileSync(join(shared, 'after/new'), 'seen')
    expect(await pods.exec('mounts', ['/bin/cat', '/later/after/new'])).toBe('seen')
    expect(await pods.exec('mounts', ['/bin/ls', '/ro/after'])).toBe('')
    await pods.holds(() => expect(readText(join(shared, 'inside/mine'))).toBe(''))
    await pods.remove('mounts')
  })

  test('a pod whose disk volume outgrows its limit is evicted', async () => {
    await pods.holds(() =>
      expect(pods.status('greedy')).toMatchObject({
        phase: 'Failed',
        reason: 'Evicted',
        message: 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi".',
      }),
    )
    await pods.holds(() => expect(pods.harness.events.map(({ reason }) => reason)).toContain('Evicted'))
    await pods.remove('greedy')
    await pods.holds(() => expect(runtimeHost.remains().filter((entry) => !entry.includes(directory))).toEqual([]))
  })
})
