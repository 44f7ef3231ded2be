/** Processes that write to etcd (store_writer.ts) and are killed: started ahead of time, and read while they run. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildProgram, type TestProgram } from './programs.ts'
import type { WriterTask } from './store_writer.ts'

interface Spare {
  child: ChildProcess
  isLoaded: Promise<unknown>
}

/** Makes writers. `spares` are loaded and wait, so that a killed one's successor writes at once. */
export class WriterPool {
  readonly #program: TestProgram
  readonly #directory: string
  readonly #children = new Set<ChildProcess>()
  readonly #spares: Spare[] = []
  readonly #wanted: number
  #count = 0

  private constructor(program: TestProgram, directory: string, spares: number) {
    this.#program = program
    this.#directory = directory
    this.#wanted = spares
  }

  static async create(spares = 0): Promise<WriterPool> {
    const directory = await mkdtemp(join(tmpdir(), 'drvt-proof-'))
    return new WriterPool(await buildProgram('store_writer'), directory, spares)
  }

  async start(task: Omit<WriterTask, 'output'>): Promise<Writer> {
    const { child, isLoaded } = this.#spares.shift() ?? this.#fork()
    await isLoaded
    const output = join(this.#directory, `${task.writerId}-${this.#count++}`)
    closeSync(openSync(output, 'w'))
    const sent: WriterTask = { ...task, output }
    child.send(sent)
    while (this.#spares.length < this.#wanted) this.#spares.push(this.#fork())
    return new Writer(child, sent)
  }

  /** Ends what still runs. */
  async stop(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL')
    await Promise.all([...this.#children].map((child) => once(child, 'exit')))
    await this.#program.remove()
    await rm(this.#directory, { recursive: true, force: true })
  }

  #fork(): Spare {
    const child = fork(this.#program.path)
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    const isLoaded = new Promise((resolve, reject) => {
      child.once('message', resolve)
      child.once('error', reject)
      child.once('exit', () => reject(new Error('a writer ended before it was given its task')))
    })
    // Spares that are never needed end with the pool.
    isLoaded.catch(() => undefined)
    return { child, isLoaded }
  }
}

export interface Acknowledged {
  fact: string
  key: string
  revision: number
}

/** It writes into a file: what is there outlives it, and a reader that is slow holds nobody up. */
export class Writer {
  readonly child: ChildProcess
  readonly task: WriterTask
  readonly ended: Promise<unknown>
  readonly acknowledged: Acknowledged[] = []
  /** Facts that it was told will never be. */
  readonly refused: string[] = []
  readonly terms: number[] = []
  readonly #output: number
  readonly #buffer = Buffer.allocUnsafe(1 << 16)
  #partial = ''

  constructor(child: ChildProcess, task: WriterTask) {
    this.child = child
    this.task = task
    this.ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve()
    this.#output = openSync(task.output, 'r')
  }

  /** Takes in what it has said since, and tells how many writes were acknowledged. */
  listen(): number {
    for (;;) {
      const bytes = readSync(this.#output, this.#buffer)
      if (bytes === 0) break
      const lines = (this.#partial + this.#buffer.toString('latin1', 0, bytes)).split('\n')
      this.#partial = lines.pop() ?? ''
      for (const line of lines) this.#hear(line)
    }
    if (this.child.exitCode !== null) throw new Error(`${this.task.run} ended by itself with ${this.child.exitCode}`)
    return this.acknowledged.length
  }

  /** Kills it where it is, and takes in its last words. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.ended
    this.listen()
  }

  /** Gives up its file, when all of it was heard. */
  async forget(): Promise<void> {
    closeSync(this.#output)
    await rm(this.task.output, { force: true })
  }

  #hear(line: string): void {
    const [what, fact = '', key = '', revision = ''] = line.split('\t')
    // A compare-and-swap of its own key can only be met by a write of its own that was applied twice, or not as told.
    if (what === 'C') throw new Error(`a writer met itself: ${line}`)
    if (what === 'A') this.acknowledged.push({ fact, key, revision: Number(revision) })
    if (what === 'E' && key === 'unavailable') this.refused.push(fact)
    if (what === 'L') this.terms.push(Number(fact))
  }
}
