/** Load on a service from a program of its own (load_program.ts), started and ended by a test. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import type { LoadReport, LoadStream } from './load_program.ts'

export type { LoadReport, LoadStream } from './load_program.ts'

export class Load {
  readonly #child: ReturnType<typeof spawn>
  readonly #directory: string
  readonly #ended: Promise<string>

  private constructor(child: ReturnType<typeof spawn>, directory: string) {
    this.#child = child
    this.#directory = directory
    this.#ended = new Promise((resolve, reject) => {
      let said = ''
      child.stdout?.on('data', (chunk: Buffer) => {
        said += chunk.toString()
      })
      child.on('error', reject)
      child.on('close', (code) => (code === 0 ? resolve(said) : reject(new Error(`the load ended with ${code}`))))
    })
    this.#ended.catch(() => undefined)
  }

  static async start(streams: readonly LoadStream[]): Promise<Load> {
    const directory = await mkdtemp(join(tmpdir(), 'drvt-load-'))
    const outfile = join(directory, 'load.mjs')
    const entryPoints = [join(import.meta.dirname, 'load_program.ts')]
    await build({ entryPoints, outfile, bundle: true, platform: 'node', format: 'esm', target: 'node20' })
    const child = spawn(process.execPath, [outfile, JSON.stringify({ streams })], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    return new Load(child, directory)
  }

  /** Lets requests under way come to their end and tells what became of all. */
  async stop(): Promise<LoadReport[]> {
    this.#child.stdin?.end()
    try {
      return JSON.parse(await this.#ended) as LoadReport[]
    } finally {
      this.#child.kill('SIGKILL')
      await rm(this.#directory, { recursive: true, force: true })
    }
  }
}

/** What failed, in words; empty when nothing did. */
export function failuresOf(reports: readonly LoadReport[]): string[] {
  return reports.flatMap(({ name, ok, failures, examples }) => {
    const total = Object.values(failures).reduce((sum, count) => sum + count, 0)
    if (total === 0) return []
    return [
      `${name}: ${total} of ${ok + total} failed: ${JSON.stringify(failures)}; first: ${JSON.stringify(examples.slice(0, 5))}`,
    ]
  })
}
