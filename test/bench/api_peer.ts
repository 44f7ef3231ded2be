/**
 * What the API server is measured beside: a process that does nothing but send bytes from memory over the same HTTP/2 and
 * TLS, a buffer to one client or a line to many.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { ClientHttp2Session } from 'node:http2'
import { systemClock } from '../../src/base/clock.ts'
import { createCa, issueCertificate } from '../../src/base/pki.ts'
import { openSession } from './api_server.ts'

const PROGRAM = `
const { createSecureServer } = require('node:http2')
const settings = { initialWindowSize: 1 << 20, maxConcurrentStreams: 1000 }
const server = createSecureServer({ key: process.env.KEY, cert: process.env.CERT, settings })
const watchers = new Set()
let bytes = Buffer.alloc(0)
server.on('session', (session) => session.setLocalWindowSize(4 << 20))
server.on('request', async (request, response) => {
  if (request.url === '/watch') {
    response.writeHead(200)
    response.flushHeaders()
    watchers.add(response)
    response.on('close', () => watchers.delete(response))
    return
  }
  if (request.method === 'GET') {
    for (let at = 0; at < bytes.length; at += 1 << 18) {
      if (!response.write(bytes.subarray(at, at + (1 << 18)))) await new Promise((done) => response.once('drain', done))
    }
    response.end()
    return
  }
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks)
  if (request.url === '/emit') for (const watcher of watchers) watcher.write(body)
  else bytes = Buffer.alloc(Number(body.toString()), 'x')
  response.end()
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
`

export class BenchPeer {
  readonly #child: ChildProcess
  readonly #origin: string
  readonly #ca: string

  private constructor(child: ChildProcess, port: number, ca: string) {
    this.#child = child
    this.#origin = `https://127.0.0.1:${port}`
    this.#ca = ca
  }

  static async start(): Promise<BenchPeer> {
    const ca = await createCa('drvb-ca', { clock: systemClock })
    const { certPem, keyPem } = await issueCertificate(ca, {
      commonName: 'peer',
      ipAddresses: ['127.0.0.1'],
      usages: ['server'],
      validityMs: 86_400_000,
      clock: systemClock,
    })
    const env = { ...process.env, KEY: keyPem, CERT: certPem }
    const child = spawn(process.execPath, ['-e', PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'], env })
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    return new BenchPeer(child, Number(line.toString()), ca.certPem)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  session(): ClientHttp2Session {
    return openSession(this.#origin, this.#ca)
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }
}
