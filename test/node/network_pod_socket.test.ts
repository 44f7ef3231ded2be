/** Connections from inside a pod's namespace, to programs that listen on its loopback alone. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { PodSocket } from '../../src/agent/network/network.ts'
import { openPodSocket } from '../../src/agent/network/pod_socket.ts'
import { eventually } from '../support/eventually.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'

/** An echo that answers the end with the end, on IPv4; a word on IPv6; and one that never ends. */
const SERVERS = `
const net = require('node:net')
net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(7, '127.0.0.1')
net.createServer((socket) => socket.end('six')).listen(6, '::1')
net.createServer((socket) => { socket.on('error', () => undefined); socket.write('on') }).listen(8, '127.0.0.1')
`
let namespace: TestNamespace

beforeAll(async () => {
  namespace = await createNamespace(`drvt-${randomBytes(3).toString('hex')}`)
  await namespace.exec(['ip', 'link', 'set', 'lo', 'up'])
  namespace.start([process.execPath, '-e', SERVERS])
  await eventually(async () => (await namespace.exec(['ss', '-ltnH'])).stdout.trim().split('\n').length === 3)
})
afterAll(() => namespace.remove())

const open = (port: number): PodSocket => openPodSocket(['nsenter', `--net=${namespace.path}`], port)

async function read({ output }: PodSocket): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of output) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

test('carries data both ways, each direction to its own end', async () => {
  const data = randomBytes(3 << 20)
  const socket = open(7)
  socket.input.end(data)
  expect((await read(socket)).equals(data)).toBe(true)
  await socket.ended
  const six = open(6)
  six.input.end()
  expect((await read(six)).toString()).toBe('six')
  await six.ended
})

test('says that nobody listens', async () => {
  const socket = open(81)
  socket.input.end('x')
  expect(await read(socket)).toHaveLength(0)
  await expect(socket.ended).rejects.toMatchObject({ code: 'unavailable', message: 'port 81: connection refused' })
})

test('a connection that is given up leaves nothing', async () => {
  const socket = open(8)
  await new Promise((resolve) => socket.output.once('data', resolve))
  socket.close()
  await socket.ended
  const established = async (): Promise<string> => (await namespace.exec(['ss', '-tnH', 'state', 'established'])).stdout
  await eventually(async () => (await established()).trim() === '')
})
