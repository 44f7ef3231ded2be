/**
 * `drover etcd`: keeping the database, through a server. `restore` is the one that works without: it is for the machine
 * whose server has stopped, and lives with the roles (bin/etcd_restore.ts).
 */
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import type { DatabaseStatus, DefragResult } from '../base/database.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, type Io } from './context.ts'
import { alignColumns } from './table.ts'

const PATH = '/apis/drover.dev/v1/database'
const TIMEOUT_MS = 600_000
const HASH_BYTES = 32

export function registerEtcd(program: Command, io: Io): void {
  const etcd = program.command('etcd').description('the database: its size, its history, copies of it')
  const withContext =
    (work: (context: CliContext, file: string) => Promise<void>) =>
    async (...args: unknown[]): Promise<void> => {
      const context = contextOf(io, args.at(-1) as Command)
      try {
        await work(context, typeof args[0] === 'string' ? args[0] : '')
      } finally {
        context.close()
      }
    }
  etcd.command('status').description('size, space in use, quota, alarms').action(withContext(status))
  etcd
    .command('compact')
    .description('forget all history up to now; watches that were behind start anew')
    .action(withContext(compact))
  etcd
    .command('defrag')
    .description('give free space back, and take writes again after the quota was reached')
    .action(withContext(defrag))
  etcd
    .command('snapshot')
    .description('copy the whole database into a file')
    .argument('<file>', 'what to write; it must not exist')
    .addHelpText(
      'after',
      '\nSecrets in it are encrypted: keep pki/ of a server with it.\n\nBack again: drover etcd restore FILE',
    )
    .action(withContext(snapshot))
}

const mebibytes = (bytes: number): string => `${(bytes / (1 << 20)).toFixed(1)}Mi`

export function databaseLines(members: readonly DatabaseStatus[]): string[] {
  const rows = members.map(({ endpoint, version, revision, sizeBytes, inUseBytes, quotaBytes, alarms }) => [
    endpoint,
    version,
    String(revision),
    mebibytes(sizeBytes),
    mebibytes(inUseBytes),
    quotaBytes === undefined ? 'unknown' : mebibytes(quotaBytes),
    alarms.length === 0 ? 'none' : alarms.join(','),
  ])
  return alignColumns([['ENDPOINT', 'VERSION', 'REVISION', 'SIZE', 'IN USE', 'QUOTA', 'ALARMS'], ...rows])
}

async function status(context: CliContext): Promise<void> {
  const { members } = await context.client.call<{ members: DatabaseStatus[] }>('GET', PATH)
  for (const line of databaseLines(members)) context.print(line)
  if (members.some(({ alarms }) => alarms.includes('NOSPACE'))) {
    context.note('Out of space: no writes are taken. Run: drover etcd compact, then: drover etcd defrag')
  }
}

async function compact(context: CliContext): Promise<void> {
  const options = { timeoutMs: TIMEOUT_MS }
  const { revision } = await context.client.call<{ revision: number }>('POST', `${PATH}/compact`, options)
  context.print(`compacted up to revision ${revision}; drover etcd defrag gives the space back`)
}

async function defrag(context: CliContext): Promise<void> {
  const options = { timeoutMs: TIMEOUT_MS }
  const { before, after } = await context.client.call<DefragResult>('POST', `${PATH}/defrag`, options)
  for (const [index, { endpoint, sizeBytes }] of after.entries()) {
    context.print(`${endpoint}: ${mebibytes(before[index]?.sizeBytes ?? 0)} before, ${mebibytes(sizeBytes)} now`)
  }
}

/** The file appears when it is whole: a snapshot ends with the hash of what comes before. */
async function snapshot(context: CliContext, file: string): Promise<void> {
  const partial = `${file}.partial`
  await (
    await open(file, 'wx').catch((cause: unknown) => {
      throw new DroverError('invalid', `${file} cannot be made: it is there already, or its directory is not`, {
        cause,
      })
    })
  ).close()
  try {
    const response = await context.client.open('GET', `${PATH}/snapshot`, { timeoutMs: TIMEOUT_MS })
    const check = new SnapshotCheck()
    await pipeline(response, check, createWriteStream(partial, { mode: 0o600 }))
    if (!check.isWhole())
      throw new DroverError('unavailable', 'the snapshot was cut off or damaged on its way; try again')
    await rename(partial, file)
    context.print(`${file}: ${mebibytes(check.bytes)}`)
  } catch (error) {
    await rm(partial, { force: true })
    await rm(file, { force: true })
    throw error
  }
}

/** Passes bytes on and hashes all but the last 32, which are to be that hash. */
class SnapshotCheck extends Transform {
  bytes = 0
  readonly #hash = createHash('sha256')
  #tail = Buffer.alloc(0)

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    this.bytes += chunk.length
    const all = Buffer.concat([this.#tail, chunk])
    const cut = Math.max(0, all.length - HASH_BYTES)
    this.#hash.update(all.subarray(0, cut))
    this.#tail = all.subarray(cut)
    done(null, chunk)
  }

  isWhole(): boolean {
    return this.bytes > HASH_BYTES && this.#hash.digest().equals(this.#tail)
  }
}
