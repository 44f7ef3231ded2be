import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { type CertificateAndKey, caHash, certificateFacts, createCa, issueCertificate } from '../../src/base/pki.ts'
import { run, runOk } from '../../src/base/process.ts'

const clock = systemClock
const HOUR_MS = 3_600_000
let directory = ''
let ca: CertificateAndKey
let server: CertificateAndKey
let client: CertificateAndKey

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drvt-pki-'))
  ca = await createCa('drover-ca', { clock })
  server = await issueCertificate(ca, {
    commonName: 'drover-server',
    dnsNames: ['localhost', 'server.drover'],
    ipAddresses: ['127.0.0.1', 'fd00::1'],
    usages: ['server', 'client'],
    validityMs: HOUR_MS,
    clock,
  })
  client = await issueCertificate(ca, {
    commonName: 'system:node:host-1',
    organizations: ['system:nodes', 'a, "b"=c'],
    usages: ['client'],
    validityMs: HOUR_MS,
    clock,
  })
  for (const [name, pair] of Object.entries({ ca, server, client })) {
    await writeFile(join(directory, `${name}.crt`), pair.certPem)
    await writeFile(join(directory, `${name}.key`), pair.keyPem)
  }
})

afterAll(() => rm(directory, { recursive: true, force: true }))

const openssl = (...args: string[]) => runOk('openssl', args, { cwd: directory })

describe('as openssl sees it', () => {
  test('the chain verifies for the purposes asked for, and for no others', async () => {
    await openssl('verify', '-x509_strict', '-CAfile', 'ca.crt', '-purpose', 'sslserver', 'server.crt')
    await openssl('verify', '-x509_strict', '-CAfile', 'ca.crt', '-purpose', 'sslclient', 'client.crt')
    const wrong = await run('openssl', ['verify', '-CAfile', 'ca.crt', '-purpose', 'sslserver', 'client.crt'], {
      cwd: directory,
    })
    expect(wrong.exitCode).not.toBe(0)
  })

  test('extensions and names', async () => {
    const text = await openssl('x509', '-in', 'server.crt', '-noout', '-text')
    expect(text).toContain('DNS:localhost, DNS:server.drover, IP Address:127.0.0.1, IP Address:FD00:0:0:0:0:0:0:1')
    expect(text).toContain('CA:FALSE')
    expect(text).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/)
    expect(text).toMatch(/TLS Web Server Authentication, TLS Web Client Authentication/)
    expect(text).toMatch(/X509v3 Subject Key Identifier:/)
    const own = await openssl('x509', '-in', 'ca.crt', '-noout', '-text')
    expect(own).toMatch(/X509v3 Basic Constraints: critical\s+CA:TRUE, pathlen:0/)
    const keyId = /Subject Key Identifier: \n\s+(\S+)/.exec(own)?.[1]
    expect(text).toMatch(new RegExp(`Authority Key Identifier: \\n\\s+(keyid:)?${keyId}`))
  })

  test('the hash is that of the public key', async () => {
    const der = await openssl('x509', '-in', 'ca.crt', '-noout', '-pubkey')
    await writeFile(join(directory, 'ca.pub'), der)
    await openssl('pkey', '-pubin', '-in', 'ca.pub', '-outform', 'der', '-out', 'ca.spki')
    const digest = await openssl('dgst', '-sha256', '-r', 'ca.spki')
    expect(caHash(ca.certPem)).toBe(`sha256:${digest.slice(0, 64)}`)
  })
})

describe('facts', () => {
  test('names survive characters that distinguished names give a meaning', async () => {
    expect(certificateFacts(client.certPem)).toMatchObject({
      commonName: 'system:node:host-1',
      organizations: ['system:nodes', 'a, "b"=c'],
    })
    for (const commonName of ['#00', 'a\\,O=system:masters', 'x\nO=system:masters', ' leading', 'ünï', 'a+CN=b']) {
      const made = await issueCertificate(ca, { commonName, usages: ['client'], validityMs: HOUR_MS, clock })
      expect(certificateFacts(made.certPem)).toMatchObject({ commonName, organizations: [] })
    }
  })

  test('validity starts in the past and ends in time, never after the CA', async () => {
    const nowMs = Math.floor(clock.now() / 1000) * 1000
    const facts = certificateFacts(client.certPem)
    expect(facts.notBeforeMs).toBeLessThan(nowMs - 60_000)
    expect(Math.abs(facts.notAfterMs - nowMs - HOUR_MS)).toBeLessThan(30_000)
    const short = await createCa('short', { clock, validityMs: HOUR_MS })
    const leaf = await issueCertificate(short, {
      commonName: 'x',
      usages: ['client'],
      validityMs: 9 * HOUR_MS,
      clock,
    })
    expect(certificateFacts(leaf.certPem).notAfterMs).toBe(certificateFacts(short.certPem).notAfterMs)
  })

  test('bad input is refused as such', async () => {
    expect(() => certificateFacts('nonsense')).toThrow(expect.objectContaining({ code: 'invalid' }))
    const request = { commonName: 'x', usages: ['client'] as const, validityMs: 1, clock }
    for (const attempt of [
      () => issueCertificate({ ...ca, keyPem: 'nonsense' }, request),
      () => issueCertificate(ca, { ...request, commonName: '' }),
      () => issueCertificate(ca, { ...request, ipAddresses: ['localhost'] }),
    ]) {
      await expect(attempt()).rejects.toSatisfy((error) => isCode(error, 'invalid'))
    }
  })
})

test('mutual TLS: the server knows its client, and refuses one of another CA', async () => {
  const other = await createCa('drover-ca', { clock })
  const stranger = await issueCertificate(other, {
    commonName: 'system:node:host-1',
    usages: ['client'],
    validityMs: HOUR_MS,
    clock,
  })
  const listener = createServer(
    { ca: ca.certPem, cert: server.certPem, key: server.keyPem, requestCert: true, rejectUnauthorized: true },
    (socket: TLSSocket) => socket.end(certificateFacts(socket.getPeerCertificate().raw).commonName),
  )
  listener.on('tlsClientError', () => undefined)
  await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done))
  const { port } = listener.address() as AddressInfo
  const ask = (pair: CertificateAndKey) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, ca: ca.certPem, cert: pair.certPem, key: pair.keyPem })
      let said = ''
      socket.on('data', (chunk) => {
        said += String(chunk)
      })
      socket.on('error', reject)
      // With TLS 1.3 a client learns of its refusal only after its own handshake: as an error or a silent end.
      socket.on('end', () => (said === '' ? reject(new Error('refused')) : resolve(said)))
    })
  try {
    expect(await ask(client)).toBe('system:node:host-1')
    await expect(ask(stranger)).rejects.toThrow()
  } finally {
    listener.close()
  }
})
