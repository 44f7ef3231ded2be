/** HTTP/2 sessions whose clients live, and those that are broken though nobody says so. */
import { once } from 'node:events'
import { type ClientHttp2Session, connect, createServer } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { LiveSessions } from '../../src/apiserver/live_sessions.ts'
import { eventually } from '../support/eventually.ts'
import { createManualClock } from '../support/manual_clock.ts'

async function startServer() {
  const clock = createManualClock()
  const sessions = new LiveSessions(clock)
  const sockets = new Set<Socket>()
  const server = createServer({ settings: { maxConcurrentStreams: 5_000 } })
  // Before Node's own listener, which makes a session of it.
  server.prependListener('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('session', (session) => {
    sessions.add(session, [...sockets].at(-1))
    session.on('error', () => undefined)
  })
  // They stay open, as watches do.
  server.on('stream', (stream) => {
    stream.on('error', () => undefined)
    stream.respond()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const open = async (): Promise<ClientHttp2Session> => {
    const client = connect(`http://127.0.0.1:${port}`)
    client.on('error', () => undefined)
    await once(client, 'connect')
    return client
  }
  onTestFinished(() => {
    sessions.destroy()
    server.close()
  })
  return { clock, sessions, sockets, open }
}

/** Opens and resets, as a client does that gives up watches. */
async function resetStreams(client: ClientHttp2Session, count: number): Promise<void> {
  for (let i = 0; i < count && !client.closed && !client.destroyed; i++) {
    const stream = client.request()
    stream.on('error', () => undefined)
    const answered = new Promise((resolve) => {
      stream.once('response', resolve)
      stream.once('close', resolve)
    })
    await answered
    stream.close()
  }
}

test('a session that rapid resets have broken is ended within seconds, its socket with it', async () => {
  const { clock, sessions, sockets, open } = await startServer()
  const patient = await open()
  const broken = await open()
  await resetStreams(broken, 1_500)
  expect(broken.destroyed, 'the guard has ended it').toBe(true)
  await eventually(() => sessions.size === 2)
  expect(sockets.size, 'Node leaves it open').toBe(2)
  await clock.advance(5_000)
  await clock.advance(10_000)
  expect(sockets.size, 'it has time to answer').toBe(2)
  await clock.advance(10_000)
  await eventually(() => sockets.size === 1)
  expect(sessions.size).toBe(1)
  await new Promise((resolve) => patient.ping(resolve))
  expect(patient.destroyed, 'others are left alone').toBe(false)
  patient.destroy()
  await eventually(() => sessions.size === 0)
})

test('a session that answers lives on, quiet or busy', async () => {
  const { clock, sessions, open } = await startServer()
  const [quiet, busy] = [await open(), await open()]
  for (let round = 0; round < 8; round++) {
    await resetStreams(busy, 100)
    await clock.advance(20_000)
    // Their answers travel in real time.
    for (const client of [quiet, busy]) await new Promise((resolve) => client.ping(resolve))
  }
  expect([quiet.destroyed, busy.destroyed, sessions.size]).toEqual([false, false, 2])
  quiet.destroy()
  busy.destroy()
})
