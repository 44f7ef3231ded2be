/** The name server in a host's network namespace, asked from a pod behind a veth, as libc does and as strangers would. */
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runOk, start } from '../../src/base/process.ts'
import type { ServiceRow } from '../../src/rpc/tables.ts'
import { port, row } from '../support/dns.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const HOST = 'drvt-dns-host'
const ADDRESS = '169.254.20.53'
const D = 'svc.cluster.local'

/** A server process inside the host's namespace. */
class ServerProcess {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(program: string) {
    this.#child = start('nsenter', [`--net=/run/netns/${HOST}`, process.execPath, program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const input = this.#child.stdout
    if (input === null) throw new Error('no output')
    const lines: Interface = createInterface({ input })
    this.#lines = lines[Symbol.asyncIterator]()
  }

  async call(call: string, rows: ServiceRow[] = []): Promise<{ value?: unknown; error?: string }> {
    this.#child.stdin?.write(`${JSON.stringify({ call, rows })}\n`)
    return JSON.parse((await this.#lines.next()).value) as { value?: unknown; error?: string }
  }

  end(): void {
    this.#child.stdin?.end()
  }
}

let host: TestNamespace
let pod: TestNamespace
let stranger: TestNamespace
let server: ServerProcess
let directory = ''
let program = ''

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'drvt-dns-'))
  const outdir = join(ROOT, 'node_modules/.cache', `drvt-dns-${process.pid}`)
  mkdirSync(outdir, { recursive: true })
  program = join(outdir, 'dns_process.js')
  await build({
    entryPoints: [join(ROOT, 'test/support/dns_process.ts')],
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    outfile: program,
    logLevel: 'warning',
  })
  host = await createNamespace(HOST)
  pod = await createNamespace('drvt-dns-pod')
  stranger = await createNamespace('drvt-dns-stranger')
  const wire = async (namespace: string, device: string, hostAddress: string, address: string): Promise<void> => {
    const inHost = (...args: string[]) => runOk('ip', ['-n', HOST, ...args])
    const inside = (...args: string[]) => runOk('ip', ['-n', namespace, ...args])
    await inHost('link', 'add', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace)
    await inHost('addr', 'add', `${hostAddress}/24`, 'dev', device)
    await inHost('link', 'set', device, 'up')
    await inside('addr', 'add', `${address}/24`, 'dev', 'eth0')
    await inside('link', 'set', 'eth0', 'up')
    await inside('route', 'add', 'default', 'via', hostAddress)
  }
  await runOk('ip', ['-n', HOST, 'link', 'set', 'lo', 'up'])
  await wire('drvt-dns-pod', 'pod', '10.244.1.1', '10.244.1.2')
  await wire('drvt-dns-stranger', 'stranger', '192.0.2.1', '192.0.2.2')
  server = new ServerProcess(program)
  expect(await server.call('initialize')).toEqual({ value: null })
  await server.call('apply', [
    row('web', { clusterIP: '10.96.0.10', ports: [port('http', 80)] }),
    row('many', { hosts: Array.from({ length: 60 }, (_, i) => ({ address: `10.244.3.${i + 1}` })) }),
  ])
})

afterAll(async () => {
  await server?.call('teardown')
  server?.end()
  for (const namespace of [pod, stranger, host]) await namespace?.remove()
  rmSync(directory, { recursive: true, force: true })
  rmSync(join(program, '..'), { recursive: true, force: true })
})

const lookup = (from: TestNamespace, ...args: string[]) => from.exec(['busybox', 'nslookup', ...args])

/** As a pod sees it: with a resolv.conf of its own over the host's. */
function asPod(resolvConf: string, ...command: string[]) {
  const path = join(directory, 'resolv.conf')
  writeFileSync(path, resolvConf)
  const script = `mount --bind ${path} /etc/resolv.conf && exec "$@"`
  return pod.exec(['unshare', '-m', 'sh', '-c', script, 'sh', ...command])
}

const RESOLV_CONF = `search default.${D} ${D} cluster.local\nnameserver ${ADDRESS}\noptions ndots:5\n`

describe('from a pod', () => {
  test('names lead to addresses through its default route', async () => {
    expect((await lookup(pod, '-type=a', `web.default.${D}`, ADDRESS)).stdout).toContain('Address: 10.96.0.10')
    expect((await lookup(pod, '10.96.0.10', ADDRESS)).stdout).toContain(`name = web.default.${D}`)
  })

  test.each(['web', 'web.default', 'web.default.svc', `web.default.${D}`])('libc finds %s', async (name) => {
    const { stdout } = await asPod(RESOLV_CONF, 'getent', 'ahostsv4', name)
    expect(stdout).toMatch(/^10\.96\.0\.10\s/)
  })

  test('libc goes on over TCP when an answer is long', async () => {
    const { stdout } = await asPod(RESOLV_CONF, 'getent', 'ahostsv4', 'many')
    expect(new Set(stdout.match(/10\.244\.3\.\d+/g))).toHaveLength(60)
  })

  test('what is nowhere fails at once', async () => {
    const startedMs = performance.now()
    expect((await asPod(RESOLV_CONF, 'getent', 'ahostsv4', 'nowhere')).exitCode).not.toBe(0)
    expect((await asPod(RESOLV_CONF, 'getent', 'ahostsv4', 'www.example.com')).exitCode).not.toBe(0)
    // libc waits 5 s for a server that is silent.
    expect(performance.now() - startedMs).toBeLessThan(4_500)
  })
})

test('the host is served, a stranger is refused', async () => {
  expect((await lookup(host, '-type=a', `web.default.${D}`, ADDRESS)).stdout).toContain('Address: 10.96.0.10')
  expect((await lookup(stranger, '-type=a', `web.default.${D}`, ADDRESS)).stdout).toMatch(/REFUSED/)
})

test('a second server in the same namespace says why it cannot be', async () => {
  const second = new ServerProcess(program)
  expect((await second.call('initialize')).error).toMatch(/another program has it.*room for one agent/)
  second.end()
  expect((await lookup(pod, '-type=a', `web.default.${D}`, ADDRESS)).stdout).toContain('Address: 10.96.0.10')
})

test('an address that was taken away comes back', async () => {
  expect(await server.call('mendDrift')).toEqual({ value: false })
  await runOk('ip', ['-n', HOST, 'addr', 'del', `${ADDRESS}/32`, 'dev', 'lo'])
  expect(await server.call('mendDrift')).toEqual({ value: true })
  expect((await lookup(pod, '-type=a', `web.default.${D}`, ADDRESS)).stdout).toContain('Address: 10.96.0.10')
})

test('it stops, starts again, and leaves nothing behind', async () => {
  await server.call('close')
  expect((await host.exec(['ip', 'addr', 'show', 'lo'])).stdout).toContain(ADDRESS)
  expect(await server.call('initialize')).toEqual({ value: null })
  expect((await lookup(pod, '-type=a', `web.default.${D}`, ADDRESS)).stdout).toContain('Address: 10.96.0.10')
  expect(await server.call('teardown')).toEqual({ value: null })
  expect(await server.call('teardown')).toEqual({ value: null })
  expect((await host.exec(['ip', 'addr', 'show', 'lo'])).stdout).not.toContain('169.254')
})
