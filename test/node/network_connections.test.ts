/** Connections to a pod as its network namespace shows them: by the real kernel table and the real `ss`. */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readConnections } from '../../src/agent/network/connections.ts'
import { isBusy } from '../../src/agent/pod/drain.ts'
import { runOk } from '../../src/base/process.ts'
import { eventually } from '../support/eventually.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'

/** Answers each line after as many milliseconds as it says. */
const SERVER = `
require('node:net').createServer((socket) => {
  socket.on('error', () => undefined)
  socket.on('data', (data) => setTimeout(() => socket.write('done\\n'), Number(data)))
}).listen(8080, '0.0.0.0')
`
const id = randomBytes(3).toString('hex')
const link = `drvt${id}`
/** A range of its own below 10.213, which nothing else here uses. */
const range = `10.213.${randomBytes(1)[0]}`
const address = `${range}.2`
let namespace: TestNamespace
let pid = 0
const sockets: Socket[] = []

beforeAll(async () => {
  namespace = await createNamespace(`drvt-${id}`)
  await runOk('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace.path])
  await runOk('ip', ['addr', 'add', `${range}.1/30`, 'dev', link])
  await runOk('ip', ['link', 'set', link, 'up'])
  await namespace.exec(['ip', 'addr', 'add', `${address}/30`, 'dev', 'eth0'])
  await namespace.exec(['ip', 'link', 'set', 'eth0', 'up'])
  pid = namespace.start([process.execPath, '-e', SERVER]).pid ?? 0
})

afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  await namespace.remove()
})

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: 8080 }, () => resolve(socket))
    socket.on('error', reject)
    sockets.push(socket)
  })
}

const busy = async (): Promise<boolean[]> => (await readConnections(pid)).map(isBusy)

test('none, a request under way, an answered one that keeps its connection, one that has gone', async () => {
  const socket = await eventually(open)
  socket.write('2500')
  await eventually(async () => (await readConnections(pid))[0]?.receivedBytes === 4)
  expect(await busy()).toEqual([true])
  // For more than a second nothing moves, and still the request is not answered.
  await eventually(async () => ((await readConnections(pid))[0]?.sinceReceivedMs ?? 0) > 1_200)
  expect(await busy()).toEqual([true])
  await new Promise((resolve) => socket.once('data', resolve))
  expect(await busy()).toEqual([true])
  await eventually(async () => (await busy())[0] === false)
  expect(await readConnections(pid)).toHaveLength(1)
  socket.destroy()
  await eventually(async () => (await readConnections(pid)).length === 0)
})
