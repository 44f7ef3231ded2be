/**
 * What Helm sends, replayed: install with hooks and `--wait`, list, status, upgrade, a conflict, rollback and uninstall,
 * as Helm 4 does it (server-side apply, watches) and as Helm 3 does it (three-way strategic patches, polling). Releases
 * are Secrets that a typed client writes in protobuf.
 * Source: helm/helm pkg/{action,kube,storage/driver}, k8s.io/client-go/util/csaupgrade.
 */
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { deploymentKind } from '../../src/api/deployment.ts'
import { jobKind } from '../../src/api/job.ts'
import { type Answer, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'
import { GoClient, type KubeJson, type Listed } from '../support/go_client.ts'
import { deleteOptionsBody, secretBody } from '../support/kubernetes_protobuf.ts'

let harness: Harness
let helm: GoClient

beforeAll(async () => {
  harness = await startHarness()
  helm = new GoClient(harness, 'Helm/4.0.0')
})
afterEach(() => helm.close())
afterAll(() => harness.stop())

const inSpace = (namespace: string): string => `/api/v1/namespaces/${namespace}`
const apps = (namespace: string): string => `/apis/apps/v1/namespaces/${namespace}`
const SERVER_SIDE = 'fieldManager=helm&fieldValidation=Strict&force=false'

/** What Helm stores: base64 of gzipped JSON, as bytes. */
function packed(release: object): string {
  return gzipSync(JSON.stringify(release)).toString('base64')
}

function unpacked(secret: unknown): unknown {
  const { data } = secret as { data: { release: string } }
  return JSON.parse(gunzipSync(Buffer.from(Buffer.from(data.release, 'base64').toString(), 'base64')).toString())
}

/** One release's Secrets, as `storage/driver/secrets.go` keeps them. */
class Releases {
  readonly #path: string
  readonly #name: string

  constructor(namespace: string, name: string) {
    this.#path = `${inSpace(namespace)}/secrets`
    this.#name = name
  }

  #body(version: number, status: string, stamp: string): Buffer {
    const labels = { name: this.#name, owner: 'helm', status, version: String(version), [stamp]: '1795248000' }
    const release = packed({ name: this.#name, version, info: { status }, manifest: 'x'.repeat(2_000) })
    return secretBody({ name: this.key(version), labels, type: 'helm.sh/release.v1', data: { release } })
  }

  key(version: number): string {
    return `sh.helm.release.v1.${this.#name}.v${version}`
  }

  create(version: number, status: string): Promise<Answer> {
    return helm.typed('POST', this.#path, this.#body(version, status, 'createdAt'))
  }

  /** Without a resourceVersion: whatever stands there is replaced. */
  update(version: number, status: string): Promise<Answer> {
    return helm.typed('PUT', `${this.#path}/${this.key(version)}`, this.#body(version, status, 'modifiedAt'))
  }

  get(version: number): Promise<Answer> {
    return helm.typed('GET', `${this.#path}/${this.key(version)}`)
  }

  delete(version: number): Promise<Answer> {
    return helm.typed('DELETE', `${this.#path}/${this.key(version)}`, deleteOptionsBody('v1'))
  }

  async query(labels: string): Promise<string[]> {
    const { json } = await helm.typed('GET', `${this.#path}?labelSelector=${encodeURIComponent(labels)}`)
    expect(json.kind).toBe('SecretList')
    return (json as unknown as Listed).items.map(({ metadata }) => metadata.name)
  }
}

const meta = (name: string, namespace: string) => ({
  name,
  namespace,
  labels: { 'app.kubernetes.io/managed-by': 'Helm' },
  annotations: { 'meta.helm.sh/release-name': name, 'meta.helm.sh/release-namespace': namespace },
})

function deployment(name: string, namespace: string, image: string, extra: object = {}): KubeJson {
  const labels = { app: name }
  const container = { name: 'main', image, ports: [{ containerPort: 80, name: 'http' }], ...extra }
  const template = { metadata: { labels }, spec: { containers: [container] } }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: meta(name, namespace),
    spec: { replicas: 2, selector: { matchLabels: labels }, template },
  }
}

const configMap = (name: string, namespace: string, data: Record<string, string>): KubeJson => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: meta(name, namespace),
  data,
})

const service = (name: string, namespace: string): KubeJson => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: meta(name, namespace),
  spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: 'http' }] },
})

const setup: KubeJson = {
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: {
    name: 'web-setup',
    namespace: 'shop',
    annotations: { 'helm.sh/hook': 'pre-install', 'helm.sh/hook-delete-policy': 'hook-succeeded' },
  },
  spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'img:1' }] } } },
}

/** The controllers' part: what they would report once everything runs. */
async function reportReady(namespace: string, name: string): Promise<void> {
  await harness.resources.modify(deploymentKind, namespace, name, 'status', (found) => {
    const replicas = found.spec.replicas ?? 1
    const generation = found.metadata.generation ?? 1
    const counts = { replicas, updatedReplicas: replicas, readyReplicas: replicas, availableReplicas: replicas }
    const available = { type: 'Available', status: 'True' as const, reason: 'MinimumReplicasAvailable', message: '' }
    return { ...found, status: { observedGeneration: generation, ...counts, conditions: [available] } }
  })
}

const expectStatus = (answer: Answer, status: number): Answer => {
  expect([answer.status, answer.json.message]).toEqual([status, status < 400 ? undefined : expect.any(String)])
  return answer
}

describe('Helm 4', () => {
  const releases = new Releases('shop', 'web')
  const settings = `${inSpace('shop')}/configmaps/web`
  const web = `${apps('shop')}/deployments/web`

  it('learns what the server can do', async () => {
    const version = await helm.json('GET', '/version?timeout=32s')
    expect(version.json.gitVersion).toMatch(/^v1\.\d+\.\d+/)
    for (const path of ['/api?timeout=32s', '/apis?timeout=32s']) {
      const { headers, json } = await helm.discovery(path)
      expect([headers['content-encoding'], json.kind]).toEqual(['gzip', 'APIGroupDiscoveryList'])
    }
    const { paths } = (await helm.json('GET', '/openapi/v3?timeout=32s')).json as {
      paths: Record<string, { serverRelativeURL: string }>
    }
    for (const group of ['api/v1', 'apis/apps/v1', 'apis/batch/v1']) {
      const document = await helm.json('GET', `${paths[group]?.serverRelativeURL}&timeout=32s`)
      expect([document.headers['content-encoding'], document.json.openapi]).toEqual(['gzip', '3.0.0'])
    }
    // Its client looks kinds up group by group, too.
    for (const path of ['/apis/apps', '/apis/apps/v1', '/api/v1']) expectStatus(await helm.json('GET', path), 200)
  })

  it('installs: namespace, release, hook, resources, and waits for each', async () => {
    expect(await releases.query('name=web,owner=helm')).toEqual([])
    const parts = [
      [settings, configMap('web', 'shop', { color: 'blue' })],
      [`${inSpace('shop')}/services/web`, service('web', 'shop')],
      [web, deployment('web', 'shop', 'img:1')],
    ] as const
    for (const [path] of parts) {
      expect((await helm.json('GET', path)).json).toMatchObject({ kind: 'Status', reason: 'NotFound', code: 404 })
    }
    const space = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { name: 'shop' } } }
    expectStatus(await helm.apply(`${inSpace('shop')}?${SERVER_SIDE}`, space), 201)
    expect((await releases.create(1, 'pending-install')).json).toMatchObject({
      kind: 'Secret',
      type: 'helm.sh/release.v1',
      metadata: { labels: { owner: 'helm', status: 'pending-install' } },
    })
    expect((await releases.create(1, 'pending-install')).json).toMatchObject({ code: 409, reason: 'AlreadyExists' })

    const jobs = '/apis/batch/v1/namespaces/shop/jobs'
    expectStatus(await helm.delete(`${jobs}/web-setup`, 'batch/v1', 'Background'), 404)
    expectStatus(await helm.apply(`${jobs}/web-setup?${SERVER_SIDE}`, setup), 201)
    expectStatus(await releases.update(1, 'pending-install'), 200)
    const hook = await helm.watchList(jobs, 'fieldSelector=metadata.name%3Dweb-setup&', 'application/json')
    expect(hook.lines.map(({ type }) => type)).toEqual(['ADDED', 'BOOKMARK'])
    await harness.resources.modify(jobKind, 'shop', 'web-setup', 'status', (found) => ({
      ...found,
      status: { succeeded: 1, conditions: [{ type: 'Complete', status: 'True' as const }] },
    }))
    await eventually(() => hook.lines.at(-1)?.type === 'MODIFIED')
    expect(hook.lines.at(-1)?.object.status).toMatchObject({ conditions: [{ type: 'Complete', status: 'True' }] })
    expectStatus(await helm.delete(`${jobs}/web-setup`, 'batch/v1', 'Background'), 200)
    await eventually(() => hook.lines.at(-1)?.type === 'DELETED')

    for (const [path, object] of parts) {
      const made = expectStatus(await helm.apply(`${path}?${SERVER_SIDE}`, object), 201)
      expect(made.headers.warning).toBeUndefined()
      expect(made.json).toMatchObject({ metadata: { managedFields: [{ manager: 'helm', operation: 'Apply' }] } })
    }
    const waits = await helm.watchList(`${apps('shop')}/deployments`, '', 'application/json')
    await reportReady('shop', 'web')
    await eventually(() => waits.lines.at(-1)?.object.status?.availableReplicas === 2)
    const selector = 'labelSelector=app%3Dweb'
    for (const path of [`${apps('shop')}/replicasets`, `${inSpace('shop')}/pods`]) {
      expect((await helm.json('GET', `${path}?${selector}`)).json).toMatchObject({ items: [] })
    }
    expectStatus(await releases.update(1, 'deployed'), 200)
  })

  it('lists releases everywhere and shows one with its resources', async () => {
    const { json } = await helm.typed('GET', '/api/v1/secrets?labelSelector=owner%3Dhelm')
    const [first] = (json as { items: unknown[] }).items
    expect(unpacked(first)).toMatchObject({ name: 'web', version: 1, info: { status: 'deployed' } })
    expect(await releases.query('name=web,owner=helm,status=deployed')).toEqual([releases.key(1)])
    expect(await releases.query('name=web,owner=helm,status=failed')).toEqual([])
    expect(unpacked((await releases.get(1)).json)).toMatchObject({ name: 'web' })
    const shown = await helm.table(`${web}?includeObject=Object`)
    expect(shown.json).toMatchObject({
      kind: 'Table',
      rows: [{ object: { kind: 'Deployment', spec: { replicas: 2 } } }],
    })
    const pods = await helm.table(`${inSpace('shop')}/pods?includeObject=Object&labelSelector=app%3Dweb&limit=500`)
    expect(pods.json).toMatchObject({ kind: 'Table', rows: [] })
  })

  it('upgrades, is told whose field it meets, and takes it when forced', async () => {
    expectStatus(await releases.create(2, 'pending-upgrade'), 201)
    expectStatus(await helm.json('GET', web), 200)
    const next = deployment('web', 'shop', 'img:2')
    expect((await helm.apply(`${web}?${SERVER_SIDE}`, next)).json).toMatchObject({
      spec: { template: { spec: { containers: [{ image: 'img:2' }] } } },
    })
    const scaled = new GoClient(harness, 'kubectl/v1.36.2 (linux/amd64) kubernetes/86b5e46')
    await scaled.patch(`${web}/scale`, 'merge', { spec: { replicas: 5 } })
    const more = { ...next, spec: { ...(next.spec as object), replicas: 3 } }
    const met = expectStatus(await helm.apply(`${web}?${SERVER_SIDE}`, more), 409)
    expect(met.json).toMatchObject({
      reason: 'Conflict',
      details: { causes: [{ reason: 'FieldManagerConflict', field: '.spec.replicas' }] },
    })
    const forced = await helm.apply(`${web}?${SERVER_SIDE.replace('false', 'true')}`, more)
    expect(forced.json).toMatchObject({ spec: { replicas: 3 } })
    // A typo in a chart is refused, not dropped.
    const typo = { ...configMap('web', 'shop', { color: 'red' }), dta: {} }
    expect(expectStatus(await helm.apply(`${settings}?${SERVER_SIDE}`, typo), 400).json.message).toContain('dta')
    // What the chart has no longer: looked at, then deleted.
    expectStatus(await helm.json('GET', settings), 200)
    expectStatus(await helm.delete(settings, 'v1', 'Background'), 200)
    expectStatus(await releases.update(1, 'superseded'), 200)
    expectStatus(await releases.update(2, 'deployed'), 200)
    expect(await releases.query('name=web,owner=helm,status=deployed')).toEqual([releases.key(2)])
  })

  it('rolls back and uninstalls', async () => {
    expectStatus(await releases.create(3, 'pending-rollback'), 201)
    expectStatus(await helm.apply(`${settings}?${SERVER_SIDE}`, configMap('web', 'shop', { color: 'blue' })), 201)
    const back = deployment('web', 'shop', 'img:1')
    const { json } = expectStatus(await helm.apply(`${web}?${SERVER_SIDE}`, back), 200)
    expect(json).toMatchObject({ spec: { replicas: 2, template: { spec: { containers: [{ image: 'img:1' }] } } } })
    expectStatus(await releases.update(2, 'superseded'), 200)
    expectStatus(await releases.update(3, 'deployed'), 200)

    expectStatus(await releases.update(3, 'uninstalling'), 200)
    const gone = await helm.watchList(`${apps('shop')}/deployments`, '', 'application/json')
    for (const path of [settings, `${inSpace('shop')}/services/web`]) {
      expectStatus(await helm.delete(path, 'v1', 'Background'), 200)
    }
    expectStatus(await helm.delete(web, 'apps/v1', 'Background'), 200)
    await eventually(() => gone.lines.at(-1)?.type === 'DELETED')
    for (const version of [1, 2, 3]) {
      expectStatus(await releases.get(version), 200)
      expect((await releases.delete(version)).json).toMatchObject({ kind: 'Status', status: 'Success' })
    }
    expect(await releases.query('name=web,owner=helm')).toEqual([])
    expect((await releases.get(1)).json).toMatchObject({ reason: 'NotFound', details: { kind: 'secrets' } })
  })
})

describe('Helm 3', () => {
  const old = `${apps('default')}/deployments/old`

  it('creates, and upgrades by a three-way strategic patch', async () => {
    const path = `${apps('default')}/deployments?fieldManager=helm`
    const env = { env: [{ name: 'A', value: '1' }], resources: { limits: { memory: '64Mi' } } }
    expectStatus(await helm.json('POST', path, deployment('old', 'default', 'img:1', env)), 201)
    // Of the chart: a new image, a variable fewer, limits gone, a sidecar more, and another strategy.
    const patch = {
      spec: {
        strategy: { $retainKeys: ['type'], type: 'Recreate' },
        template: {
          spec: {
            '$setElementOrder/containers': [{ name: 'main' }, { name: 'side' }],
            containers: [
              { name: 'main', image: 'img:2', resources: null, env: [{ name: 'A', $patch: 'delete' }] },
              { name: 'side', image: 'side:1' },
            ],
          },
        },
      },
    }
    const { json } = expectStatus(await helm.patch(`${old}?fieldManager=helm`, 'strategic-merge', patch), 200)
    expect(json).toMatchObject({
      spec: {
        strategy: { type: 'Recreate' },
        template: { spec: { containers: [{ name: 'main', image: 'img:2' }, { name: 'side' }] } },
      },
    })
    const { strategy, template } = json.spec as {
      strategy: object
      template: { spec: { containers: { env?: object[]; resources?: object; ports: object[] }[] } }
    }
    const [main] = template.spec.containers
    expect(strategy).not.toHaveProperty('rollingUpdate')
    expect([main?.env ?? [], main?.resources ?? {}, main?.ports.length]).toEqual([[], {}, 1])
  })

  it('waits by asking, with a typed client, and watches a hook by its name', async () => {
    expect((await helm.typed('GET', old)).json).toMatchObject({ kind: 'Deployment', apiVersion: 'apps/v1' })
    const sets = `${apps('default')}/replicasets?labelSelector=app%3Dold`
    expect((await helm.typed('GET', sets)).json).toMatchObject({ kind: 'ReplicaSetList', items: [] })
    const jobs = '/apis/batch/v1/namespaces/default/jobs'
    const hook = { ...setup, metadata: { ...setup.metadata, namespace: 'default' } }
    expectStatus(await helm.json('POST', `${jobs}?fieldManager=helm`, hook), 201)
    const named = 'fieldSelector=metadata.name%3Dweb-setup&'
    const { list, watch } = await helm.listAndWatch(jobs, named, 'application/json')
    expect(list.items).toHaveLength(1)
    expectStatus(await helm.delete(`${jobs}/web-setup`, 'batch/v1', 'Background'), 200)
    await eventually(() => watch.lines.at(-1)?.type === 'DELETED')
  })

  it('replaces with --force, by the version that it has just read', async () => {
    const { json } = await helm.json('GET', old)
    const wanted = deployment('old', 'default', 'img:3')
    const { resourceVersion } = (json as KubeJson).metadata
    const body = { ...wanted, metadata: { ...wanted.metadata, resourceVersion } }
    expectStatus(await helm.json('PUT', `${old}?fieldManager=helm`, body), 200)
    expectStatus(await helm.json('PUT', `${old}?fieldManager=helm`, body), 409)
  })

  it('leaves releases that Helm 4 takes over: the owner of their fields is rewritten first', async () => {
    const { json } = await helm.json('GET', old)
    const { managedFields, resourceVersion } = (json as KubeJson).metadata as unknown as {
      managedFields: { manager: string; operation: string; fieldsV1: object }[]
      resourceVersion: string
    }
    expect(managedFields.map(({ manager, operation }) => `${manager} ${operation}`)).toEqual(['helm Update'])
    const taken = managedFields.map((entry) => ({ ...entry, operation: 'Apply' }))
    const patch = (revision: string) => [
      { op: 'replace', path: '/metadata/managedFields', value: taken },
      { op: 'replace', path: '/metadata/resourceVersion', value: revision },
    ]
    const query = 'fieldManager=helm&fieldValidation=Strict'
    expectStatus(await helm.patch(`${old}?${query}`, 'json', patch('1')), 409)
    expectStatus(await helm.patch(`${old}?${query}`, 'json', patch(resourceVersion)), 200)
    const next = deployment('old', 'default', 'img:4')
    const { json: applied } = expectStatus(await helm.apply(`${old}?${SERVER_SIDE}`, next), 200)
    const after = (applied as KubeJson).metadata as unknown as {
      managedFields: { manager: string; operation: string }[]
    }
    expect(after.managedFields.map(({ manager, operation }) => `${manager} ${operation}`)).toEqual(['helm Apply'])
    expectStatus(await helm.delete(old, 'apps/v1', 'Background'), 200)
  })
})
