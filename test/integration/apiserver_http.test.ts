/** The REST protocol as raw requests see it: every verb, watches, tables, errors and bounds. */
import { once } from 'node:events'
import { request as httpsRequest } from 'node:https'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ADMIN_TOKEN, GUEST_TOKEN, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'
import { type OpenWatch, openWatch, type WatchLine } from '../support/watch_lines.ts'

let harness: Harness
let ready = true

beforeAll(async () => {
  harness = await startHarness({ ready: () => ready })
})
afterAll(() => harness.stop())

const maps = '/api/v1/namespaces/default/configmaps'
const deployments = '/apis/apps/v1/namespaces/default/deployments'
const configMap = (name: string, labels = {}) => ({ metadata: { name, labels }, data: { key: name } })
const create = (name: string, labels = {}) => harness.call(maps, { method: 'POST', body: configMap(name, labels) })
const deployment = (name: string, replicas = 2) => ({
  metadata: { name },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'x' }] } },
  },
})

interface ListJson {
  items: { metadata: { name: string; resourceVersion: string } }[]
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number }
}

describe('who may', () => {
  it('asks for proof, except for health and version', async () => {
    for (const path of ['/healthz', '/livez', '/readyz', '/version', '/readyz/cache']) {
      expect([path, (await harness.call(path, { token: '' })).status]).toEqual([path, 200])
    }
    const answer = await harness.call(maps, { token: '' })
    expect(answer.json).toMatchObject({ kind: 'Status', code: 401, reason: 'Unauthorized' })
    expect(answer.headers['www-authenticate']).toContain('Bearer')
    expect(await harness.call(maps, { token: 'wrong' })).toMatchObject({ status: 401 })
  })

  it('lets others than masters read discovery only', async () => {
    expect(await harness.call('/apis', { token: GUEST_TOKEN })).toMatchObject({ status: 200 })
    expect(await harness.call('/openapi/v3', { token: GUEST_TOKEN })).toMatchObject({ status: 200 })
    const answer = await harness.call(maps, { token: GUEST_TOKEN })
    expect(answer.json).toMatchObject({
      code: 403,
      message:
        'configmaps is forbidden: User "guest" cannot list resource "configmaps" in API group "" in the namespace "default"',
    })
    for (const path of ['/metrics', '/apis/drover.dev/v1/images', '/apis/drover.dev/v1/cluster']) {
      expect([path, (await harness.call(path, { token: GUEST_TOKEN })).status]).toEqual([path, 403])
    }
  })

  it('knows a client by its certificate over HTTP/1.1, too', async () => {
    const status = await new Promise((resolve, reject) => {
      const { certPem: cert, keyPem: key } = harness.admin
      const options = { host: '127.0.0.1', port: harness.port, path: maps, ca: harness.ca, cert, key }
      httpsRequest(options, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
        .on('error', reject)
        .end()
    })
    expect(status).toBe(200)
  })

  it('tells which check fails', async () => {
    ready = false
    const answer = await harness.call('/readyz', { token: '' })
    ready = true
    expect(answer).toMatchObject({ status: 503, text: '[-]cache failed: not filled\nreadyz check failed\n' })
  })
})

describe('objects', () => {
  it('creates, gets, replaces with conflict, and deletes', async () => {
    const created = await create('life')
    expect(created).toMatchObject({ status: 201, json: { kind: 'ConfigMap', data: { key: 'life' } } })
    expect((await create('life')).json).toMatchObject({ code: 409, reason: 'AlreadyExists', details: { name: 'life' } })
    const path = `${maps}/life`
    const replaced = await harness.call(path, { method: 'PUT', body: { ...created.json, data: { key: 'new' } } })
    expect(replaced.json).toMatchObject({ data: { key: 'new' } })
    const stale = await harness.call(path, { method: 'PUT', body: created.json })
    expect(stale.json).toMatchObject({ code: 409, reason: 'Conflict' })
    const { metadata } = replaced.json as { metadata: { uid: string } }
    const wrong = { method: 'DELETE', body: { preconditions: { uid: 'other' } } }
    expect(await harness.call(path, wrong)).toMatchObject({ status: 409 })
    const deleted = await harness.call(path, { method: 'DELETE' })
    expect(deleted.json).toMatchObject({ status: 'Success', details: { name: 'life', uid: metadata.uid } })
    expect((await harness.call(path)).json).toMatchObject({
      kind: 'Status',
      code: 404,
      reason: 'NotFound',
      message: 'configmaps "life" not found',
      details: { name: 'life', kind: 'configmaps' },
    })
  })

  it('names every wrong field', async () => {
    const wrong = deployment('wrong', -1)
    const answer = await harness.call(deployments, { method: 'POST', body: wrong })
    expect(answer.json).toMatchObject({ code: 422, reason: 'Invalid', details: { kind: 'Deployment', name: 'wrong' } })
    const { causes } = (answer.json as { details: { causes: { field: string }[] } }).details
    expect(causes.map(({ field }) => field)).toContain('spec.replicas')
  })

  it('warns of unknown fields, or refuses them when strict', async () => {
    const body = { ...configMap('odd'), dta: 'x' }
    const warned = await harness.call(`${maps}?dryRun=All`, { method: 'POST', body })
    expect(warned.status).toBe(201)
    expect(warned.headers.warning).toMatch(/^299 - ".*dta/)
    const strict = await harness.call(`${maps}?fieldValidation=Strict`, { method: 'POST', body })
    expect(strict.json).toMatchObject({ code: 400, reason: 'BadRequest' })
    expect(strict.json.message).toContain('dta')
    expect(await harness.call(`${maps}/odd`)).toMatchObject({ status: 404 })
  })

  it('patches in three ways', async () => {
    await harness.call(deployments, { method: 'POST', body: deployment('patched') })
    const patch = (type: string, body: unknown) =>
      harness.call(`${deployments}/patched`, {
        method: 'PATCH',
        body: JSON.stringify(body),
        headers: { 'content-type': `application/${type}` },
      })
    const merged = await patch('merge-patch+json', { metadata: { labels: { a: 'b' } } })
    expect(merged.json).toMatchObject({ metadata: { labels: { a: 'b' } } })
    const spec = { template: { spec: { containers: [{ name: 'd', image: 'y' }] } } }
    const strategic = await patch('strategic-merge-patch+json', { spec })
    const containers = (strategic.json as { spec: { template: { spec: { containers: object[] } } } }).spec.template.spec
    expect(containers.containers).toHaveLength(2)
    const operations = [{ op: 'replace', path: '/spec/replicas', value: 4 }]
    expect(await patch('json-patch+json', operations)).toMatchObject({ json: { spec: { replicas: 4 } } })
    expect((await patch('yaml', {})).json).toMatchObject({ code: 415, reason: 'UnsupportedMediaType' })
    expect(await patch('merge-patch+json', [])).toMatchObject({ status: 400 })
  })

  it('applies, in YAML and JSON, and says whose field it met', async () => {
    const apply = (query: string, body: string, type = 'yaml') =>
      harness.call(`${maps}/applied?${query}`, {
        method: 'PATCH',
        body,
        headers: { 'content-type': `application/apply-patch+${type}`, 'user-agent': 'editor/1.2 (linux)' },
      })
    const config = (value: string): string =>
      `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: ${value}}\n`
    expect((await apply('', config('b'))).json).toMatchObject({ code: 422, reason: 'Invalid' })
    expect(await apply('fieldManager=one', config('b'))).toMatchObject({ status: 201, json: { data: { a: 'b' } } })
    const json = JSON.stringify({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'applied' },
      data: { b: 'c' },
    })
    expect(await apply('fieldManager=two', json, 'json')).toMatchObject({
      status: 200,
      json: { data: { a: 'b', b: 'c' } },
    })
    const met = await apply('fieldManager=two', config('other'))
    const message = 'Apply failed with 1 conflict: conflict with "one": .data.a'
    const cause = { reason: 'FieldManagerConflict', message: 'conflict with "one"', field: '.data.a' }
    expect(met.json).toMatchObject({ code: 409, reason: 'Conflict', message, details: { causes: [cause] } })
    expect((await apply('fieldManager=two&force=true&dryRun=All', config('other'))).json).toMatchObject({
      data: { a: 'other' },
    })
    expect((await harness.call(`${maps}/applied`)).json).toMatchObject({ data: { a: 'b' } })
    const body = { ...configMap('applied'), data: { a: 'put' } }
    const put = await harness.call(`${maps}/applied`, {
      method: 'PUT',
      body,
      headers: { 'user-agent': 'editor/1.2 (x)' },
    })
    const managers = (put.json as { metadata: { managedFields: { manager: string; operation: string }[] } }).metadata
    expect(managers.managedFields.map(({ manager, operation }) => `${manager} ${operation}`)).toEqual(['editor Update'])
  })

  it('scales by server-side apply, and whoever scaled before is asked first', async () => {
    await harness.call(deployments, { method: 'POST', body: deployment('applied') })
    const path = `${deployments}/applied/scale`
    const apply = (manager: string, replicas: number, force = false) =>
      harness.call(`${path}?fieldManager=${manager}&force=${force}`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/apply-patch+yaml' },
        body: `apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: applied}\nspec: {replicas: ${replicas}}\n`,
      })
    expect((await apply('one', 4, true)).json).toMatchObject({ kind: 'Scale', spec: { replicas: 4 } })
    const refused = await apply('two', 5)
    expect([refused.status, refused.json.message]).toEqual([409, expect.stringContaining('conflict with "one"')])
    expect((await apply('two', 5, true)).json).toMatchObject({ spec: { replicas: 5 } })
    expect((await harness.call(path)).json).toMatchObject({ spec: { replicas: 5 } })
  })

  it('scales, with a precondition if asked', async () => {
    await harness.call(deployments, { method: 'POST', body: deployment('scaled') })
    const path = `${deployments}/scaled/scale`
    const scale = await harness.call(path)
    expect(scale.json).toMatchObject({ kind: 'Scale', spec: { replicas: 2 }, status: { selector: 'app=scaled' } })
    const type = { 'content-type': 'application/merge-patch+json' }
    const patched = await harness.call(path, { method: 'PATCH', body: '{"spec":{"replicas":5}}', headers: type })
    expect(patched.json).toMatchObject({ spec: { replicas: 5 } })
    expect(await harness.call(path, { method: 'PUT', body: scale.json })).toMatchObject({ status: 409 })
    const bad = await harness.call(path, { method: 'PATCH', body: '{"spec":{"replicas":-5}}', headers: type })
    expect(bad.json).toMatchObject({ code: 422, details: { causes: [{ field: 'spec.replicas' }] } })
  })

  it('keeps spec and status apart', async () => {
    await harness.call(deployments, { method: 'POST', body: deployment('parted') })
    const path = `${deployments}/parted`
    const { json } = await harness.call(path)
    const both = { ...json, spec: { ...(json.spec as object), replicas: 7 }, status: { replicas: 3 } }
    const status = await harness.call(`${path}/status`, { method: 'PUT', body: both })
    expect(status.json).toMatchObject({ spec: { replicas: 2 }, status: { replicas: 3 } })
  })

  it('binds a pod once, and evicts it', async () => {
    const pods = '/api/v1/namespaces/default/pods'
    const body = { metadata: { name: 'bound' }, spec: { containers: [{ name: 'c', image: 'x' }] } }
    await harness.call(pods, { method: 'POST', body })
    const binding = { method: 'POST', body: { target: { name: 'n1' } } }
    expect(await harness.call(`${pods}/bound/binding`, binding)).toMatchObject({ status: 201 })
    expect(await harness.call(`${pods}/bound`)).toMatchObject({ json: { spec: { nodeName: 'n1' } } })
    expect(await harness.call(`${pods}/bound/binding`, binding)).toMatchObject({ status: 409 })
    const eviction = { kind: 'Eviction', apiVersion: 'policy/v1', deleteOptions: { gracePeriodSeconds: 7 } }
    expect(await harness.call(`${pods}/bound/eviction`, { method: 'POST', body: eviction })).toMatchObject({
      status: 201,
    })
    expect(await harness.call(`${pods}/bound`)).toMatchObject({
      json: { metadata: { deletionGracePeriodSeconds: 7 } },
    })
  })

  it('deletes what a selector names', async () => {
    for (const name of ['del-1', 'del-2']) await create(name, { del: 'yes' })
    await create('del-3', { del: 'no' })
    const answer = await harness.call(`${maps}?labelSelector=del%3Dyes`, { method: 'DELETE' })
    expect((answer.json as unknown as ListJson).items.map(({ metadata }) => metadata.name)).toEqual(['del-1', 'del-2'])
    expect(await harness.call(`${maps}/del-1`)).toMatchObject({ status: 404 })
    expect(await harness.call(`${maps}/del-3`)).toMatchObject({ status: 200 })
  })
})

describe('bad input', () => {
  it('is answered with what, where and what to do', async () => {
    const post = (body: string, type = 'application/json', path = maps) =>
      harness.call(path, { method: 'POST', body, headers: { 'content-type': type } })
    const cases: [Promise<{ json: Record<string, unknown> }>, number, string][] = [
      [post('{\n  "a": 1,\n  "b" 2\n}'), 400, 'line 3, column 7'],
      [post('a: 1\nb: [', 'application/yaml'), 400, 'line 2'],
      [post(''), 400, 'the request has no body'],
      [post('[]'), 400, 'must be one object'],
      [post('x', 'text/plain'), 415, 'text/plain'],
      [post('[[', 'application/json'), 400, 'line 1, column 3'],
      [post('{"kind":"Pod","apiVersion":"v1"}'), 400, 'this path takes ConfigMap'],
      [post('{"metadata":{"name":"a","namespace":"b"}}'), 400, 'does not match the namespace'],
      [post(`${'{"a":'.repeat(200)}1${'}'.repeat(200)}`), 400, 'nested deeper than 100'],
      [post('{"metadata":{"name":"a"}}', 'application/json', '/api/v1/configmaps'), 400, 'live in namespaces'],
      [harness.call(`${maps}?limit=x`), 422, '"x" is not a whole number'],
      [harness.call(`${maps}?continue=x`), 400, 'list again without it'],
      [harness.call(`${maps}?labelSelector=%3D%3D`), 400, 'cannot read selector'],
      [harness.call(`${maps}?fieldSelector=spec.x%3D1`), 400, 'field label not supported: spec.x'],
      [harness.call(`${maps}?resourceVersion=abc`), 400, 'not one that this server gave out'],
      [harness.call(`${maps}?dryRun=Some`, { method: 'POST', body: configMap('x') }), 422, 'All is'],
      [harness.call('/apis/nothing/v1/here'), 404, 'nothing is served at'],
      [harness.call('/api/v1/namespaces/default/pods/x/nonsense'), 404, 'no sub-resource "nonsense"'],
      [harness.call(maps, { method: 'PUT', body: {} }), 405, 'PUT is not supported'],
      [harness.call(maps, { headers: { accept: 'text/html' } }), 406, 'application/json'],
    ]
    for (const [answer, code, message] of cases) {
      const { json } = await answer
      expect(json).toMatchObject({ kind: 'Status', status: 'Failure', code })
      expect(json.message).toContain(message)
    }
  })

  it('does not read more than it should', async () => {
    const answer = await harness.call(maps, { method: 'POST', body: Buffer.alloc(4 << 20, 0x20) })
    expect(answer.json).toMatchObject({ code: 413, reason: 'RequestEntityTooLarge' })
    expect(await harness.call(maps)).toMatchObject({ status: 200 })
  })
})

describe('lists', () => {
  it('come in pages that together are the whole', async () => {
    for (let i = 0; i < 7; i++) await create(`page-${i}`, { page: 'yes' })
    const names: string[] = []
    let token = ''
    let pages = 0
    let revision: string | undefined
    do {
      const answer = await harness.call(`${maps}?labelSelector=page&limit=3&continue=${token}`)
      const { items, metadata } = answer.json as unknown as ListJson
      names.push(...items.map((item) => item.metadata.name))
      revision ??= metadata.resourceVersion
      expect(metadata.resourceVersion).toBe(revision)
      token = metadata.continue ?? ''
      pages++
    } while (token !== '')
    expect(names).toEqual(Array.from({ length: 7 }, (_, i) => `page-${i}`))
    expect(pages).toBe(3)
  })

  it('refuse revisions that cannot be meant', async () => {
    const { metadata } = (await harness.call(`${maps}?limit=1`)).json as { metadata: { continue?: string } }
    const next = `continue=${metadata.continue ?? 'x'}`
    const refused = [
      ...['resourceVersionMatch=NotOlderThan', 'resourceVersionMatch=Exact', 'sendInitialEvents=true'],
      ...[
        'resourceVersionMatch=Exact&resourceVersion=0',
        `${next}&resourceVersion=0&resourceVersionMatch=NotOlderThan`,
      ],
      ...[
        'watch=true&resourceVersion=1&resourceVersionMatch=Exact',
        'resourceVersion=1&resourceVersionMatch=Sometimes',
      ],
    ]
    for (const query of refused) {
      expect([query, (await harness.call(`${maps}?${query}`)).json.code]).toEqual([query, 422])
    }
    const fine = ['resourceVersion=0', 'resourceVersion=0&resourceVersionMatch=NotOlderThan', 'resourceVersion=1']
    for (const query of fine) expect([query, (await harness.call(`${maps}?${query}`)).status]).toEqual([query, 200])
  })

  it('are as of the revision that they ask for, in every combination that Kubernetes documents', async () => {
    const path = '/api/v1/namespaces/past/configmaps'
    await harness.call('/api/v1/namespaces', { method: 'POST', body: { metadata: { name: 'past' } } })
    const add = (name: string) => harness.call(path, { method: 'POST', body: configMap(name, { past: 'yes' }) })
    await add('a')
    await add('b')
    const patch = { method: 'PATCH', headers: { 'content-type': 'application/merge-patch+json' } }
    const list = async (query: string) => (await harness.call(`${path}?${query}`)).json as unknown as ListJson
    const then = await list('')
    await harness.call(`${path}/a`, { method: 'DELETE' })
    await harness.call(`${path}/b`, { ...patch, body: '{"metadata":{"labels":{"past":"no"}}}' })
    await add('c')
    const now = await list('')
    const past = `resourceVersion=${then.metadata.resourceVersion}`
    const cases: [string, ListJson][] = [
      ['resourceVersion=0', now],
      [past, now],
      [`${past}&resourceVersionMatch=NotOlderThan`, now],
      [`${past}&resourceVersionMatch=NotOlderThan&limit=5`, now],
      [`${past}&resourceVersionMatch=Exact`, then],
      [`${past}&resourceVersionMatch=Exact&limit=5`, then],
      [`${past}&limit=5`, then],
      [`resourceVersion=${now.metadata.resourceVersion}&resourceVersionMatch=Exact`, now],
    ]
    const shown = ({ items, metadata }: ListJson) => ({
      items: items.map((item) => `${item.metadata.name} ${item.metadata.resourceVersion}`).sort(),
      revision: metadata.resourceVersion,
    })
    for (const [query, expected] of cases) expect([query, shown(await list(query))]).toEqual([query, shown(expected)])
    expect(shown(now).items.map((item) => item.split(' ')[0])).toEqual(['b', 'c'])
    const selected = await list(`${past}&resourceVersionMatch=Exact&labelSelector=past%3Dyes`)
    expect(selected.items.map(({ metadata }) => metadata.name).sort()).toEqual(['a', 'b'])
    // Pages show what was there when the first was read.
    const first = await list('limit=1')
    await add('d')
    await harness.call(`${path}/c`, { method: 'DELETE' })
    const second = await list(`limit=5&continue=${first.metadata.continue}`)
    expect(second.items.map(({ metadata }) => metadata.name)).toEqual(['c'])
    expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion)
  })

  it('come as tables', async () => {
    await create('table-1', { table: 'yes' })
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json'
    const table = await harness.call(`${maps}?labelSelector=table`, { headers: { accept } })
    expect(table.json).toMatchObject({
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      columnDefinitions: [{ name: 'Name', format: 'name' }, { name: 'Data' }, { name: 'Age' }],
      rows: [{ cells: ['table-1', 1, expect.any(String)], object: { kind: 'PartialObjectMetadata' } }],
    })
    const whole = await harness.call(`${maps}/table-1?includeObject=Object`, { headers: { accept } })
    expect(whole.json).toMatchObject({ rows: [{ object: { kind: 'ConfigMap', data: {} } }] })
    const none = await harness.call(`${maps}/table-1?includeObject=None`, { headers: { accept } })
    expect(none.json).toMatchObject({ rows: [{ object: null }] })
    const partial = 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io'
    const metadata = await harness.call(`${maps}?labelSelector=table`, { headers: { accept: partial } })
    expect(metadata.json).toMatchObject({
      kind: 'PartialObjectMetadataList',
      items: [{ metadata: { name: 'table-1' } }],
    })
  })

  it('answer those who prefer protobuf in JSON', async () => {
    const accept = 'application/vnd.kubernetes.protobuf,application/json'
    expect(await harness.call(maps, { headers: { accept } })).toMatchObject({
      status: 200,
      json: { kind: 'ConfigMapList' },
    })
  })
})

function watch(query: string, headers: Record<string, string> = {}): OpenWatch {
  const authorization = `Bearer ${ADMIN_TOKEN}`
  return openWatch(harness.session(), `${maps}?watch=true&${query}`, { authorization, ...headers })
}

const summary = ({ type, object }: WatchLine): string => `${type} ${object.metadata.name ?? ''}`

describe('watches', () => {
  it('tell of every change after a revision', async () => {
    const { metadata } = (await harness.call(maps)).json as unknown as ListJson
    await create('w-1', { w: 'yes' })
    const { lines, stream } = watch(`labelSelector=w&resourceVersion=${metadata.resourceVersion}`)
    await eventually(() => lines.length === 1)
    const patch = { method: 'PATCH', headers: { 'content-type': 'application/merge-patch+json' } }
    await harness.call(`${maps}/w-1`, { ...patch, body: '{"data":{"x":"y"}}' })
    await harness.call(`${maps}/w-1`, { ...patch, body: '{"metadata":{"labels":{"w":null}}}' })
    await harness.call(`${maps}/w-1`, { ...patch, body: '{"metadata":{"labels":{"w":"yes"}}}' })
    await harness.call(`${maps}/w-1`, { method: 'DELETE' })
    await eventually(() => lines.length === 5)
    expect(lines.map(summary)).toEqual(['ADDED w-1', 'MODIFIED w-1', 'DELETED w-1', 'ADDED w-1', 'DELETED w-1'])
    const revisions = lines.map(({ object }) => Number(object.metadata.resourceVersion))
    expect(revisions).toEqual([...revisions].sort((a, b) => a - b))
    stream.close()
  })

  it('begin with the present state, and mark its end when asked', async () => {
    await create('s-1', { s: 'yes' })
    await create('s-2', { s: 'yes' })
    const plain = watch('labelSelector=s')
    await eventually(() => plain.lines.length === 2)
    const query = 'labelSelector=s&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true'
    const list = watch(query)
    await eventually(() => list.lines.length === 3)
    expect(list.lines.map(summary)).toEqual(['ADDED s-1', 'ADDED s-2', 'BOOKMARK '])
    expect(list.lines[2]?.object).toMatchObject({
      kind: 'ConfigMap',
      metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } },
    })
    await create('s-3', { s: 'yes' })
    await eventually(() => list.lines.length === 4 && plain.lines.length === 3)
    plain.stream.close()
    list.stream.close()
    const bare = watch('labelSelector=s&sendInitialEvents=true&resourceVersionMatch=NotOlderThan')
    await eventually(() => bare.lines.length >= 3)
    expect(
      bare.lines.map(({ type }) => type),
      'bookmarks only for those who take them',
    ).not.toContain('BOOKMARK')
    bare.stream.close()
    expect(await harness.call(`${maps}?watch=1&sendInitialEvents=true`)).toMatchObject({ status: 422 })
  })

  it('end in time, with a last bookmark', async () => {
    const { lines, stream } = watch('labelSelector=none&timeoutSeconds=1&allowWatchBookmarks=true')
    await once(stream, 'end')
    expect(lines.map(({ type }) => type)).toEqual(['BOOKMARK'])
  })

  it('say when a start is too old', async () => {
    // Not every revision is kept: this one is from before the ring of the last events.
    for (let i = 0; i < 1_100; i += 100) {
      await Promise.all(Array.from({ length: 100 }, (_, j) => create(`old-${i + j}`)))
    }
    for (const query of ['watch=1&resourceVersion=1', 'resourceVersion=1&resourceVersionMatch=Exact']) {
      const answer = await harness.call(`${maps}?${query}`)
      expect([query, answer.json]).toMatchObject([query, { code: 410, reason: 'Expired' }])
    }
  })

  it('send tables with columns once', async () => {
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io'
    await create('t-1', { t: 'yes' })
    const { lines, stream } = watch('labelSelector=t', { accept })
    await create('t-2', { t: 'yes' })
    await eventually(() => lines.length === 2)
    const tables = lines.map(({ object }) => object as unknown as { columnDefinitions: object[]; rows: object[] })
    expect(tables.map((table) => [table.columnDefinitions.length, table.rows.length])).toEqual([
      [3, 1],
      [0, 1],
    ])
    stream.close()
  })

  it('are counted while they last', async () => {
    const gauge = async (): Promise<number> => {
      const { text } = await harness.call('/metrics')
      const lines = text.split('\n').filter((line) => /^apiserver_longrunning_requests\{.*"configmaps"/.test(line))
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
    }
    await eventually(async () => (await gauge()) === 0)
    const { stream } = watch('labelSelector=none')
    await eventually(async () => (await gauge()) === 1)
    stream.close()
    await eventually(async () => (await gauge()) === 0)
    // A HEAD has its whole answer at once, whatever it asks about.
    const { status } = await harness.call('/api/v1/configmaps?watch=true', { method: 'HEAD' })
    expect(status).toBe(200)
    await eventually(async () => (await gauge()) === 0)
    const { text } = await harness.call('/metrics')
    expect(text).toMatch(/apiserver_request_total\{verb="create",group="",version="v1",resource="configmaps"/)
  })

  it('do not grow the metrics with words of their own', async () => {
    for (const word of ['madeup1', 'madeup2']) {
      expect((await harness.call(`/api/v1/namespaces/default/pods/web/${word}`)).status).toBe(404)
      await harness.call(`/api/v1/${word}`)
      await harness.call(`/${word}`)
      await harness.call('/api/v1/pods', { method: word.toUpperCase() })
    }
    const { text } = await harness.call('/metrics')
    expect(text).toContain('subresource="other"')
    expect(text).not.toMatch(/madeup/i)
  })
})

describe('discovery', () => {
  it('comes whole, aggregated or by group', async () => {
    const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json'
    const aggregated = await harness.call('/apis', { headers: { accept } })
    expect(aggregated.headers['content-type']).toContain('as=APIGroupDiscoveryList')
    expect(aggregated.json).toMatchObject({ kind: 'APIGroupDiscoveryList' })
    const again = await harness.call('/apis', { headers: { accept, 'if-none-match': String(aggregated.headers.etag) } })
    expect(again.status).toBe(304)
    expect((await harness.call('/apis')).json).toMatchObject({ kind: 'APIGroupList' })
    expect((await harness.call('/api')).json).toMatchObject({ kind: 'APIVersions', versions: ['v1'] })
    const { json } = await harness.call('/api/v1')
    const names = (json as { resources: { name: string }[] }).resources.map(({ name }) => name)
    expect(names).toEqual(expect.arrayContaining(['pods', 'pods/log', 'pods/exec', 'configmaps', 'namespaces/status']))
    expect((await harness.call('/apis/apps')).json).toMatchObject({ kind: 'APIGroup', name: 'apps' })
  })

  it('shows the cluster', async () => {
    const { json } = await harness.call('/apis/drover.dev/v1/cluster')
    expect(json).toMatchObject({ kind: 'Cluster', version: '0.1.0', connectedNodes: [], nodes: { total: 0, ready: 0 } })
  })
})
