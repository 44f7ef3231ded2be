/** The server as a process part: binding, renewed certificates, stopping with open requests. */
import { once } from 'node:events'
import { connect as tlsConnect } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { createApiServer } from '../../src/apiserver/server.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { createCa, issueCertificate } from '../../src/base/pki.ts'
import { systemRandom } from '../../src/base/random.ts'
import { ADMIN_TOKEN, type Harness, noGateway, startHarness } from '../support/apiserver_harness.ts'

let harness: Harness | undefined

afterEach(async () => {
  await harness?.stop()
  harness = undefined
})

async function serverTls(commonName: string) {
  const clock = systemClock
  const ca = await createCa('drvt-other-ca', { clock })
  const own = await issueCertificate(ca, {
    commonName,
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
    validityMs: 3_600_000,
    clock,
  })
  return { cert: own.certPem, key: own.keyPem, clientCa: ca.certPem }
}

async function presentedName(port: number): Promise<unknown> {
  const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const { subject } = socket.getPeerCertificate()
  socket.destroy()
  return subject.CN
}

describe('the server', () => {
  it('says that a port is in use, and where', async () => {
    harness = await startHarness()
    const { resources, port } = harness
    const second = createApiServer({
      resources,
      gateway: noGateway,
      tls: await serverTls('second'),
      listen: [
        { host: '127.0.0.1', port: 0 },
        { host: '127.0.0.1', port },
      ],
      tokens: new Map(),
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
      registry: new Registry(),
      version: '0.1.0',
      readiness: () => Promise.resolve([]),
    })
    const words = `cannot listen on 127.0.0.1:${port}: the port is in use`
    await expect(second.run(new AbortController().signal)).rejects.toThrow(words)
    await expect(second.listening()).rejects.toThrow(words)
    expect(second.addresses()).toEqual([])
  })

  it('takes a renewed certificate while it runs', async () => {
    harness = await startHarness()
    expect(await presentedName(harness.port)).toBe('drover')
    harness.server.setTls(await serverTls('renewed'))
    expect(await presentedName(harness.port)).toBe('renewed')
  })

  it('stops at once though watches are open, and ends them cleanly', async () => {
    harness = await startHarness()
    const stream = harness.session().request({
      ':path': '/api/v1/pods?watch=true',
      authorization: `Bearer ${ADMIN_TOKEN}`,
    })
    await once(stream, 'response')
    const ended = new Promise<boolean>((resolve) => {
      stream.on('end', () => resolve(true))
      stream.on('error', () => resolve(false))
    })
    stream.resume()
    const { port } = harness
    const stopped = harness.stopServer()
    expect(await ended).toBe(true)
    await stopped
    await expect(presentedName(port)).rejects.toThrow(/ECONNREFUSED/)
  })
})
