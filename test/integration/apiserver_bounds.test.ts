/** What one client may take: bytes, members, places; and that the others go on meanwhile. */
import { type ClientHttp2Stream, connect } from 'node:http2'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { ADMIN_TOKEN, GUEST_TOKEN, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'

let harness: Harness
const maps = '/api/v1/namespaces/default/configmaps'

beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

interface RawAnswer {
  encoding: string | undefined
  vary: string | undefined
  etag: string | undefined
  status: number
  body: Buffer
}

/** The bytes as they came. */
function raw(path: string, headers: Record<string, string>): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const stream = harness.session().request({ ':path': path, authorization: `Bearer ${ADMIN_TOKEN}`, ...headers })
    const chunks: Buffer[] = []
    let answer = {
      encoding: '' as string | undefined,
      vary: '' as string | undefined,
      etag: '' as string | undefined,
      status: 0,
    }
    stream.on('response', (head) => {
      const { vary, etag } = head
      answer = { encoding: head['content-encoding'], vary, etag, status: Number(head[':status']) }
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', reject)
    stream.on('end', () => resolve({ ...answer, body: Buffer.concat(chunks) }))
  })
}

describe('large lists', () => {
  it('are compressed when that is asked for, and are the same list', async () => {
    const names = Array.from({ length: 40 }, (_, index) => `big-${index}`)
    for (const name of names) {
      const metadata = { name, namespace: 'default' }
      await harness.resources.create(configMapKind, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata,
        data: { filler: `${name} `.repeat(2_000) },
      })
    }
    const plain = await raw(maps, {})
    const packed = await raw(maps, { 'accept-encoding': 'deflate, gzip' })
    expect([plain.encoding, packed.encoding]).toEqual([undefined, 'gzip'])
    expect(packed.body.length).toBeLessThan(plain.body.length / 10)
    const list = JSON.parse(gunzipSync(packed.body).toString()) as { items: { metadata: { name: string } }[] }
    expect(list).toEqual(JSON.parse(plain.body.toString()))
    expect(list.items).toHaveLength(40)
    const small = await raw(`${maps}?limit=1`, { 'accept-encoding': 'gzip' })
    expect(small.encoding).toBeUndefined()
    const head = await harness.call(maps, { method: 'HEAD' })
    expect([head.status, head.text]).toEqual([200, ''])
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io'
    const table = await raw(`${maps}?includeObject=Object`, { 'accept-encoding': 'gzip', accept })
    expect([table.encoding, table.vary]).toEqual(['gzip', 'Accept-Encoding'])
    const { rows } = JSON.parse(gunzipSync(table.body).toString()) as { rows: object[] }
    expect(rows).toHaveLength(40)
  })

  it('and large objects are compressed, small ones and watches are not', async () => {
    const data = { a: 'ab'.repeat(100_000) }
    const large = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'large', namespace: 'default' }, data }
    await harness.resources.create(configMapKind, large)
    const answer = await raw(`${maps}/large`, { 'accept-encoding': 'gzip' })
    expect([answer.encoding, answer.vary]).toEqual(['gzip', 'Accept-Encoding'])
    expect(JSON.parse(gunzipSync(answer.body).toString())).toMatchObject({ data })
    expect((await raw(`${maps}/large`, {})).body.length).toBeGreaterThan(200_000)
    expect((await raw(`${maps}/big-1`, { 'accept-encoding': 'gzip' })).encoding).toBeUndefined()
    const watch = await raw(`${maps}?watch=1&timeoutSeconds=1`, { 'accept-encoding': 'gzip' })
    expect(watch.encoding).toBeUndefined()
    const lines = watch.body.toString().trim().split('\n')
    expect(lines.map((line) => (JSON.parse(line) as { type: string }).type)).toContain('ADDED')
  })
})

describe('documents', () => {
  const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json'
  it.each([
    ['/apis', aggregated],
    ['/api/v1', 'application/json'],
    ['/openapi/v2', 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf'],
    ['/openapi/v3/apis/apps/v1', 'application/json'],
  ])('%s comes compressed to those who ask, with the same content and the same tag', async (path, accept) => {
    const plain = await raw(path, { accept })
    const packed = await raw(path, { accept, 'accept-encoding': 'gzip' })
    expect([plain.encoding, packed.encoding]).toEqual([undefined, 'gzip'])
    expect(packed.vary).toBe('Accept, Accept-Encoding')
    expect(gunzipSync(packed.body).equals(plain.body)).toBe(true)
    expect(packed.body.length).toBeLessThan(plain.body.length / 3)
    const known = { accept, 'accept-encoding': 'gzip', 'if-none-match': String(packed.etag) }
    const again = await raw(path, known)
    expect([again.status, again.body.length, again.etag]).toEqual([304, 0, plain.etag])
  })
})

describe('bodies', () => {
  const post = (body: string | Buffer, type = 'application/json') =>
    harness.call(maps, { method: 'POST', body, headers: { 'content-type': type } })
  const map = (value: string): string => `{"metadata":{"name":"x"},"data":${value}}`

  it('are bounded in bytes, depth and number of members', async () => {
    expect((await post(Buffer.alloc(4 << 20, 'x'))).json).toMatchObject({ code: 413 })
    expect((await post(map(`${'['.repeat(200_000)}${']'.repeat(200_000)}`))).json).toMatchObject({ code: 400 })
    expect((await post(map(`[${'0,'.repeat(200_000)}0]`))).json).toMatchObject({ code: 413 })
    expect((await post(`a: ${'b'.repeat(600 << 10)}`, 'application/yaml')).json).toMatchObject({ code: 413 })
    const operations = Array.from({ length: 11_000 }, () => ({ op: 'test', path: '/kind', value: 'ConfigMap' }))
    await harness.call(maps, { method: 'POST', body: { metadata: { name: 'patched' } } })
    const patch = (body: unknown) =>
      harness.call(`${maps}/patched`, {
        method: 'PATCH',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json-patch+json' },
      })
    expect((await patch(operations)).status).toBe(400)
    const nested = `{"items":${'['.repeat(50_000)}${']'.repeat(50_000)}}`
    const plan = await harness.call('/apis/drover.dev/v1/plan', { method: 'POST', body: nested })
    expect(plan.json).toMatchObject({ code: 400, message: expect.stringContaining('nested deeper than 100') as string })
    const doubling = Array.from({ length: 60 }, (_, index) => ({ op: 'copy', from: '', path: `/x${index}` }))
    expect((await patch(doubling)).status).toBe(413)
  })
})

describe('one client', () => {
  it('that floods the server does not keep others waiting, and is told to come back', async () => {
    const flood = connect(`https://127.0.0.1:${harness.port}`, { ca: harness.ca })
    flood.on('error', () => undefined)
    // Bodies that never end hold their places until they are given up.
    const statuses: number[] = []
    const streams = Array.from({ length: 600 }, () => {
      const stream = flood.request({
        ':method': 'POST',
        ':path': '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        'content-type': 'application/json',
        authorization: `Bearer ${GUEST_TOKEN}`,
      })
      stream.on('response', (headers) => statuses.push(Number(headers[':status'])))
      stream.on('error', () => undefined)
      stream.write('{')
      return stream
    })
    try {
      await eventually(() => statuses.length >= 100, { timeoutMs: 20_000 })
      expect(new Set(statuses)).toEqual(new Set([429]))
      const answer = await harness.call(maps, { method: 'POST', body: { metadata: { name: 'beside' } } })
      expect(answer.status).toBe(201)
    } finally {
      for (const stream of streams) stream.close()
      flood.destroy()
    }
  })
})

describe('a watcher that does not keep up', () => {
  it('is cut off at its bound and told to list again, while others are told everything', async () => {
    const changes = 40
    const metadata = { name: 'busy', namespace: 'default' }
    await harness.resources.create(configMapKind, { apiVersion: 'v1', kind: 'ConfigMap', metadata })
    const session = connect(`https://127.0.0.1:${harness.port}`, { ca: harness.ca })
    const open = (): Promise<ClientHttp2Stream> => {
      const path = `${maps}?watch=1&fieldSelector=metadata.name=busy`
      const stream = session.request({ ':path': path, authorization: `Bearer ${ADMIN_TOKEN}` })
      return new Promise((resolve) => stream.once('response', () => resolve(stream)))
    }
    const [slow, quick] = [await open(), await open()]
    const told: string[] = []
    const read = (stream: ClientHttp2Stream, lines: string[]): void => {
      let rest = ''
      stream.on('data', (chunk: Buffer) => {
        const parts = (rest + chunk.toString()).split('\n')
        rest = parts.pop() ?? ''
        lines.push(...parts)
      })
    }
    read(quick, told)
    try {
      // Three times the bound; nobody reads the slow one's meanwhile.
      for (let round = 0; round < changes; round++) {
        await harness.resources.modify(configMapKind, 'default', 'busy', 'main', (map) => {
          return { ...map, data: { round: `${round}`.padEnd(300_000, '.') } }
        })
        await eventually(() => told.length >= round + 2)
      }
      const late: string[] = []
      const ended = new Promise((resolve) => slow.once('end', resolve))
      read(slow, late)
      await ended
      expect(late.length).toBeLessThan(changes)
      expect(JSON.parse(late.at(-1) ?? '')).toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } })
      expect(told).toHaveLength(changes + 1)
      expect(quick.closed).toBe(false)
    } finally {
      session.destroy()
    }
  })
})

describe('a namespace that ends', () => {
  it('refuses new content', async () => {
    const metadata = { name: 'ending' }
    await harness.resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata })
    await harness.call('/api/v1/namespaces/ending', { method: 'DELETE' })
    const body = { metadata: { name: 'late' } }
    const late = await harness.call('/api/v1/namespaces/ending/configmaps', { method: 'POST', body })
    expect(late.json).toMatchObject({ code: 403, reason: 'Forbidden' })
  })
})
