/**
 * A whole server with a small database: Secrets lie in etcd encrypted, a full database refuses writes and says what to do,
 * and the verbs of `drover etcd` and `drover secrets` mend, copy and bring back. Driven by the commands that people type.
 */
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import type { Command } from 'commander'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { makeSecretKey } from '../../src/base/cluster_keys.ts'
import { createCa } from '../../src/base/pki.ts'
import { runOk } from '../../src/base/process.ts'
import { registerEtcdRestore } from '../../src/bin/etcd_restore.ts'
import { runServer } from '../../src/bin/server.ts'
import type { Io } from '../../src/cli/context.ts'
import { registerClientCommands } from '../../src/cli/program.ts'
import { createProgram } from '../../src/cli/root.ts'
import { freePort } from '../support/etcd.ts'
import { eventually } from '../support/eventually.ts'

let dataDir: string
let kubeconfig: string
let ports: { api: number; node: number }
let stop: () => Promise<void> = () => Promise.resolve()

function flags(directory: string, listen: { api: number; node: number }) {
  return {
    clusterName: 'drvt',
    dataDir: directory,
    runDir: join(directory, 'run'),
    listen: [`127.0.0.1:${listen.api}`],
    nodeListen: `127.0.0.1:${listen.node}`,
    clusterCidr: '10.244.0.0/16',
    serviceCidr: '10.96.0.0/16',
    nodeCidrLength: '24',
    overlay: 'vxlan',
    nodePortRange: '30000-32767',
    notReadyAfter: '4000',
    certificateDays: '365',
    joinLine: false as const,
    etcdQuota: '16Mi',
    logLevel: 'silent' as const,
  }
}

async function startServer(extra: object = {}): Promise<void> {
  const control = new AbortController()
  const given = { ...flags(dataDir, ports), kubeconfigOut: kubeconfig, ...extra }
  const running = runServer(given, { version: '0.1.0', signal: control.signal })
  let failed: unknown
  running.catch((error: unknown) => {
    failed = error
  })
  stop = async () => {
    control.abort()
    await running
  }
  await eventually(
    async () => {
      if (failed !== undefined) return true
      return (await drover('get namespaces')).out.includes('kube-system')
    },
    { timeoutMs: 40_000 },
  )
  if (failed !== undefined) throw failed
}

/** A command as from the shell, in this process. */
async function drover(line: string): Promise<{ out: string; err: string }> {
  const said = { out: '', err: '' }
  const sink = (name: 'out' | 'err') =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        said[name] += chunk.toString()
        done()
      },
    })
  const io = {
    stdin: process.stdin,
    stdout: sink('out'),
    stderr: sink('err'),
    env: { ...process.env, KUBECONFIG: kubeconfig },
    clock: systemClock,
    signal: new AbortController().signal,
  } as unknown as Io
  const program: Command = createProgram('0.1.0')
  registerClientCommands(program, io, '0.1.0')
  registerEtcdRestore(program, io)
  try {
    await program.parseAsync(['node', 'drover', ...line.split(' ')])
  } catch (error) {
    said.err += `Error: ${(error as Error).message}\n`
  }
  return said
}

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-db-'))
  kubeconfig = join(dataDir, 'kubeconfig')
  ports = { api: await freePort(), node: await freePort() }
  await startServer()
})
afterAll(async () => {
  await stop()
  await rm(dataDir, { recursive: true, force: true })
})

async function kubectl(args: string[], input?: string): Promise<string> {
  const stdout = await runOk('kubectl', ['--kubeconfig', kubeconfig, '--cache-dir', join(dataDir, 'cache'), ...args], {
    timeoutMs: 30_000,
    ...(input === undefined ? {} : { input }),
  })
  return stdout
}

async function etcdctl(...args: string[]): Promise<string> {
  const pki = (file: string): string => join(dataDir, 'pki', file)
  const { client } = JSON.parse(await readFile(join(dataDir, 'etcd', 'ports.json'), 'utf8')) as { client: number }
  const tls = ['--cacert', pki('ca.crt'), '--cert', pki('etcd-client.crt'), '--key', pki('etcd-client.key')]
  const stdout = await runOk('etcdctl', ['--endpoints', `https://127.0.0.1:${client}`, ...tls, ...args], {
    env: { ...process.env, ETCDCTL_API: '3' },
    timeoutMs: 30_000,
  })
  return stdout
}

const mebibytes = (line: string | undefined, column: number): number =>
  Number.parseFloat(line?.trim().split(/\s{2,}/)[column] ?? '')

test('what lies in etcd tells nothing of a Secret, and the key can be changed', async () => {
  await kubectl(['create', 'secret', 'generic', 'pin', '--from-literal=word=opensesame'])
  const base64 = Buffer.from('opensesame').toString('base64')
  const raw = async (): Promise<string> => etcdctl('get', '--prefix', '/drover/core/secrets/', '--print-value-only')
  const before = await raw()
  expect(before).toMatch(/^drover:aesgcm:v1:key-[0-9a-f]+:p:/m)
  for (const word of ['opensesame', base64, 'Secret', 'pin']) expect(before).not.toContain(word)
  expect(await kubectl(['get', 'secret', 'pin', '-o', 'jsonpath={.data.word}'])).toBe(base64)

  const status = (await drover('secrets status')).out
  const [, old = ''] = /(key-[0-9a-f]+) +encrypts +(\d+)/.exec(status) ?? []
  const rotated = await drover('secrets rotate-key')
  expect([rotated.err, rotated.out]).toEqual([
    '',
    expect.stringMatching(/^key-[0-9a-f]+ encrypts now, on 1 server\(s\)/),
  ])
  expect(await raw()).not.toContain(old)
  expect((await drover('secrets status')).out).toMatch(new RegExp(`${old} +decrypts +0`))
  expect(await kubectl(['get', 'secret', 'pin', '-o', 'jsonpath={.data.word}'])).toBe(base64)
})

test('a full database serves reads, refuses writes with what to do, and is mended by the verbs', async () => {
  const fill = (round: number): Promise<string> =>
    kubectl(
      ['apply', '--server-side', '--force-conflicts', '-f', '-'],
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'big', namespace: 'default' },
        data: { round: String(round), text: `${round}`.padEnd(700_000, 'x') },
      }),
    )
  let refusal = ''
  for (let round = 0; refusal === '' && round < 200; round++) {
    await fill(round).catch((error: unknown) => {
      refusal = String(error)
    })
  }
  expect(refusal).toContain('has used up its space quota and takes no writes; reads go on')
  expect(refusal).toContain('drover etcd compact')
  // Reads of all kinds, and the watch behind them.
  expect(await kubectl(['get', 'secret', 'pin', '-o', 'name'])).toBe('secret/pin\n')
  expect((await drover('get configmap big')).out).toContain('big')
  const refused = await drover('scale deployment none --replicas 1')
  expect(refused.err).toMatch(/not found/)
  const status = await drover('etcd status')
  expect(status.out).toMatch(/16\.0Mi +NOSPACE/)
  expect(status.err).toContain('Out of space: no writes are taken')
  // A server that starts now serves, too: through it the database is mended.
  await stop()
  await startServer()
  expect(await kubectl(['get', 'secret', 'pin', '-o', 'name'])).toBe('secret/pin\n')
  await expect(fill(500)).rejects.toThrow('has used up its space quota')
  // Without room the alarm stays: the next write would raise it again.
  expect((await drover('etcd defrag')).err).toMatch(/still takes \d+ of \d+ bytes: run `drover etcd compact` first/)
  expect((await drover('etcd compact')).out).toMatch(/compacted up to revision \d+/)
  expect((await drover('etcd defrag')).err).toBe('')
  const [, member] = (await drover('etcd status')).out.split('\n')
  expect(member).toMatch(/none$/)
  expect(mebibytes(member, 3)).toBeLessThan(8)
  await fill(1_000)
  expect(await kubectl(['get', 'configmap', 'big', '-o', 'jsonpath={.data.round}'])).toBe('1000')
})

test('a snapshot brings back what there was', async () => {
  const file = join(dataDir, 'copy.db')
  await kubectl(['create', 'configmap', 'early', '--from-literal=a=b'])
  expect((await drover(`etcd snapshot ${file}`)).out).toMatch(/copy\.db: \d/)
  expect((await drover(`etcd snapshot ${file}`)).err).toContain('it is there already')
  await kubectl(['create', 'configmap', 'late', '--from-literal=a=b'])
  await kubectl(['delete', 'configmap', 'early'])
  const restore = `etcd restore ${file} --data-dir ${dataDir}`
  expect((await drover(restore)).err).toMatch(/etcd runs on .* stop the server first/)
  await stop()
  expect((await drover(`etcd restore ${kubeconfig} --data-dir ${dataDir}`)).err).toContain(
    'cannot restore that snapshot',
  )
  const restored = await drover(restore)
  expect([restored.err, restored.out]).toEqual(['', expect.stringContaining('the former database is kept in')])
  await startServer()
  expect(await kubectl(['get', 'configmap', 'early', '-o', 'jsonpath={.data.a}'])).toBe('b')
  expect(await kubectl(['get', 'configmaps', '-o', 'name'])).not.toContain('late')
  // The Secret was written with the key that the key file still has.
  expect(await kubectl(['get', 'secret', 'pin', '-o', 'name'])).toBe('secret/pin\n')
  const places = await readdir(join(dataDir, 'etcd'))
  expect(places.filter((name) => name.startsWith('etcd.before-'))).toHaveLength(1)
})

test('a server without the key says so at its start', async () => {
  await stop()
  stop = () => Promise.resolve()
  const path = join(dataDir, 'pki', 'secrets.key')
  const text = await readFile(path, 'utf8')
  const { name, bytes } = makeSecretKey()
  await writeFile(path, `${name} ${bytes.toString('base64')}\n`, { mode: 0o600 })
  const start = runServer(flags(dataDir, ports), { version: '0.1.0', signal: new AbortController().signal })
  await expect(start).rejects.toThrow(
    /secrets\.key does not hold the key key-[0-9a-f]+ that this cluster's Secrets are encrypted with: copy that file/,
  )
  await writeFile(path, text, { mode: 0o600 })
  await startServer()
  expect(await kubectl(['get', 'secret', 'pin', '-o', 'name'])).toBe('secret/pin\n')
})

test('a server with token keys or a CA of its own says so at its start, and starts when the old key is known to be lost', async () => {
  await stop()
  stop = () => Promise.resolve()
  const start = (extra: object = {}) =>
    runServer({ ...flags(dataDir, ports), ...extra }, { version: '0.1.0', signal: new AbortController().signal })
  const path = join(dataDir, 'pki', 'sa.key')
  await rm(path)
  await expect(start()).rejects.toThrow(
    /sa\.key lacks the key \S+ that this cluster's tokens are signed with: copy pki\/sa\.key from another server/,
  )
  const other = await mkdtemp(join(tmpdir(), 'drvt-pki-'))
  try {
    await createCaFiles(other)
    for (const file of ['ca.crt', 'ca.key']) {
      await copyFile(join(dataDir, 'pki', file), join(other, `own-${file}`))
      await copyFile(join(other, file), join(dataDir, 'pki', file))
    }
    await expect(start()).rejects.toThrow(/ca\.crt is not the CA of the cluster whose state this etcd holds/)
    for (const file of ['ca.crt', 'ca.key']) await copyFile(join(other, `own-${file}`), join(dataDir, 'pki', file))
  } finally {
    await rm(other, { recursive: true, force: true })
  }
  await startServer({ forgetTokenKey: true })
  expect(await kubectl(['get', 'secret', 'pin', '-o', 'name'])).toBe('secret/pin\n')
})

async function createCaFiles(directory: string): Promise<void> {
  const { certPem, keyPem } = await createCa('drover other', { clock: systemClock })
  await writeFile(join(directory, 'ca.crt'), certPem)
  await writeFile(join(directory, 'ca.key'), keyPem, { mode: 0o600 })
}
