/** A whole server whose certificates live for seconds: etcd, HTTPS, gRPC and the administrator outlive them all. */
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parse } from 'yaml'
import { systemClock } from '../../src/base/clock.ts'
import { runServer } from '../../src/bin/server.ts'
import { freePort } from '../support/etcd.ts'
import { eventually } from '../support/eventually.ts'

const LIFE_MS = 9_000
let dataDir: string
let control: AbortController
let running: Promise<void>
let port: number
let nodePort: number

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-server-'))
  control = new AbortController()
  port = await freePort()
  nodePort = await freePort()
  running = runServer(
    {
      clusterName: 'drvt',
      dataDir,
      runDir: join(dataDir, 'run'),
      listen: [`127.0.0.1:${port}`],
      nodeListen: `127.0.0.1:${nodePort}`,
      clusterCidr: '10.244.0.0/16',
      serviceCidr: '10.96.0.0/16',
      nodeCidrLength: '24',
      overlay: 'vxlan',
      nodePortRange: '30000-32767',
      notReadyAfter: '4000',
      certificateDays: String(LIFE_MS / 86_400_000),
      joinLine: false,
      etcdQuota: '2Gi',
      logLevel: 'silent',
    },
    { version: '0.1.0', signal: control.signal },
  )
  running.catch(() => undefined)
})

afterEach(async () => {
  control.abort()
  await running
  await rm(dataDir, { recursive: true, force: true })
})

async function etcdPort(): Promise<number> {
  const { client } = JSON.parse(await readFile(join(dataDir, 'etcd', 'ports.json'), 'utf8')) as { client: number }
  return client
}

/** The certificate that a new connection is shown, checked against the CA. */
async function shown(to: number, client?: { cert: string; key: string }): Promise<string> {
  const ca = await readFile(join(dataDir, 'pki', 'ca.crt'), 'utf8')
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: to, ca, servername: 'localhost', ALPNProtocols: ['h2'], ...client }
    const socket = connect(options, () => {
      resolve(socket.getPeerCertificate().serialNumber)
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

interface Kubeconfig {
  users: [{ user: { 'client-certificate-data': string; 'client-key-data': string } }]
}

async function admin(): Promise<{ cert: string; key: string }> {
  const { users } = parse(await readFile(join(dataDir, 'kubeconfig'), 'utf8')) as Kubeconfig
  const text = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8')
  const { user } = users[0]
  return { cert: text(user['client-certificate-data']), key: text(user['client-key-data']) }
}

async function call(
  method: string,
  path: string,
  client: { cert: string; key: string },
  body?: object,
): Promise<number> {
  const ca = await readFile(join(dataDir, 'pki', 'ca.crt'), 'utf8')
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const options = { method, host: '127.0.0.1', port, path, ca, ...client, agent: false, headers }
    const sent = request(options, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

const configMap = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { a: 'b' } })
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps'

async function etcdPid(): Promise<number> {
  const { findProcesses } = await import('../../src/store/etcd/server_host.ts')
  return (await findProcesses(join(dataDir, 'etcd', 'etcd')))[0]?.pid ?? 0
}

test('every certificate is renewed while it runs; afterwards all handshakes succeed, those of the old ones fail', async () => {
  await eventually(async () => (await call('GET', '/readyz', await admin())) === 200, { timeoutMs: 20_000 })
  const first = await admin()
  const [api, node, etcd] = [await shown(port), await shown(nodePort), await shown(await etcdPort(), first)]
  expect(await call('POST', CONFIG_MAPS, first, configMap('before'))).toBe(201)
  const endMs = Date.parse(new X509Certificate(first.cert).validTo)
  // At no time is there a certificate in use that has run out.
  await eventually(
    async () => {
      expect(await call('GET', `${CONFIG_MAPS}/before`, await admin())).toBe(200)
      await shown(nodePort)
      await shown(await etcdPort(), await admin())
      return systemClock.now() > endMs + 1_000
    },
    { timeoutMs: 30_000, intervalMs: 200 },
  )
  expect(await shown(port)).not.toBe(api)
  expect(await shown(nodePort)).not.toBe(node)
  expect(await shown(await etcdPort(), await admin())).not.toBe(etcd)
  expect(await call('GET', CONFIG_MAPS, first)).toBe(401)
  expect(await call('POST', CONFIG_MAPS, await admin(), configMap('after'))).toBe(201)

  // The store's next connection to etcd carries the renewed certificate: etcd is made to drop the present one.
  const pid = await etcdPid()
  process.kill(pid, 'SIGKILL')
  await eventually(async () => ![0, pid].includes(await etcdPid()), { timeoutMs: 10_000 })
  await eventually(async () => (await call('POST', CONFIG_MAPS, await admin(), configMap('last'))) !== 503, {
    timeoutMs: 20_000,
  })
  expect(await call('GET', `${CONFIG_MAPS}/last`, await admin())).toBe(200)
})
