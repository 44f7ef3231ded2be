/** Requests of probes and hooks against real servers. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { type Action, type ProbeTarget, runAction } from '../../src/agent/pod/probe_actions.ts'
import { systemClock } from '../../src/base/clock.ts'

const servers: { close(): unknown }[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

const target = (podIP: string): ProbeTarget => ({
  container: { name: 'c' },
  containerId: 'c-0',
  podIP,
  runtime: { execSync: () => Promise.reject(new Error('no programs here')) },
  clock: systemClock,
})

const get = (httpGet: NonNullable<Action['httpGet']>, podIP = '127.0.0.1') =>
  runAction({ httpGet }, target(podIP), 10_000)

async function serving(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  host = '127.0.0.1',
): Promise<{ port: number; paths: string[] }> {
  const paths: string[] = []
  const server: Server = createServer((request, response) => {
    paths.push(request.url ?? '')
    answer(request, response)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  return { port: (server.address() as AddressInfo).port, paths }
}

/** `/0` leads to `/1` and so on, to the last, which answers. */
const chain = (redirects: number) =>
  serving(({ url = '' }, response) => {
    const at = Number(url.slice(1))
    if (at < redirects) response.writeHead(302, { location: `/${at + 1}` }).end()
    else response.writeHead(200).end()
  })

test('hosts of IPv6 are asked, and their redirects followed', async () => {
  const hosts: (string | undefined)[] = []
  const { port, paths } = await serving(({ url, headers }, response) => {
    hosts.push(headers.host)
    if (url === '/there') response.writeHead(204).end()
    else response.writeHead(302, { location: url === '/' ? '/next' : `http://[0:0::1]:${port}/there` }).end()
  }, '::1')
  expect(await get({ port, host: '::1' })).toMatchObject({ ok: true, message: 'HTTP probe got status code 204' })
  expect(await get({ port }, '::1')).toMatchObject({ ok: true })
  expect(paths).toEqual(['/', '/next', '/there', '/', '/next', '/there'])
  expect(new Set(hosts)).toEqual(new Set([`[::1]:${port}`]))
})

test('a path is asked for as it was written', async () => {
  const { port, paths } = await serving((_, response) => response.writeHead(200).end())
  const written = [
    '/a/../b',
    '/%2e%2e/c%2Fd',
    '//e/./',
    'f?x=/../y|{z}',
    '',
    '/g\\h i"ü?j k#l',
    '?m',
    "/n;o,p!q'(r)*[s]",
  ]
  for (const path of written) expect(await get({ port, path })).toMatchObject({ ok: true })
  expect(paths).toEqual([
    ...['/a/../b', '/%2e%2e/c%2Fd', '//e/./', '/f?x=/../y|{z}', '/', '/g%5Ch%20i%22%C3%BC?j%20k', '/?m'],
    "/n;o,p!q'(r)*[s]",
  ])
})

test('nine redirects are followed and the tenth is not', async () => {
  const nine = await chain(9)
  expect(await get({ port: nine.port, path: '/0' })).toMatchObject({ ok: true, answered: true })
  expect(nine.paths).toHaveLength(10)
  const ten = await chain(10)
  const stopped = await get({ port: ten.port, path: '/0' })
  expect(stopped).toMatchObject({ ok: false, message: 'stopped after 10 redirects' })
  // Nor does a hook take it for an answer.
  expect(stopped.answered).toBeUndefined()
  expect(ten.paths).toHaveLength(10)
})

test('a redirect that leads nowhere has failed; one to another host, or to none, is an answer', async () => {
  const places: Record<string, string> = {
    '/broken': 'http://[',
    '/other': 'http://elsewhere.invalid/',
    '/none': '',
    '/mail': 'mailto:nobody@example.com',
    '/file': 'ftp://127.0.0.1/',
  }
  const { port } = await serving(({ url = '' }, response) => response.writeHead(301, { location: places[url] }).end())
  for (const path of ['/broken', '/file']) {
    const result = await get({ port, path })
    expect(result).toMatchObject({ ok: false, message: expect.stringContaining(`redirected to "${places[path]}"`) })
    expect(result.answered).toBeUndefined()
  }
  for (const path of ['/other', '/none', '/mail']) {
    expect(await get({ port, path })).toMatchObject({ ok: true, answered: true })
  }
})

test('a server without TLS is told from one that is not there', async () => {
  const { port, paths } = await serving((_, response) => response.writeHead(200).end())
  const plain = await get({ port, scheme: 'HTTPS' })
  expect(plain).toMatchObject({ ok: false, plain: true })
  expect(paths).toEqual([])
  const closing = createTcpServer((socket) => socket.destroy())
  servers.push(closing)
  await new Promise<void>((resolve) => closing.listen(0, '127.0.0.1', resolve))
  const closed = await get({ port: (closing.address() as AddressInfo).port, scheme: 'HTTPS' })
  expect(closed.ok).toBe(false)
  expect(closed.plain).toBeUndefined()
})
