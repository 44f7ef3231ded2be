/** etcd as a child: started with certificates, healed, adopted, stopped, its port kept. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { type CertificateAndKey, createCa, issueCertificate } from '../../src/base/pki.ts'
import { systemRandom } from '../../src/base/random.ts'
import type { EtcdTls } from '../../src/store/etcd/connection.ts'
import { createEtcdServer, type EtcdPki, type EtcdServer, type EtcdServerOptions } from '../../src/store/etcd/server.ts'
import { findProcesses } from '../../src/store/etcd/server_host.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import { codeOf, put } from '../support/store_contract.ts'

interface Home {
  dataDir: string
  pki: EtcdPki
  tls: EtcdTls
}

async function makeHome(): Promise<Home> {
  const dir = await mkdtemp(join(tmpdir(), 'drvt-etcd-server-'))
  const dataDir = join(dir, 'data')
  onTestFinished(async () => {
    for (const { pid } of await findProcesses(join(dataDir, 'etcd'))) process.kill(pid, 'SIGKILL')
    await rm(dir, { recursive: true, force: true })
  })
  const common = { clock: systemClock, validityMs: 3_600_000 }
  const ca = await createCa('drvt', { clock: systemClock })
  const server = await issueCertificate(ca, {
    ...common,
    commonName: 'etcd',
    ipAddresses: ['127.0.0.1'],
    dnsNames: ['localhost'],
    usages: ['server', 'client'],
  })
  const client = await issueCertificate(ca, { ...common, commonName: 'store', usages: ['client'] })
  const write = async (name: string, pair: CertificateAndKey) => {
    await writeFile(join(dir, `${name}.crt`), pair.certPem)
    await writeFile(join(dir, `${name}.key`), pair.keyPem)
    return { cert: join(dir, `${name}.crt`), key: join(dir, `${name}.key`) }
  }
  const files = {
    ca: await write('ca', ca),
    server: await write('server', server),
    client: await write('client', client),
  }
  return {
    dataDir,
    pki: {
      caFile: files.ca.cert,
      serverCertFile: files.server.cert,
      serverKeyFile: files.server.key,
      clientCertFile: files.client.cert,
      clientKeyFile: files.client.key,
    },
    tls: { ca: ca.certPem, cert: client.certPem, key: client.keyPem, serverName: 'localhost' },
  }
}

interface Running {
  server: EtcdServer
  endpoint: string
  stop(): Promise<void>
}

async function startServer(home: Home, more: Partial<EtcdServerOptions> = {}): Promise<Running> {
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  const server = createEtcdServer({ ...base, dataDir: home.dataDir, pki: home.pki, ...more })
  const stopping = new AbortController()
  const running = server.run(stopping.signal)
  const stop = async () => {
    stopping.abort()
    await running
  }
  onTestFinished(stop)
  return { server, endpoint: await server.endpoint(AbortSignal.timeout(20_000)), stop }
}

async function openStore(home: Home, endpoint: string) {
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  const store = await createEtcdStore({ ...base, endpoints: [endpoint], tls: home.tls, writerId: 'test' })
  onTestFinished(() => store.close())
  return store
}

test('it serves with certificates only, heals after kill -9 on the same port, and stops with its service', async () => {
  const home = await makeHome()
  const { server, endpoint, stop } = await startServer(home)
  const store = await openStore(home, endpoint)
  const revision = await put(store, '/a', '1')
  expect(await codeOf(fetch(`${endpoint.replace('https', 'http')}/health`))).not.toBe('resolved')
  const stranger = await createCa('stranger', { clock: systemClock })
  const request = { commonName: 'x', usages: ['client'] as const, validityMs: 3_600_000, clock: systemClock }
  const { certPem, keyPem } = await issueCertificate(stranger, request)
  const base = { clock: systemClock, random: systemRandom, log: silentLogger, writerId: 'x', connectTimeoutMs: 500 }
  const tls = { ca: home.tls.ca, cert: certPem, key: keyPem, serverName: 'localhost' }
  expect(await codeOf(createEtcdStore({ ...base, endpoints: [endpoint], tls }))).toBe('unavailable')

  const first = server.pid() ?? 0
  process.kill(first, 'SIGKILL')
  expect((await store.get('/a'))?.modRevision).toBe(revision)
  expect((await store.write({ type: 'put', key: '/a', value: '2', expect: { modRevision: revision } })).ok).toBe(true)
  expect(await server.endpoint()).toBe(endpoint)
  expect(server.pid()).not.toBe(first)
  await stop()
  expect(await findProcesses(join(home.dataDir, 'etcd'))).toEqual([])
})

test('an etcd that was left running is adopted; one with other arguments is replaced; never are there two', async () => {
  const home = await makeHome()
  const first = await startServer(home, { leaveRunning: true })
  const pid = first.server.pid()
  const store = await openStore(home, first.endpoint)
  await put(store, '/a', '1')
  await first.stop()
  const second = await startServer(home, { leaveRunning: true })
  expect(second.server.pid()).toBe(pid)
  expect(second.endpoint).toBe(first.endpoint)
  // Adopted ones heal as well.
  process.kill(pid ?? 0, 'SIGKILL')
  expect((await store.get('/a'))?.value).toBe('1')
  await second.server.endpoint()
  await second.stop()
  const before = await findProcesses(join(home.dataDir, 'etcd'))
  expect(before).toHaveLength(1)
  const third = await startServer(home, { quotaBytes: 64 << 20 })
  const after = await findProcesses(join(home.dataDir, 'etcd'))
  expect(after.map((found) => found.pid)).toEqual([third.server.pid()])
  expect(after[0]?.pid).not.toBe(before[0]?.pid)
  expect((await store.get('/a'))?.value).toBe('1')
})

test('when its port is taken while it is down, it moves and keeps its data', async () => {
  const home = await makeHome()
  const first = await startServer(home)
  await put(await openStore(home, first.endpoint), '/a', '1')
  await first.stop()
  const thief = createServer()
  await new Promise<void>((resolve) => thief.listen(Number(new URL(first.endpoint).port), '127.0.0.1', resolve))
  onTestFinished(() => void thief.close())
  const second = await startServer(home)
  expect(second.endpoint).not.toBe(first.endpoint)
  expect((await (await openStore(home, second.endpoint)).get('/a'))?.value).toBe('1')
})
