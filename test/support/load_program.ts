/**
 * The load generator: a program of its own, so that a busy test never delays a request or blames one on the cluster.
 * It takes its settings as JSON in its only argument, works until its standard input ends, lets what is under way come
 * to its end, and prints what it has seen. Every request is counted: an answer that is not 200 with a body, a refusal,
 * a reset, an end before the whole answer and a time-out are failures; nothing is tried again.
 */
import { Agent, type IncomingMessage, request } from 'node:http'

export interface LoadSettings {
  streams: LoadStream[]
}

export interface LoadStream {
  name: string
  /** Tried in turn. */
  urls: string[]
  /** Requests at once. */
  workers: number
  /** Keep connections between requests. */
  keepAlive: boolean
  /** Between an answer and the next request of a worker. */
  thinkMs: number
  /** A request without a whole answer after this long has failed. */
  timeoutMs: number
}

export interface LoadReport {
  name: string
  ok: number
  /** By cause. */
  failures: Record<string, number>
  /** The first few, with the time at which the request began. */
  examples: { at: string; url: string; afterMs: number; cause: string }[]
  connections: number
  slowestMs: number
}

const MAX_EXAMPLES = 20
const stop = new AbortController()

function readAnswer(response: IncomingMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    let bytes = 0
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    response.on('error', reject)
    response.on('aborted', () => reject(new Error('cut off in the answer')))
    response.on('end', () => {
      if (response.statusCode === 200 && bytes > 0) resolve()
      else reject(new Error(`status ${response.statusCode}, ${bytes} bytes`))
    })
  })
}

/** Counts sockets without keeping them. */
class Sockets {
  readonly #seen = new WeakSet<object>()
  count = 0

  add(socket: object): void {
    if (this.#seen.has(socket)) return
    this.#seen.add(socket)
    this.count++
  }
}

function ask(url: string, agent: Agent, timeoutMs: number, sockets: Sockets): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent }, (response) => readAnswer(response).then(resolve, reject))
    const timer = setTimeout(() => asked.destroy(new Error('no answer in time')), timeoutMs)
    asked.on('socket', (socket) => sockets.add(socket))
    asked.on('close', () => clearTimeout(timer))
    asked.on('error', reject)
    asked.end()
  })
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function work(stream: LoadStream, first: number, report: LoadReport, sockets: Sockets): Promise<void> {
  // A connection of its own for each worker and host: a pool would hide which request met which connection.
  const agents = new Map(
    stream.urls.map((url) => [url, new Agent({ keepAlive: stream.keepAlive, maxSockets: 1, scheduling: 'fifo' })]),
  )
  for (let turn = first; !stop.signal.aborted; turn++) {
    const url = stream.urls[turn % stream.urls.length] as string
    const began = Date.now()
    try {
      await ask(url, agents.get(url) as Agent, stream.timeoutMs, sockets)
      report.ok++
    } catch (thrown) {
      const error = thrown as NodeJS.ErrnoException
      const cause = error.code ?? error.message
      report.failures[cause] = (report.failures[cause] ?? 0) + 1
      const at = new Date(began).toISOString()
      if (report.examples.length < MAX_EXAMPLES) report.examples.push({ at, url, afterMs: Date.now() - began, cause })
    }
    report.slowestMs = Math.max(report.slowestMs, Date.now() - began)
    if (stream.thinkMs > 0) await pause(stream.thinkMs)
  }
  for (const agent of agents.values()) agent.destroy()
}

async function run(stream: LoadStream): Promise<LoadReport> {
  const report: LoadReport = {
    name: stream.name,
    ok: 0,
    failures: {},
    examples: [],
    connections: 0,
    slowestMs: 0,
  }
  const sockets = new Sockets()
  await Promise.all(Array.from({ length: stream.workers }, (_, index) => work(stream, index, report, sockets)))
  return { ...report, connections: sockets.count }
}

process.stdin.on('end', () => stop.abort())
process.stdin.resume()
const { streams } = JSON.parse(process.argv[2] ?? '{}') as LoadSettings
process.stdout.write(JSON.stringify(await Promise.all(streams.map(run))))
