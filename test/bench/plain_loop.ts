/** The shell loop that the cluster is measured beside; see plain_loop.sh. Always taken down by its user. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Pack } from 'tar-stream'
import { systemClock } from '../../src/base/clock.ts'
import { runOk, start } from '../../src/base/process.ts'
import { COMMAND } from './bench_cluster.ts'

const SCRIPT = resolve('test/bench/plain_loop.sh')

export interface PlainLoop {
  /** Starts pods in as many loops side by side; milliseconds until all run. */
  start(count: number, loops?: number): Promise<number>
  stop(count: number): Promise<void>
  remove(): Promise<void>
}

export async function createPlainLoop(rootfs: Pack, runtime: 'runc' | 'crun' = 'runc'): Promise<PlainLoop> {
  const directory = await mkdtemp(join(tmpdir(), 'drvb-'))
  const id = randomBytes(2).toString('hex')
  const script = (...args: (string | number)[]) =>
    runOk('sh', [SCRIPT, directory, id, runtime, ...args.map(String)], { timeoutMs: 300_000 })
  await extract(rootfs, join(directory, 'base'))
  await runOk(runtime, ['spec'], { cwd: directory })
  const spec = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8')) as Spec
  await writeFile(join(directory, 'template.json'), JSON.stringify(templateOf(spec, id)))
  await script('setup')
  return {
    async start(count, loops = 1) {
      const share = Math.ceil(count / loops)
      const startedMs = systemClock.monotonicMs()
      const running = Array.from({ length: loops }, (_, loop) =>
        script('start', loop * share + 1, Math.min(count, (loop + 1) * share)),
      )
      await Promise.all(running)
      return systemClock.monotonicMs() - startedMs
    },
    stop: async (count) => {
      await script('stop', 1, count)
    },
    async remove() {
      await script('teardown')
      await rm(directory, { recursive: true, force: true })
    },
  }
}

interface Spec {
  process: { terminal: boolean; args: string[] }
  linux: { cgroupsPath?: string; namespaces: { type: string; path?: string }[] }
}

function templateOf(spec: Spec, id: string): Spec {
  const namespaces = spec.linux.namespaces.map((namespace) =>
    namespace.type === 'network' ? { ...namespace, path: '/run/netns/@NAME@' } : namespace,
  )
  return {
    ...spec,
    process: { ...spec.process, terminal: false, args: COMMAND },
    linux: { ...spec.linux, cgroupsPath: `/drvb-${id}/@NAME@`, namespaces },
  }
}

async function extract(tar: Pack, directory: string): Promise<void> {
  await mkdir(directory)
  const child = start('tar', ['-x', '-C', directory], { stdio: ['pipe', 'ignore', 'inherit'] })
  const exited = new Promise<number | null>((done, fail) => child.on('error', fail).on('close', done))
  if (child.stdin !== null) tar.pipe(child.stdin)
  const code = await exited
  if (code !== 0) throw new Error(`tar ended with ${code}`)
}
