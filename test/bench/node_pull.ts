/** Pull and unpack beside `skopeo copy` and `tar` of the same bytes, from one registry on loopback. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createImageDriver } from '../../src/agent/images/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { runOk } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import { dockerArchive, type Entry, tar } from '../support/archives.ts'
import { startRegistry } from '../support/registry.ts'
import { type BenchResult, median } from './result.ts'

const ROUNDS = 5
const LAYERS = 4
const FILES = 1_500

/** Half of each file cannot be compressed, as programs are; many are small. */
async function layer(index: number): Promise<Buffer> {
  const entries: Entry[] = [{ name: `d${index}`, type: 'directory', mode: 0o755 }]
  for (let i = 0; i < FILES; i++) {
    const size = i % 100 === 0 ? 400_000 : 1_000 + (i % 10) * 1_000
    const content = Buffer.concat([randomBytes(size), Buffer.alloc(size, 'text of which there is more ')])
    entries.push({ name: `d${index}/f${i}`, mode: 0o644, content })
  }
  return tar(entries)
}

export async function benchPull(): Promise<BenchResult> {
  const registry = await startRegistry()
  const directory = await mkdtemp(join(tmpdir(), 'drvb-pull-'))
  try {
    const layers: Buffer[] = []
    for (let i = 0; i < LAYERS; i++) layers.push(await layer(i))
    await registry.push(await dockerArchive([{ tags: ['a:1'], layers }]), 'bench/app:v1')
    const reference = `${registry.host}/bench/app:v1`
    const own: number[] = []
    const plain: number[] = []
    for (let i = 0; i <= ROUNDS; i++) {
      const [ownMs, plainMs] = [await pull(reference, directory), await copyAndUnpack(reference, directory)]
      // The first warms the caches for both.
      if (i > 0) {
        own.push(ownMs)
        plain.push(plainMs)
      }
    }
    const megabytes = layers.reduce((sum, { length }) => sum + length, 0) / 1e6
    const said = (ms: readonly number[]) => `${median(ms).toFixed(0)} ms (best ${Math.min(...ms).toFixed(0)})`
    return {
      name: 'pull and unpack, beside skopeo copy and tar',
      ratio: median(own) / median(plain),
      limit: 1,
      better: 'lower',
      detail: `${said(own)}, skopeo and tar ${said(plain)}; ${megabytes.toFixed(0)} MB in ${LAYERS} layers of ${FILES} files`,
    }
  } finally {
    await registry.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

async function pull(reference: string, directory: string): Promise<number> {
  const dataDir = join(directory, 'own')
  const options = { dataDir, clock: systemClock, random: systemRandom, log: silentLogger, insecureRegistries: [] }
  const driver = createImageDriver(options)
  await driver.initialize()
  const startedMs = systemClock.monotonicMs()
  await driver.pull(reference, { signal: new AbortController().signal })
  const tookMs = systemClock.monotonicMs() - startedMs
  await runOk('sync', ['--file-system', directory])
  await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  return tookMs
}

async function copyAndUnpack(reference: string, directory: string): Promise<number> {
  const target = join(directory, 'copy')
  const startedMs = systemClock.monotonicMs()
  const copy = ['copy', '--quiet', '--src-tls-verify=false', `docker://${reference}`, `dir:${target}`]
  await runOk('skopeo', copy, { timeoutMs: 120_000 })
  const blobs = (await readdir(target)).filter((name) => /^[0-9a-f]{64}$/.test(name))
  for (const blob of blobs) {
    const root = join(target, `root-${blob}`)
    await runOk('mkdir', [root])
    // The configuration lies beside the layers and is no tar.
    await runOk('sh', [
      '-c',
      'tar -xzf "$0" -C "$1" 2>/dev/null || grep -q architecture "$0"',
      join(target, blob),
      root,
    ])
  }
  const tookMs = systemClock.monotonicMs() - startedMs
  await runOk('sync', ['--file-system', directory])
  await rm(target, { recursive: true, force: true })
  return tookMs
}
