/** The published JavaScript client, unchanged, against the real server: objects, informers, server-side apply, streams. */
import { connect, createServer } from 'node:net'
import { PassThrough } from 'node:stream'
import {
  type ApiException,
  AppsV1Api,
  CoreV1Api,
  Exec,
  KubeConfig,
  KubernetesObjectApi,
  makeInformer,
  PatchStrategy,
  PortForward,
  setHeaderOptions,
  type V1ConfigMap,
  type V1Status,
} from '@kubernetes/client-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { podKind } from '../../src/api/pod_kind.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'
import { gatewayOf, type NodeCall } from '../support/frame_pair.ts'

const namespace = 'default'
let harness: Harness
let config: KubeConfig

/** A program that shouts back what it hears, and ends with 3; ports that echo. */
async function node({ verb, stream }: NodeCall): Promise<void> {
  for await (const { channel, data } of stream.frames) {
    if (channel === CHANNEL.close) break
    const answer = verb === 'exec' ? Buffer.from(Buffer.from(data).toString().toUpperCase()) : data
    await stream.send({ channel: CHANNEL.stdout, data: answer })
  }
  if (verb !== 'exec') return
  const causes = [{ reason: 'ExitCode', message: '3' }]
  const status = { metadata: {}, status: 'Failure', reason: 'NonZeroExitCode', message: 'exit 3', details: { causes } }
  await stream.send({ channel: CHANNEL.error, data: Buffer.from(JSON.stringify(status)) })
}

beforeAll(async () => {
  harness = await startHarness({ gateway: gatewayOf({ n1: node }) })
  const spec = { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }] }
  await harness.resources.create(podKind, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace }, spec })
  await harness.resources.modify(podKind, namespace, 'p', 'status', (pod) => ({
    ...pod,
    status: {
      phase: 'Running' as const,
      containerStatuses: [
        {
          name: 'c',
          ready: true,
          restartCount: 0,
          image: 'x',
          imageID: 'x',
          state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
        },
      ],
    },
  }))
  config = new KubeConfig()
  config.loadFromFile(harness.kubeconfig)
})
afterAll(() => harness.stop())

const map = (name: string, data: Record<string, string>): V1ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace, labels: { of: 'client' } },
  data,
})

describe('@kubernetes/client-node', () => {
  it('creates, reads, replaces, lists by label and deletes', async () => {
    const core = config.makeApiClient(CoreV1Api)
    const made = await core.createNamespacedConfigMap({ namespace, body: map('plain', { a: '1' }) })
    expect(made.metadata?.creationTimestamp).toBeInstanceOf(Date)
    await core.replaceNamespacedConfigMap({ namespace, name: 'plain', body: { ...made, data: { a: '2' } } })
    const found = await core.readNamespacedConfigMap({ namespace, name: 'plain' })
    expect(found.data).toEqual({ a: '2' })
    const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: 'of=client' })
    expect(listed.items.map(({ metadata }) => metadata?.name)).toEqual(['plain'])
    await core.deleteNamespacedConfigMap({ namespace, name: 'plain' })
    const error: unknown = await core.readNamespacedConfigMap({ namespace, name: 'plain' }).catch((thrown) => thrown)
    expect((error as ApiException<unknown>).code).toBe(404)
  })

  it('follows changes with an informer', async () => {
    const core = config.makeApiClient(CoreV1Api)
    const path = `/api/v1/namespaces/${namespace}/configmaps`
    const informer = makeInformer<V1ConfigMap>(
      config,
      path,
      () => core.listNamespacedConfigMap({ namespace, labelSelector: 'of=client' }),
      'of=client',
    )
    const seen: string[] = []
    for (const verb of ['add', 'update', 'delete'] as const) {
      informer.on(verb, ({ metadata, data }) => seen.push(`${verb} ${metadata?.name} ${data?.a}`))
    }
    await core.createNamespacedConfigMap({ namespace, body: map('before', { a: '1' }) })
    await informer.start()
    try {
      await core.createNamespacedConfigMap({ namespace, body: map('after', { a: '1' }) })
      await core.replaceNamespacedConfigMap({ namespace, name: 'after', body: map('after', { a: '2' }) })
      await core.deleteNamespacedConfigMap({ namespace, name: 'before' })
      await eventually(() => seen.includes('delete before 1'))
      expect(seen).toEqual(['add before 1', 'add after 1', 'update after 2', 'delete before 1'])
      expect(informer.list().map(({ metadata }) => metadata?.name)).toEqual(['after'])
      expect(informer.get('after', namespace)?.data).toEqual({ a: '2' })
    } finally {
      await informer.stop()
    }
  })

  it('runs a program with its input, its output and its end', async () => {
    const [input, output, errors] = [new PassThrough(), new PassThrough(), new PassThrough()]
    let text = ''
    output.setEncoding('utf8').on('data', (data: string) => {
      text += data
    })
    const status = await new Promise<V1Status>((resolve, reject) => {
      new Exec(config)
        .exec(namespace, 'p', 'c', ['shout'], output, errors, input, false, resolve)
        .then(() => input.end('hello'), reject)
    })
    expect(text).toBe('HELLO')
    expect(status).toMatchObject({ status: 'Failure', details: { causes: [{ reason: 'ExitCode', message: '3' }] } })
  })

  it('forwards a port', async () => {
    const forward = new PortForward(config)
    const server = createServer((socket) => {
      forward.portForward(namespace, 'p', [7], socket, null, socket).catch((error: Error) => socket.destroy(error))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const address = server.address()
      const socket = connect({ port: typeof address === 'object' ? (address?.port ?? 0) : 0, host: '127.0.0.1' })
      const data = Buffer.alloc(300_000, 'what is sent comes back ')
      socket.write(data)
      let received = Buffer.alloc(0)
      for await (const chunk of socket) {
        received = Buffer.concat([received, chunk as Buffer])
        if (received.length >= data.length) break
      }
      expect(received.equals(data)).toBe(true)
    } finally {
      server.close()
    }
  })

  it('applies on the server, by typed and by generic client', async () => {
    const apps = config.makeApiClient(AppsV1Api)
    const labels = { app: 'applied' }
    const body = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'applied', namespace },
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'img:1' }] } },
      },
    }
    const asApply = setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply)
    const patch = { name: 'applied', namespace, fieldManager: 'js', force: true }
    const made = await apps.patchNamespacedDeployment({ ...patch, body }, asApply)
    expect(made.metadata?.managedFields?.map(({ manager, operation }) => [manager, operation])).toEqual([
      ['js', 'Apply'],
    ])
    const objects = KubernetesObjectApi.makeApiClient(config)
    const other = { ...body, spec: { ...body.spec, replicas: 3 } }
    const apply = (force: boolean): Promise<unknown> =>
      objects.patch(other, undefined, undefined, 'other', force, PatchStrategy.ServerSideApply)
    const refused: unknown = await apply(false).catch((thrown: unknown) => thrown)
    expect((refused as ApiException<string>).code).toBe(409)
    expect(JSON.parse((refused as ApiException<string>).body)).toMatchObject({
      message: 'Apply failed with 1 conflict: conflict with "js": .spec.replicas',
    })
    expect(await apply(true)).toMatchObject({ spec: { replicas: 3 } })
    const { replicas: _dropped, ...spec } = other.spec
    const less = { ...other, spec }
    await objects.patch(less, undefined, undefined, 'other', true, PatchStrategy.ServerSideApply)
    expect((await apps.readNamespacedDeployment({ name: 'applied', namespace })).spec?.replicas).toBe(1)
  })
})
