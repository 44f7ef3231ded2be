/** A real API server on loopback over the memory store, with certificates, a kubeconfig and kubectl. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Registry } from 'prom-client'
import { type ApiServer, createApiServer } from '../../src/apiserver/server.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { ensureSigningKeys } from '../../src/base/cluster_keys.ts'
import { DroverError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { type CertificateAndKey, createCa, issueCertificate } from '../../src/base/pki.ts'
import { type RunResult, run } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import type { NodeGateway } from '../../src/base/stream.ts'
import { ensureBuiltins } from '../../src/resources/builtins.ts'
import { createResources } from '../../src/resources/create.ts'
import { ensureDefaultRoles } from '../../src/resources/default_roles.ts'
import type { Resources } from '../../src/resources/resources.ts'
import { createServiceAccountTokens, type ServiceAccountTokens } from '../../src/resources/service_account_tokens.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'

const DAY_MS = 24 * 3_600_000

export const ADMIN_TOKEN = 'drvt-admin-token'
export const GUEST_TOKEN = 'drvt-guest-token'

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  /** Parsed when the answer is JSON. */
  json: Record<string, unknown>
}

export interface CallOptions {
  method?: string
  body?: string | Buffer | object
  headers?: Record<string, string>
  token?: string | undefined
}

export interface Harness {
  server: ApiServer
  resources: Resources
  store: Store
  serviceAccounts: ServiceAccountTokens
  registry: Registry
  port: number
  directory: string
  caFile: string
  ca: string
  /** What signs clients. */
  authority: CertificateAndKey
  clock: Clock
  /** A client certificate in group system:masters. */
  admin: { certPem: string; keyPem: string }
  /** One request over HTTP/2, as the administrator unless told otherwise. */
  call(path: string, options?: CallOptions): Promise<Answer>
  session(): ClientHttp2Session
  kubectl(
    args: readonly string[],
    options?: { input?: string; program?: string; timeoutMs?: number; env?: Record<string, string> },
  ): Promise<RunResult>
  kubeconfig: string
  /** Stops the server alone and waits for it. */
  stopServer(): Promise<void>
  stop(): Promise<void>
}

export const noGateway: NodeGateway = {
  open: (node) => Promise.reject(new DroverError('unavailable', `node ${node} has no session`)),
  connectedNodes: () => [],
}

export interface HarnessOptions {
  gateway?: NodeGateway
  ready?: () => boolean
  /** Changes that the store in memory remembers. */
  historyLimit?: number
  /** That the cache keeps of each kind. */
  ringEvents?: number
}

export async function startHarness(options: HarnessOptions = {}): Promise<Harness> {
  const directory = await mkdtemp(join(tmpdir(), 'drvt-apiserver-'))
  const clock = systemClock
  const { historyLimit, ringEvents } = options
  const store = createMemoryStore({ clock, ...(historyLimit === undefined ? {} : { historyLimit }) })
  const resources = createResources({
    store,
    clock,
    random: systemRandom,
    log: silentLogger,
    serviceCidr: '10.96.0.0/16',
    nodePortRange: { from: 30_000, to: 32_767 },
    ...(ringEvents === undefined ? {} : { ringEvents }),
  })
  const stop = new AbortController()
  const running: Promise<unknown>[] = [resources.run(stop.signal)]
  await resources.ready()
  await ensureBuiltins(resources)
  await ensureDefaultRoles(resources)
  const ca = await createCa('drvt-ca', { clock })
  const issue = { validityMs: DAY_MS, clock }
  const own = await issueCertificate(ca, {
    ...issue,
    commonName: 'drover',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
  })
  const admin = await issueCertificate(ca, {
    ...issue,
    commonName: 'admin',
    organizations: ['system:masters'],
    usages: ['client'],
  })
  const registry = new Registry()
  const keys = ensureSigningKeys(directory)
  const serviceAccounts = createServiceAccountTokens({ resources, clock, random: systemRandom, keys })
  const server = createApiServer({
    resources,
    serviceAccounts,
    gateway: options.gateway ?? noGateway,
    tls: { cert: own.certPem, key: own.keyPem, clientCa: ca.certPem },
    listen: [{ host: '127.0.0.1', port: 0 }],
    tokens: new Map([
      [ADMIN_TOKEN, { username: 'admin', groups: ['system:masters'] }],
      [GUEST_TOKEN, { username: 'guest', groups: ['guests'] }],
    ]),
    clock,
    random: systemRandom,
    log: silentLogger,
    registry,
    version: '0.1.0',
    readiness: () => {
      const ok = options.ready?.() ?? true
      return Promise.resolve([{ name: 'cache', ok, ...(ok ? {} : { message: 'not filled' }) }])
    },
  })
  const stopOne = new AbortController()
  stop.signal.addEventListener('abort', () => stopOne.abort())
  const serving = server.run(stopOne.signal)
  running.push(serving)
  await server.listening()
  const port = server.addresses()[0]?.port ?? 0
  const kubeconfig = join(directory, 'kubeconfig')
  const caFile = join(directory, 'ca.pem')
  await writeFile(caFile, ca.certPem)
  await writeFile(kubeconfig, kubeconfigText(port, ca.certPem, admin))
  let session = openSession(port, ca.certPem)
  return {
    server,
    resources,
    store,
    serviceAccounts,
    registry,
    port,
    directory,
    caFile,
    ca: ca.certPem,
    authority: ca,
    clock,
    admin,
    kubeconfig,
    session: () => session,
    call(path, call = {}) {
      if (session.closed || session.destroyed) session = openSession(port, ca.certPem)
      return request(session, path, call)
    },
    kubectl: (args, { input, program = 'kubectl', timeoutMs = 20_000, env = {} } = {}) =>
      run(program, ['--kubeconfig', kubeconfig, '--cache-dir', join(directory, 'cache'), ...args], {
        timeoutMs,
        env: { ...process.env, HOME: directory, ...env },
        ...(input === undefined ? {} : { input }),
      }),
    async stopServer() {
      stopOne.abort()
      await serving
    },
    async stop() {
      session.destroy()
      stop.abort()
      await Promise.all(running)
      await store.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

function openSession(port: number, ca: string): ClientHttp2Session {
  const session = connect(`https://127.0.0.1:${port}`, { ca })
  session.on('error', () => undefined)
  return session
}

function request(session: ClientHttp2Session, path: string, options: CallOptions): Promise<Answer> {
  const { method = 'GET', body, headers = {}, token = ADMIN_TOKEN } = options
  const isPlain = typeof body === 'string' || Buffer.isBuffer(body)
  const bytes = body === undefined ? undefined : isPlain ? body : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const head = {
      ':method': method,
      ':path': path,
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...(bytes === undefined || isPlain ? {} : { 'content-type': 'application/json' }),
      ...headers,
    }
    const stream = session.request(head, { endStream: bytes === undefined })
    let answered: IncomingHttpHeaders & { ':status'?: number | undefined } = {}
    const chunks: Buffer[] = []
    stream.on('response', (received) => {
      answered = received
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', reject)
    stream.on('end', () => {
      const bytes = Buffer.concat(chunks)
      const text = (answered['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes).toString('utf8')
      const isJson = (answered['content-type'] ?? '').startsWith('application/json') && !text.includes('}\n{')
      const json = isJson && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {}
      resolve({ status: answered[':status'] ?? 0, headers: answered, text, json })
    })
    if (bytes !== undefined) stream.end(bytes)
  })
}

function kubeconfigText(port: number, ca: string, { certPem, keyPem }: { certPem: string; keyPem: string }): string {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'drvt',
    clusters: [
      { name: 'drvt', cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority-data': base64(ca) } },
    ],
    users: [{ name: 'admin', user: { 'client-certificate-data': base64(certPem), 'client-key-data': base64(keyPem) } }],
    contexts: [{ name: 'drvt', context: { cluster: 'drvt', user: 'admin', namespace: 'default' } }],
  })
}
