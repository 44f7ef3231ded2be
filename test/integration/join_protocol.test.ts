/** Joining over real TLS and gRPC: what lets a machine in, and everything that keeps it out. */
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { Client } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createAgent } from '../../src/agent/agent.ts'
import {
  type JoinOptions,
  joinCluster,
  keepRenewed,
  mustJoin,
  readIdentity,
  setRemoved,
} from '../../src/agent/identity.ts'
import {
  createJoinToken,
  formatJoinToken,
  type JoinToken,
  tokenSecret,
  tokenSecretName,
} from '../../src/api/join_token.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import { isNodeReady, type Node, nodeKind } from '../../src/api/node.ts'
import { secretKind } from '../../src/api/secret.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { createLogger, type Logger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { certificateFacts, createCa, createKey, issueCertificate } from '../../src/base/pki.ts'
import { systemRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import type { DispatchOptions } from '../../src/dispatch/dispatch.ts'
import { ensureBuiltins } from '../../src/resources/builtins.ts'
import { caOnlySecurity } from '../../src/rpc/client.ts'
import { callRenew } from '../../src/rpc/join_client.ts'
import { NODE_SERVICE } from '../../src/rpc/node_service.ts'
import { eventually } from '../support/eventually.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { addressOf, holds, SessionHarness } from '../support/node_session.ts'

const DAY_MS = 86_400_000
let harness: SessionHarness
let directory: string
let stops: (() => Promise<void>)[]
let logged: string[]
let log: Logger

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
  await ensureBuiltins(harness.resources)
  directory = await mkdtemp(join(tmpdir(), 'drvt-join-'))
  stops = []
  logged = []
  log = createLogger('test', 'debug', { write: (line: string) => void logged.push(line) })
})

afterEach(async () => {
  for (const stop of stops.reverse()) await stop()
  await harness.close()
  await rm(directory, { recursive: true, force: true })
})

const shifted = (ms: number): Clock => ({ ...systemClock, now: () => systemClock.now() + ms })
const node = (name: string): Node | undefined => harness.resources.get(nodeKind, '', name)

async function startServer(options: Partial<DispatchOptions> = {}, certificateMs = DAY_MS): Promise<string> {
  const dispatch = await harness.startDispatch({
    log,
    join: { ca: harness.ca, certificateMs, clusterName: 'drvt', servers: () => ['10.0.0.5:6444'] },
    ...options,
  })
  return addressOf(dispatch)
}

async function makeToken(expiresAtMs = systemClock.now() + DAY_MS): Promise<JoinToken> {
  const token = createJoinToken(certificateFacts(harness.ca.certPem).publicKeySha256)
  await harness.resources.create(secretKind, tokenSecret(token, { expiresAtMs, description: '' }))
  return token
}

function joining(token: JoinToken, address: string, options: Partial<JoinOptions> = {}): Promise<void> {
  const { nodeName = 'n1' } = options
  return joinCluster({
    token,
    servers: [address],
    nodeName,
    labels: {},
    taints: [],
    dataDir: join(directory, nodeName),
    clock: systemClock,
    random: systemRandom,
    log,
    ...options,
  })
}

/** Runs the agent that has joined, on a host in memory. */
function startJoined(nodeName: string, address: string, host = new FakeHost()) {
  const dataDir = join(directory, nodeName)
  const membership: boolean[] = []
  const agent = createAgent({
    nodeName,
    server: { address },
    tls: () => {
      const stored = readIdentity(dataDir)
      if (stored === undefined) throw new Error('not joined')
      return stored.tls
    },
    onMembership: (member) => {
      membership.push(member)
      setRemoved(dataDir, !member)
    },
    drivers: fakeDrivers(host),
    dataDir,
    nodeAddress: '127.0.0.1',
    clock: systemClock,
    random: systemRandom,
    log,
    registry: new Registry(),
    version: 'v0.0.0-test',
  })
  const control = new AbortController()
  const renewal = {
    id: 'renewal',
    run: (signal: AbortSignal) => keepRenewed({ dataDir, servers: [address], clock: systemClock, log }, signal),
  }
  const done = runServices([agent.service, renewal], { clock: systemClock, random: systemRandom, log }, control.signal)
  const stop = async (): Promise<void> => {
    control.abort()
    await done
  }
  stops.push(stop)
  return { agent, host, membership, stop }
}

describe('joining', () => {
  test('a machine with a token becomes a node with its labels and taints, and its key stays with it', async () => {
    const address = await startServer()
    const token = await makeToken()
    const taint = { key: 'gpu', value: 'yes', effect: 'NoSchedule' as const }
    await joining(token, address, { labels: { zone: 'a' }, taints: [taint] })
    expect(node('n1')?.metadata.labels).toMatchObject({ zone: 'a' })
    expect(node('n1')?.spec?.taints).toEqual([taint])

    const pki = join(directory, 'n1', 'pki')
    expect((await readdir(pki)).sort()).toEqual(['ca.crt', 'node.pem', 'servers'])
    expect((await stat(join(pki, 'node.pem'))).mode & 0o777).toBe(0o600)
    const stored = readIdentity(join(directory, 'n1'))
    expect(stored).toMatchObject({ nodeName: 'n1', removed: false, servers: [address, '10.0.0.5:6444'] })
    const facts = certificateFacts(stored?.tls.cert ?? '')
    expect(facts.organizations).toEqual(['system:nodes'])
    expect(facts.notAfterMs).toBeGreaterThan(systemClock.now() + DAY_MS - 60_000)

    const { agent } = startJoined('n1', address)
    await holds(() => expect(agent.state().connected).toBe(true))
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true))
    expect(node('n1')?.spec?.taints).toEqual([taint])
  })

  test('neither the secret nor the key is ever logged, nor stored by the cluster', async () => {
    const address = await startServer()
    const token = await makeToken()
    await joining(token, address)
    await expect(joining({ ...token, secret: '0'.repeat(32) }, address)).rejects.toThrow()
    const { secret } = token
    expect(logged.join('')).toContain('node joined')
    expect(logged.join('')).not.toContain(secret)
    expect(logged.join('')).not.toContain('PRIVATE KEY')
    const stored = JSON.stringify(harness.resources.list(secretKind))
    expect(stored).not.toContain(secret)
    expect(stored).not.toContain(Buffer.from(secret).toString('base64'))
  })

  test('later starts need no token; contradictions are refused in words', async () => {
    const address = await startServer()
    const token = await makeToken()
    const dataDir = join(directory, 'n1')
    const check = { nodeName: 'n1', token: undefined, nowMs: systemClock.now(), dataDir }
    expect(() => mustJoin(undefined, check)).toThrow(/has not joined a cluster.*drover token create/)
    await joining(token, address)
    const stored = readIdentity(dataDir)
    expect(mustJoin(stored, check)).toBe(false)
    expect(mustJoin(stored, { ...check, token })).toBe(false)
    expect(() => mustJoin(stored, { ...check, nodeName: 'other' })).toThrow(/joined as node "n1", not "other"/)
    const foreign = { ...token, caHash: 'f'.repeat(64) }
    expect(() => mustJoin(stored, { ...check, token: foreign })).toThrow(/belongs to another cluster/)
    const late = { ...check, nowMs: systemClock.now() + 2 * DAY_MS }
    expect(() => mustJoin(stored, late)).toThrow(/expired at .*join again/)
    expect(mustJoin(stored, { ...late, token })).toBe(true)
    setRemoved(dataDir, true)
    expect(mustJoin(readIdentity(dataDir), { ...check, token })).toBe(true)
  })
})

describe('what keeps a machine out', () => {
  test('a wrong, revoked or expired token', async () => {
    const address = await startServer()
    const token = await makeToken()
    const code = 'unauthorized'
    await expect(joining({ ...token, secret: 'a'.repeat(32) }, address)).rejects.toMatchObject({ code })
    await expect(joining({ ...token, id: 'zzzzzz' }, address)).rejects.toThrow(/not known to this cluster/)
    await harness.resources.delete(secretKind, 'kube-system', tokenSecretName(token.id))
    await expect(joining(token, address)).rejects.toMatchObject({ code, message: expect.stringMatching(/revoked/) })
    const old = await makeToken(systemClock.now() - 1_000)
    await expect(joining(old, address)).rejects.toMatchObject({ code, message: expect.stringMatching(/expired at/) })
    expect(harness.resources.list(nodeKind)).toEqual([])
    expect(readIdentity(join(directory, 'n1'))).toBeUndefined()
  })

  test('a server of another CA is not told the secret', async () => {
    const address = await startServer()
    const token = { ...(await makeToken()), caHash: 'ab'.repeat(32) }
    await expect(joining(token, address)).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringMatching(/not of the cluster that made this token.*nothing was sent/),
    })
    expect(logged.join('')).not.toContain('join refused')
  })

  test('a server that shows the right CA but is not certified by it is not told the secret either', async () => {
    const token = await makeToken()
    const other = await createCa('other', { clock: systemClock })
    const names = { commonName: 'x', dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] }
    const usages = ['server'] as const
    const leaf = await issueCertificate(other, { ...names, usages, validityMs: DAY_MS, clock: systemClock })
    // The true CA's certificate is public: anyone can send it behind a leaf of his own.
    const address = await startServer({ tls: { ca: harness.ca.certPem, cert: leaf.certPem, key: leaf.keyPem } })
    await expect(joining(token, address)).rejects.toMatchObject({
      code: expect.stringMatching(/forbidden|unavailable/),
    })
    expect(logged.join('')).not.toContain('node joined')
    expect(logged.join('')).not.toContain('join refused')
  })

  test('a node name in use by a live node, unless it is the same machine or the node has gone', async () => {
    const address = await startServer()
    const token = await makeToken()
    await joining(token, address)
    const { stop } = startJoined('n1', address)
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true))
    const elsewhere = { nodeName: 'n1', dataDir: join(directory, 'elsewhere') }
    await expect(joining(token, address, elsewhere)).rejects.toMatchObject({
      code: 'alreadyExists',
      message: expect.stringMatching(/"n1" is in use by a live node.*--node-name.*drover node rm n1/),
    })
    // The same machine, which has lost its certificate but not its id.
    await joining(token, address)
    await stop()
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(false))
    const before = node('n1')
    await joining(token, address, elsewhere)
    const after = node('n1')
    expect(after?.metadata.uid).toBe(before?.metadata.uid)
    expect(after?.metadata.annotations?.[ANNOTATION.joinId]).not.toBe(before?.metadata.annotations?.[ANNOTATION.joinId])
    // The first machine's certificate is good in time, and worth nothing.
    const { membership } = startJoined('n1', address)
    await holds(() => expect(membership).toContain(false))
  })

  test('a name that is none, a clock that is far off, nobody there', async () => {
    const address = await startServer()
    const token = await makeToken()
    await expect(joining(token, address, { nodeName: 'Not_A_Name' })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(/"Not_A_Name" is no name for a node/),
    })
    await expect(joining(token, address, { clock: shifted(6 * 60_000) })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(/clock is 360 s ahead of the server's/),
    })
    // So far back that the server's certificate is not yet good.
    await expect(joining(token, address, { clock: shifted(-400 * DAY_MS) })).rejects.toThrow(
      /clock says .*set the clock/,
    )
    await joining(token, address, { clock: shifted(-4 * 60_000) })
    await expect(joining(token, '127.0.0.1:1')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/cannot reach 127.0.0.1:1/),
    })
    // Another server of the list answers.
    await joining(token, address, { servers: ['127.0.0.1:1', address], nodeName: 'n2' })
  })

  test('too many failures from one address', async () => {
    const address = await startServer()
    const token = await makeToken()
    const wrong = { ...token, secret: 'a'.repeat(32) }
    for (let attempt = 0; attempt < 10; attempt++) await expect(joining(wrong, address)).rejects.toThrow(/not known/)
    // gRPC has one code for both; the words tell.
    await expect(joining(wrong, address)).rejects.toThrow(/too many failed attempts from 127.0.0.1/)
    await expect(joining(token, address)).rejects.toThrow(/too many failed attempts/)
  })

  test('a client without a certificate has no session', async () => {
    const address = await startServer()
    const { credentials, options } = caOnlySecurity(address, harness.ca.certPem)
    const client = new Client(address, credentials, options)
    const { path, requestSerialize, responseDeserialize } = NODE_SERVICE.connect
    const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    const error = await new Promise<{ code: number; details: string }>((resolve) =>
      call.on('error', (thrown) => resolve(thrown as unknown as { code: number; details: string })),
    )
    client.close()
    expect(error).toMatchObject({ code: 16, details: expect.stringMatching(/joins first, with a token/) })
  })
})

describe('leaving', () => {
  test('a removed node loses its session and its pods, and comes back only by joining', async () => {
    const address = await startServer()
    const token = await makeToken()
    await joining(token, address)
    const { agent, membership } = startJoined('n1', address)
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true))
    await harness.resources.delete(nodeKind, '', 'n1')
    await holds(() => expect(membership.at(-1)).toBe(false))
    await holds(() => expect(agent.state()).toMatchObject({ connected: false, pods: 0 }))
    expect(node('n1')).toBeUndefined()
    expect(logged.join('')).toMatch(/removed from the cluster; join again/)
    expect(readIdentity(join(directory, 'n1'))?.removed).toBe(true)
    await joining(token, address)
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true), 15_000)
    expect(readIdentity(join(directory, 'n1'))?.removed).toBe(false)
  })
})

describe('renewal', () => {
  test('a node certificate of seconds renews itself for as long as the agent runs, and old ones end', async () => {
    const address = await startServer({}, 6_000)
    const token = await makeToken()
    await joining(token, address)
    const dataDir = join(directory, 'n1')
    const serial = () => new X509Certificate(readIdentity(dataDir)?.tls.cert ?? '').serialNumber
    const first = serial()
    const firstTls = readIdentity(dataDir)?.tls
    const { agent } = startJoined('n1', address)
    await holds(() => expect(agent.state().connected).toBe(true))
    const sessions = agent.state().sessions
    await eventually(() => serial() !== first, { timeoutMs: 10_000 })
    const second = serial()
    await eventually(() => serial() !== second, { timeoutMs: 10_000 })
    // Renewing cost no session.
    expect(agent.state()).toMatchObject({ connected: true, sessions })
    // By now the first has run out: it opens nothing, the present one does.
    await eventually(() => Date.parse(new X509Certificate(firstTls?.cert ?? '').validTo) < systemClock.now(), {
      timeoutMs: 10_000,
    })
    const request = { publicKey: createKey().publicKey, clockMs: systemClock.now() }
    if (firstTls === undefined) throw new Error('no certificate')
    await expect(callRenew(address, firstTls, request, systemClock)).rejects.toMatchObject({ code: 'unauthorized' })
    const present = readIdentity(dataDir)?.tls
    if (present === undefined) throw new Error('no certificate')
    await expect(callRenew(address, present, request, systemClock)).resolves.toMatchObject({ ca: harness.ca.certPem })
  })

  test('a server that takes a new certificate shows it to new connections and keeps old sessions', async () => {
    const dispatch = await harness.startDispatch({
      join: { ca: harness.ca, certificateMs: DAY_MS, clusterName: 'drvt', servers: () => [] },
    })
    const address = addressOf(dispatch)
    await joining(await makeToken(), address)
    const { agent } = startJoined('n1', address)
    await holds(() => expect(agent.state().connected).toBe(true))
    const before = await shownSerial(address)
    dispatch.setTls(await harness.certificate('drvt-server', []))
    const after = await shownSerial(address)
    expect(after).not.toBe(before)
    expect(agent.state()).toMatchObject({ connected: true, sessions: 1 })
    await joining(await makeToken(), address, { nodeName: 'n2' })
  })
})

async function shownSerial(address: string): Promise<string> {
  const [host, port] = address.split(':')
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => {
      resolve(socket.getPeerCertificate().serialNumber)
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

test('the token in its text form says nothing when it is wrong', () => {
  const token = createJoinToken('c'.repeat(64))
  expect(formatJoinToken(token)).toMatch(/^drover1\.[0-9a-f]{64}\.[a-z0-9]{6}\.[0-9a-f]{32}$/)
})
