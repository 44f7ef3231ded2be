/**
 * Hostile requests against every endpoint of the real server: it answers each as the client's own mistake or does what was
 * asked, in bounded time and memory, and goes on. A short share here; `DROVER_FUZZ=100000` for as many.
 *
 * The server is one process from the first request to the last, and is weighed with its garbage collected: what it holds,
 * not what the collector has left for later. `DROVER_FUZZ_SNAPSHOTS=DIR` writes its heap at each weighing.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { ADMIN_TOKEN } from '../support/apiserver_harness.ts'
import type { Question, ServerPlace, Weight } from '../support/apiserver_process.ts'
import { eventually } from '../support/eventually.ts'
import { type HostileRequest, hostileRequest, replenishing } from '../support/hostile_requests.ts'
import { buildProgram, type TestProgram } from '../support/programs.ts'

const REQUESTS = Number(process.env.DROVER_FUZZ ?? 800)
const AT_ONCE = 8
/** So many requests between two replenishings. */
const PORTION = 1_000
/** A machine that others use is slow; a request whose time grows with the square of its length is slower. */
const SLOW_MS = 8_000
const WAIT_MS = 20_000
/** When it is weighed, in parts of all requests. By the first, objects of every kind are there and caches are full. */
const WEIGHINGS = [0.1, 0.25, 0.5, 0.75, 1]
/** What may come after the first weighing, however many requests: a leak of 100 bytes a request is more in 100,000. */
const MAX_HEAP_GROWTH_BYTES = 8e6
const MAX_RSS_GROWTH_BYTES = 80e6
/** Ours, and the two ends of the server's own. */
const SOCKETS = 3
const SETTLE_MS = 60_000

let program: TestProgram
let server: ChildProcess
let place: ServerPlace
let session: ClientHttp2Session | undefined
let sessions = 0
let slowest = { ms: 0, what: '' }
const statuses = new Map<number, number>()

beforeAll(async () => {
  program = await buildProgram('apiserver_process')
  server = fork(program.path)
  place = (await once(server, 'message'))[0] as ServerPlace
})
afterAll(async () => {
  session?.destroy()
  if (server.connected) {
    const ended = once(server, 'exit')
    server.disconnect()
    await ended
  }
  await program.remove()
})

async function ask(question: Question): Promise<unknown> {
  server.send(question)
  return (await once(server, 'message'))[0]
}

async function weigh(requests: number): Promise<Weight> {
  const memory = async (): Promise<Weight> => (await ask({ ask: 'memory' })) as Weight
  const { series } = await memory()
  // Sessions that were broken by resets hold what they held until they are found out.
  await eventually(async () => (await memory()).sockets <= SOCKETS, { timeoutMs: SETTLE_MS, intervalMs: 500 })
  const directory = process.env.DROVER_FUZZ_SNAPSHOTS
  if (directory !== undefined) await ask({ ask: 'snapshot', path: join(directory, `${requests}.heapsnapshot`) })
  return { ...(await memory()), series }
}

async function expectReady(): Promise<void> {
  const request = { method: 'GET', path: '/readyz', headers: {}, body: undefined }
  expect((await send(request)).status).toBe(200)
  expect(server.exitCode ?? server.signalCode, 'the same process still runs').toBeNull()
}

/** One that lives: what a peer calls a broken protocol ends the whole session. */
function openSession(): ClientHttp2Session {
  if (session === undefined || session.closed || session.destroyed) {
    session = connect(`https://127.0.0.1:${place.port}`, { ca: place.ca })
    session.on('error', () => undefined)
    sessions++
  }
  return session
}

interface Outcome {
  /** 0: the transport refused it, on either side. */
  status: number
  text: string
}

/** Resets the stream afterwards, as hostile clients do; by the thousand, that ends the session. */
function send(hostile: HostileRequest, isPolite = false): Promise<Outcome> {
  const { method, path, headers, body } = hostile
  return new Promise((resolve, reject) => {
    const head = { ...headers, ':method': method, ':path': path, authorization: `Bearer ${ADMIN_TOKEN}` }
    let stream: ClientHttp2Stream
    try {
      stream = openSession().request(head, { endStream: body === undefined })
    } catch {
      // What Node's own client will not send never arrives.
      resolve({ status: 0, text: '' })
      return
    }
    const timer = systemClock.schedule(WAIT_MS, () => {
      stream.close()
      reject(new Error(`no answer in ${WAIT_MS / 1000} s: ${method} ${path}`))
    })
    const done = (outcome: Outcome): void => {
      timer.cancel()
      if (!isPolite) stream.close()
      resolve(outcome)
    }
    let status = 0
    let text = ''
    stream.on('response', (answered) => {
      status = Number(answered[':status'])
      // A stream of events has no end of its own.
      if (status === 200 && path.includes('watch=')) done({ status, text: '' })
    })
    stream.on('data', (chunk: Buffer) => {
      if (text.length < 1_000) text += chunk.toString('latin1')
    })
    stream.on('error', () => done({ status: 0, text: '' }))
    stream.on('end', () => done({ status, text }))
    stream.on('close', () => done({ status, text }))
    if (body !== undefined) stream.end(body)
  })
}

/** These say that something else is missing, truthfully: no node is connected here, and nobody places pods. */
const TRUTHFUL = /has no session|no scheduler|not keep|placement|Too large resource version|not available here/

async function judge(request: HostileRequest): Promise<void> {
  const startMs = systemClock.monotonicMs()
  const { status, text } = await send(request)
  const ms = systemClock.monotonicMs() - startMs
  const what = `${request.method} ${request.path}`
  if (ms > slowest.ms) slowest = { ms, what: what.slice(0, 200) }
  statuses.set(status, (statuses.get(status) ?? 0) + 1)
  if (status >= 500 && !TRUTHFUL.test(text)) throw new Error(`${status} to ${what}: ${text}`)
  if (ms > SLOW_MS) throw new Error(`${Math.round(ms)} ms for ${what}`)
  // 417 is Node's own answer to an `Expect` that nobody knows.
  const isError = status >= 400 && status !== 417 && request.method !== 'HEAD'
  if (isError && !/^\{"kind":"Status".*"message":"/.test(text)) throw new Error(`${status} to ${what} says: ${text}`)
}

function tellWeight({
  requests,
  rssBytes,
  heapBytes,
  externalBytes,
  objects,
  series,
}: Weight & { requests: number }): string {
  const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
  return `  after ${requests}: ${mb(heapBytes)} of heap, ${mb(externalBytes)} outside it, ${mb(rssBytes)} resident, ${objects} objects, ${series} series\n`
}

/** What is there already says 409; what is refused otherwise would leave later requests with nothing to meet. */
async function replenish(request: HostileRequest): Promise<void> {
  const { status, text } = await eventually(async () => {
    const outcome = await send(request, true)
    // A session that was broken before takes these with it.
    return outcome.status === 0 ? undefined : outcome
  })
  if (status !== 201 && status !== 409) throw new Error(`${status} to ${request.path}: ${text}`)
}

describe('hostile requests', () => {
  it(`are answered, ${REQUESTS} of them`, {
    timeout: 60_000 + WEIGHINGS.length * SETTLE_MS + REQUESTS * 30,
  }, async () => {
    const run = (requests: number): Promise<void> =>
      fc.assert(
        fc.asyncProperty(fc.array(hostileRequest, { minLength: AT_ONCE, maxLength: AT_ONCE }), async (batch) => {
          await Promise.all(batch.map(judge))
        }),
        {
          numRuns: Math.ceil(requests / AT_ONCE),
          interruptAfterTimeLimit: 30_000 + requests * 25,
          markInterruptAsFailure: true,
        },
      )
    const weights: (Weight & { requests: number })[] = []
    for (const part of WEIGHINGS) {
      const requests = Math.ceil(REQUESTS * part)
      for (let done = weights.at(-1)?.requests ?? 0; done < requests; ) {
        if (done % PORTION === 0) await Promise.all(replenishing.map(replenish))
        const portion = Math.min(PORTION - (done % PORTION), requests - done)
        await run(portion)
        done += portion
      }
      weights.push({ requests, ...(await weigh(requests)) })
    }
    process.stdout.write(
      `fuzz: ${REQUESTS} requests in ${sessions} sessions; by status ${JSON.stringify(Object.fromEntries([...statuses].sort()))}; ` +
        `slowest ${slowest.ms.toFixed(0)} ms (${slowest.what})\n${weights.map(tellWeight).join('')}`,
    )
    const [first, last] = [weights[0], weights.at(-1)]
    if (first === undefined || last === undefined) throw new Error('it was never weighed')
    expect(last.heapBytes - first.heapBytes).toBeLessThan(MAX_HEAP_GROWTH_BYTES)
    expect(last.rssBytes - first.rssBytes).toBeLessThan(MAX_RSS_GROWTH_BYTES)
    expect(statuses.get(200) ?? 0, 'some of it is well formed').toBeGreaterThan(REQUESTS / 50)
    await expectReady()
  })

  it('that are no HTTP at all end their own connection only', async () => {
    const lines = [
      'GET / HTTP/1.1\r\n\r\n',
      'GET  /  HTTP/9\r\n\r\n',
      `GET / HTTP/1.1\r\nhost: x\r\n${'a: b\r\n'.repeat(5_000)}\r\n`,
      `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
      'POST /api/v1/namespaces HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      'POST /api/v1/namespaces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
      'GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
      'GET /api/v1/namespaces/default/pods/%/exec HTTP/1.1\r\nhost: x\r\nupgrade: SPDY/3.1\r\nconnection: upgrade\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot frames',
      '\0'.repeat(1_000),
    ]
    for (const line of lines) {
      for (const protocol of ['http/1.1', 'h2']) {
        const options = { host: '127.0.0.1', port: place.port, ca: place.ca, ALPNProtocols: [protocol] }
        const socket = connectTls(options)
        socket.on('error', () => undefined)
        const closed = new Promise((resolve) => socket.once('close', resolve))
        await once(socket, 'secureConnect')
        socket.end(line)
        socket.resume()
        await closed
      }
    }
    await expectReady()
  })
})
