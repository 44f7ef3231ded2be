/**
 * `drover etcd restore`: puts a snapshot in the place of a stopped server's database. What was there is kept beside it. The
 * restored database is a new etcd cluster of one member with the old content; its revision goes on from the snapshot's.
 */
import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { systemClock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { readJsonIfExists } from '../base/files.ts'
import { run } from '../base/process.ts'
import type { Io } from '../cli/context.ts'
import { findProcesses } from '../store/etcd/server_host.ts'

const MEMBER = 'drover'
const DEFAULT_PEER_PORT = 2380
const RESTORE_TIMEOUT_MS = 600_000

export interface RestoreOptions {
  snapshot: string
  /** The server's data directory. */
  dataDir: string
  nowMs: number
}

export function registerEtcdRestore(program: Command, io: Io): void {
  const etcd = program.commands.find((command) => command.name() === 'etcd') ?? program.command('etcd')
  etcd
    .command('restore')
    .description("put a snapshot in place of a stopped server's database (on its machine)")
    .argument('<file>', 'made by: drover etcd snapshot')
    .option('--data-dir <dir>', "the server's data directory", '/var/lib/drover/server')
    .action(async (snapshot: string, { dataDir }: { dataDir: string }) => {
      const { kept } = await restoreEtcd({ snapshot, dataDir, nowMs: systemClock.now() })
      io.stdout.write(`restored${kept === undefined ? '' : `; the former database is kept in ${kept}`}\n`)
      io.stdout.write('Start the server again. Pods that the snapshot does not know are removed from their nodes.\n')
    })
}

/** Throws `conflict` while an etcd runs there. */
export async function restoreEtcd({ snapshot, dataDir, nowMs }: RestoreOptions): Promise<{ kept: string | undefined }> {
  if (!existsSync(snapshot)) throw new DroverError('invalid', `there is no file ${snapshot}`)
  const base = join(dataDir, 'etcd')
  if (!existsSync(base)) {
    throw new DroverError(
      'invalid',
      `${dataDir} is no server's data directory with a database of its own; name it with --data-dir`,
    )
  }
  const target = join(base, 'etcd')
  const [running] = await findProcesses(target)
  if (running !== undefined) {
    throw new DroverError('conflict', `etcd runs on ${target} (process ${running.pid}): stop the server first`)
  }
  const fresh = `${target}.restored`
  rmSync(fresh, { recursive: true, force: true })
  const peer = readJsonIfExists<{ peer?: number }>(join(base, 'ports.json'))?.peer ?? DEFAULT_PEER_PORT
  const url = `https://127.0.0.1:${peer}`
  const args = ['snapshot', 'restore', snapshot, '--data-dir', fresh, '--name', MEMBER]
  const cluster = ['--initial-cluster', `${MEMBER}=${url}`, '--initial-advertise-peer-urls', url]
  await runRestore([...args, ...cluster])
  const kept = existsSync(target)
    ? `${target}.before-${new Date(nowMs).toISOString().replace(/[:.]/g, '-')}`
    : undefined
  if (kept !== undefined) renameSync(target, kept)
  renameSync(fresh, target)
  return { kept }
}

/** `etcdutl` where there is one (etcd 3.5 and newer), else `etcdctl`. */
async function runRestore(args: readonly string[]): Promise<void> {
  for (const program of ['etcdutl', 'etcdctl']) {
    const env = { ...process.env, ETCDCTL_API: '3' }
    const result = await run(program, args, { timeoutMs: RESTORE_TIMEOUT_MS, env }).catch((error: unknown) => {
      if (error instanceof Error && /ENOENT/.test(`${error.message} ${String(error.cause)}`)) return undefined
      throw error
    })
    if (result === undefined) continue
    if (result.exitCode === 0) return
    throw new DroverError('invalid', `${program} cannot restore that snapshot: ${result.stderr.trim().slice(-1_000)}`)
  }
  throw new DroverError('unsupported', 'neither etcdutl nor etcdctl is installed (Debian: apt-get install etcd-client)')
}
