/** What Kubernetes refuses, warns of and shows, where a lenient server would do something else than the client meant. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { podKind } from '../../src/api/pod_kind.ts'
import { ADMIN_TOKEN, type Answer, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'
import { openWatch } from '../support/watch_lines.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const space = '/api/v1/namespaces/default'
const maps = `${space}/configmaps`
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io'

const post = (path: string, body: string | object): Promise<Answer> =>
  harness.call(path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  })
const patch = (path: string, type: string, body: unknown): Promise<Answer> =>
  harness.call(path, {
    method: 'PATCH',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': `application/${type}-patch+json` },
  })
const create = (name: string): Promise<Answer> => post(maps, { metadata: { name }, data: { a: 'b' } })
const said = ({ status, json }: Answer): [number, unknown] => [status, json.message]

describe('a body that says a field twice', () => {
  const twice = '{"metadata":{"name":"twice"},"data":{"a":"1","a":"2"}}'

  it('is stored with a warning, or in silence when that is asked for', async () => {
    const warned = await post(`${maps}?dryRun=All`, twice)
    expect([warned.status, warned.headers.warning]).toEqual([201, '299 - "duplicate field \\"data.a\\""'])
    const silent = await post(`${maps}?dryRun=All&fieldValidation=Ignore`, twice)
    expect([silent.status, silent.headers.warning]).toEqual([201, undefined])
  })

  it('is refused by strict validation, in creations, replacements and patches', async () => {
    await create('twice')
    const message = expect.stringContaining('duplicate field "data.a"')
    expect(said(await post(`${maps}?fieldValidation=Strict`, twice))).toEqual([400, message])
    const put = { method: 'PUT', body: twice, headers: { 'content-type': 'application/json' } }
    expect(said(await harness.call(`${maps}/twice?fieldValidation=Strict`, put))).toEqual([400, message])
    const merged = await patch(`${maps}/twice?fieldValidation=Strict`, 'merge', '{"data":{"a":"1","a":"2"}}')
    expect(said(merged)).toEqual([400, message])
    expect((await harness.call(`${maps}/twice`)).json).toMatchObject({ data: { a: 'b' } })
  })
})

it('what a creation would give, tried only, can be created as it is', async () => {
  const tried = await post(`${maps}?dryRun=All`, { metadata: { name: 'rehearsed' }, data: { a: 'b' } })
  expect(tried.json).toMatchObject({ metadata: { name: 'rehearsed', resourceVersion: '' } })
  expect((await post(maps, tried.json)).status).toBe(201)
})

describe('a deletion', () => {
  it.each([
    [{ kind: 'Pod', apiVersion: 'v1' }, 400, 'a deletion takes DeleteOptions'],
    [{ propagationPolicy: 'Foreground', orphanDependents: true }, 422, 'may not both be given'],
    [{ propagationPolicy: 'No' }, 422, '"No" is none of'],
    [{ preconditions: { resourceVersion: '1' } }, 409, 'Precondition failed: ResourceVersion'],
  ])('with %j does nothing and says why', async (body, status, message) => {
    await create('kept')
    const answer = await harness.call(`${maps}/kept`, { method: 'DELETE', body })
    expect(said(answer)).toEqual([status, expect.stringContaining(message)])
    expect((await harness.call(`${maps}/kept`)).status).toBe(200)
  })

  it('of a collection, tried only, deletes nothing', async () => {
    await create('tried')
    const answer = await harness.call(`${maps}?dryRun=All`, { method: 'DELETE' })
    expect(answer.status).toBe(200)
    expect((await harness.call(`${maps}/tried`)).status).toBe(200)
  })

  it('by eviction is not of another pod than the body names', async () => {
    const containers = [{ name: 'c', image: 'x' }]
    const metadata = { name: 'stays', namespace: 'default' }
    await harness.resources.create(podKind, { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers } })
    const path = `${space}/pods/stays/eviction`
    for (const body of [{ metadata: { name: 'other' } }, { metadata: { namespace: 'other' } }, { kind: 'Pod' }]) {
      expect((await post(path, body)).status).toBe(400)
    }
    expect(harness.resources.get(podKind, 'default', 'stays')).toBeDefined()
    expect((await post(path, { kind: 'Eviction', metadata })).status).toBe(201)
  })
})

describe('a patch', () => {
  it('that does not fit the object is 422, one that is no patch 400', async () => {
    await create('patched')
    const path = `${maps}/patched`
    const cases: [unknown, number][] = [
      [[{ op: 'test', path: '/data/a', value: 'x' }], 422],
      [[{ op: 'remove', path: '/data/z' }], 422],
      [[{ op: 'dance', path: '/data/a' }], 400],
      [{}, 400],
    ]
    for (const [body, status] of cases) expect([body, (await patch(path, 'json', body)).status]).toEqual([body, status])
  })

  it('takes force only when it is applied', async () => {
    const answer = await patch(`${maps}/patched?force=true`, 'merge', { data: { a: 'c' } })
    expect(answer.json).toMatchObject({ code: 422, details: { causes: [{ field: 'force' }] } })
  })
})

describe('data', () => {
  it.each(['configmaps', 'secrets'])('of %s is bounded, and what is immutable stays so', async (plural) => {
    const path = `${space}/${plural}`
    const large = Buffer.alloc((1 << 20) + 1, 'x').toString(plural === 'secrets' ? 'base64' : 'utf8')
    const refused = await post(path, { metadata: { name: 'large' }, data: { a: large } })
    expect(said(refused)).toEqual([422, expect.stringContaining('at most 1048576 bytes, has 1048577')])
    await post(path, { metadata: { name: 'fixed' }, immutable: true, data: { a: 'YQ==' } })
    for (const change of [{ data: { a: 'Yg==' } }, { immutable: false }, { immutable: null }]) {
      expect([change, (await patch(`${path}/fixed`, 'merge', change)).status]).toEqual([change, 422])
    }
    expect((await patch(`${path}/fixed`, 'merge', { metadata: { labels: { a: 'b' } } })).status).toBe(200)
  })
})

describe('events', () => {
  const events = `${space}/events`
  const event = (name: string, namespace?: string) => ({
    metadata: { name },
    involvedObject: { kind: 'Pod', name: 'p', ...(namespace === undefined ? {} : { namespace }) },
    reason: 'Tried',
    message: 'it was tried',
    type: 'Normal',
    source: { component: 'tests', host: 'n1' },
    firstTimestamp: '2026-01-01T00:00:00Z',
    lastTimestamp: '2026-01-01T00:00:00Z',
    count: 3,
  })

  it('stand where their object does', async () => {
    expect((await post(events, event('e-1', 'default'))).status).toBe(201)
    expect((await post(events, event('e-2'))).status).toBe(201)
    const answer = await post(events, event('e-3', 'other'))
    expect(answer.json).toMatchObject({ code: 422, details: { causes: [{ field: 'involvedObject.namespace' }] } })
  })

  it('are shown with the columns that people know', async () => {
    const { stdout } = await harness.kubectl(['get', 'events'])
    const [header, row] = stdout.split('\n')
    expect(header).toMatch(/^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE$/)
    expect(row).toMatch(/^\S+ +Normal +Tried +pod\/p +it was tried$/)
    const wide = await harness.kubectl(['get', 'events', '-o', 'wide', '--no-headers'])
    expect(wide.stdout).toMatch(/tests, n1 +it was tried +\S+ +3 +e-1/)
  })
})

it('the bookmark that ends a list is a row whose object says so, for those who take tables', async () => {
  await create('shown')
  const query = 'watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan'
  const headers = { accept: TABLE, authorization: `Bearer ${ADMIN_TOKEN}` }
  const watch = openWatch(harness.session(), `${maps}?${query}`, headers)
  await eventually(() => watch.lines.at(-1)?.type === 'BOOKMARK')
  watch.stream.close()
  const annotations = { 'k8s.io/initial-events-end': 'true' }
  expect(watch.lines.at(-1)?.object).toMatchObject({
    kind: 'Table',
    rows: [
      { object: { kind: 'PartialObjectMetadata', metadata: { annotations, resourceVersion: expect.any(String) } } },
    ],
  })
})

it('the root tells which paths are served', async () => {
  const { json } = await harness.call('/')
  expect(json.paths).toEqual(expect.arrayContaining(['/api', '/apis', '/apis/apps/v1', '/openapi/v3', '/version']))
})
