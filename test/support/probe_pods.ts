/**
 * Pods that serve and ask: a small program on this machine's own Node (as in http_server.ts) that answers with its name and the
 * client's address, and does what the test tells it through a socket in a directory that both see. So traffic from inside
 * pods costs no `exec`.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { eventually } from './eventually.ts'
import { output } from './local_cluster.ts'

export const PORTS = { web: 8080, datagrams: 8081, second: 8082 }
const CONTROL = '/probe'

const SCRIPT = `
const http = require('node:http'), net = require('node:net'), dgram = require('node:dgram'), dns = require('node:dns')
const { readFileSync, rmSync } = require('node:fs')
const { NAME: name, WEB: web } = process.env
let ready = true
http.createServer((request, response) => {
  const url = new URL(request.url, 'http://x')
  if (url.pathname === '/ready') response.statusCode = ready ? 200 : 503
  const answer = JSON.stringify({ pod: name, client: request.socket.remoteAddress })
  response.end(answer + ' '.repeat(Number(url.searchParams.get('bytes') ?? 0)))
}).listen(Number(web), '0.0.0.0')
net.createServer((socket) => socket.on('error', () => 0).end(name + ' second')).listen(${PORTS.second}, '0.0.0.0')
const udp = dgram.createSocket('udp4')
udp.on('message', (text, { port, address }) => {
  const answer = JSON.stringify({ pod: name, client: address })
  udp.send(text.length > 200 ? answer.padEnd(text.length) : answer, port, address)
})
udp.bind(${PORTS.datagrams})
const timed = (ms, start) => new Promise((resolve) => {
  const begun = performance.now()
  const done = (word) => resolve({ ...word, ms: Math.round(performance.now() - begun) })
  start(done, setTimeout(() => done({ error: 'timeout' }), ms))
})
const ask = {
  http: ({ host, port, bytes = 0, timeoutMs = 3000 }) => timed(timeoutMs, (done) => {
    http.get({ host, port, path: '/?bytes=' + bytes, agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk) => { text += chunk })
      response.on('end', () => done({ ...JSON.parse(text), bytes: text.length }))
      response.on('error', (error) => done({ error: error.code }))
    }).on('error', (error) => done({ error: error.code }))
  }),
  tcp: ({ host, port, timeoutMs = 3000 }) => timed(timeoutMs, (done) => {
    let text = ''
    const socket = net.connect({ host, port }, () => 0)
    socket.on('data', (chunk) => { text += chunk }).on('end', () => done({ text })).on('error', (error) => done({ error: error.code }))
  }),
  udp: ({ host, port, bytes = 1, timeoutMs = 3000 }) => timed(timeoutMs, (done) => {
    const socket = dgram.createSocket('udp4')
    const end = (word) => { try { socket.close() } catch {} done(word) }
    socket.on('message', (text) => end({ ...JSON.parse(text), bytes: text.length })).on('error', (error) => end({ error: error.code }))
    socket.connect(port, host, (error) => error ? end({ error: error.code }) : socket.send(Buffer.alloc(bytes, 'x')))
    setTimeout(() => end({ error: 'timeout' }), timeoutMs)
  }),
  lookup: ({ host }) => new Promise((resolve) => dns.lookup(host, { all: true, family: 4 }, (error, all) =>
    resolve(error ? { error: error.code } : { addresses: all.map(({ address }) => address).sort() }))),
  ready: ({ value }) => { ready = value; return {} },
  snmp: () => {
    const rows = readFileSync('/proc/net/snmp', 'utf8').split('\\n').filter((line) => line.startsWith('Ip:')).map((line) => line.split(' '))
    return Object.fromEntries(rows[0].map((key, index) => [key, Number(rows[1][index])]).slice(1))
  },
}
const control = '${CONTROL}/' + name + '.sock'
rmSync(control, { force: true })
http.createServer((request, response) => {
  let text = ''
  request.on('data', (chunk) => { text += chunk }).on('end', async () => {
    const todo = JSON.parse(text)
    response.end(JSON.stringify(await Promise.all(todo.map((one) => ask[one.ask](one)))))
  })
}).listen(control)
process.on('SIGTERM', () => process.exit(0))
`

export interface Question {
  ask: 'http' | 'tcp' | 'udp' | 'lookup' | 'ready' | 'snmp'
  host?: string
  port?: number
  bytes?: number
  value?: boolean
  timeoutMs?: number
}

export interface Answer {
  pod?: string
  client?: string
  text?: string
  /** A code of the system, or `timeout`. */
  error?: string
  bytes?: number
  addresses?: string[]
  ms?: number
}

export class ProbePods {
  readonly #directory = mkdtempSync(join(tmpdir(), 'drvt-probe-'))
  readonly #image: string

  constructor(image: string) {
    this.#image = image
  }

  /** Spec of a pod; its program goes by the pod's name, and `web` is the port named so. */
  async spec(options: { web?: number; spec?: object } = {}): Promise<object> {
    const { web = PORTS.web, spec = {} } = options
    const program = realpathSync(process.execPath)
    const libraries = (await output('ldd', [program])).match(/\/\S+(?= \()/g) ?? []
    // getaddrinfo loads what asks name servers when it is first called.
    const directories = [...new Set([dirname(program), ...libraries.map((path) => dirname(path))])]
    mkdirSync(this.#directory, { recursive: true })
    const mounts = directories.map((mountPath, index) => ({ name: `host-${index}`, mountPath, readOnly: true }))
    const volumes = directories.map((path, index) => ({ name: `host-${index}`, hostPath: { path } }))
    return {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: this.#image,
          command: [program, '--max-semi-space-size=1', '-e', SCRIPT],
          env: [
            { name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
            { name: 'WEB', value: String(web) },
          ],
          ports: [{ name: 'web', containerPort: web }],
          volumeMounts: [...mounts, { name: 'probe', mountPath: CONTROL }],
          // Busy is not unready.
          readinessProbe: {
            httpGet: { path: '/ready', port: 'web' },
            periodSeconds: 1,
            timeoutSeconds: 10,
            failureThreshold: 1,
          },
        },
      ],
      volumes: [...volumes, { name: 'probe', hostPath: { path: this.#directory } }],
      ...spec,
    }
  }

  /** All questions at once, from inside the pod. */
  ask(pod: string, questions: readonly Question[]): Promise<Answer[]> {
    const body = JSON.stringify(questions)
    return new Promise((resolve, reject) => {
      const asking = request({ socketPath: join(this.#directory, `${pod}.sock`), method: 'POST', timeout: 30_000 })
      asking.on('response', (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString()
        })
        response.on('end', () => resolve(JSON.parse(text) as Answer[]))
        response.on('error', reject)
      })
      asking.on('timeout', () => asking.destroy(new Error(`${pod} does not answer`)))
      asking.on('error', reject)
      asking.end(body)
    })
  }

  async one(pod: string, question: Question): Promise<Answer> {
    const [answer] = await this.ask(pod, [question])
    if (answer === undefined) throw new Error(`${pod} gave no answer`)
    return answer
  }

  /** Names of the pods that answered, sorted; errors stand as they are. */
  async who(pod: string, question: Question, count = 1): Promise<string[]> {
    const answers = await this.ask(
      pod,
      Array.from({ length: count }, () => question),
    )
    return [...new Set(answers.map(({ pod: name, error }) => name ?? error ?? 'nothing'))].sort()
  }

  /**
   * Waits until a pod meets all of these and, often enough to tell, nobody else: an endpoint of five that should be gone stays
   * unseen once in a million times.
   */
  async meets(pod: string, question: Question, wanted: readonly string[]): Promise<void> {
    const seen = new Set<string>()
    let rounds = 0
    let last: string[] = []
    const settled = async (): Promise<boolean> => {
      last = await this.who(pod, question, 20)
      if (last.some((name) => !wanted.includes(name))) {
        rounds = 0
        seen.clear()
        return false
      }
      for (const name of last) seen.add(name)
      return ++rounds >= 3 && seen.size === wanted.length
    }
    await eventually(settled, { timeoutMs: 60_000, intervalMs: 50 }).catch(() => {
      throw new Error(`${pod} meets ${last.join(', ')} at ${question.host}:${question.port}, not ${wanted.join(', ')}`)
    })
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
