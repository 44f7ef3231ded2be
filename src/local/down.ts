/**
 * `drover down`: ends a local cluster. Containers, interfaces and rules go first, by the agents' own reset, while
 * nothing can start new ones; then the server; then the underlay. With `--purge` also the state. Every step can be
 * repeated; what is found is removed whoever left it.
 */
import { readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DroverError } from '../base/errors.ts'
import { silentLogger } from '../base/log.ts'
import { run } from '../base/process.ts'
import { identify } from '../base/process_table.ts'
import { type ClusterRecord, clusterPaths } from './cluster.ts'
import { agentReset, forgetProcess, recordedProcesses, runningProcess, stopProcess } from './processes.ts'
import { hostsNetwork, type LocalTools } from './up.ts'

const STOP_GRACE_MS = 10_000
const RESET_TIMEOUT_MS = 120_000

export async function down(record: ClusterRecord, purge: boolean, tools: LocalTools): Promise<void> {
  const { progress, io } = tools
  const paths = clusterPaths(record.name)
  const network = hostsNetwork(record, silentLogger)
  await progress.step('agents', async () => {
    // The supervisor first, or it would start again what is stopped.
    await stopNamed(record, tools, (name) => name === 'supervisor')
    await stopNamed(record, tools, (name) => name.startsWith('agent-'))
  })
  await progress.step('pods', async () => {
    const seen = await network.observe()
    const failures = await Promise.all(
      (seen?.hosts ?? []).map(async (host) => {
        const reset = agentReset(tools.self, { record, host, gateway: seen?.gatewayAddress ?? '' })
        const result = await run(reset.program, reset.args, { timeoutMs: RESET_TIMEOUT_MS })
        return result.exitCode === 0 ? [] : [`${host.name}: ${result.stderr.trim().slice(-500)}`]
      }),
    )
    if (failures.flat().length > 0) io.stderr.write(`${failures.flat().join('\n')}\n`)
    await killCgroups(record)
  })
  await progress.step('server and etcd', () => stopNamed(record, tools, () => true))
  await progress.step('network', async () => {
    await network.remove()
    await unmountBelow([paths.run, paths.state])
  })
  rmSync(paths.run, { recursive: true, force: true })
  removeIfEmpty(join(paths.run, '..'))
  if (!purge) return
  await progress.step('state', async () => {
    rmSync(paths.state, { recursive: true, force: true })
    removeIfEmpty(join(paths.state, '..'))
    removeIfEmpty(join(paths.state, '..', '..'))
  })
}

async function stopNamed(record: ClusterRecord, { io }: LocalTools, wanted: (name: string) => boolean): Promise<void> {
  const paths = clusterPaths(record.name)
  const running = recordedProcesses(paths).filter(({ name }) => wanted(name))
  await Promise.all(
    running.map(async ({ name, identity }) => {
      await stopProcess(io.clock, identity, STOP_GRACE_MS)
      forgetProcess(paths, name)
    }),
  )
  if (wanted('server')) await stopStrayEtcd(record, io.clock)
}

/** An etcd whose server was killed runs on by itself: it is known by its data directory. */
async function stopStrayEtcd(record: ClusterRecord, clock: LocalTools['io']['clock']): Promise<void> {
  const directory = clusterPaths(record.name).server
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    let args: string[]
    try {
      args = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0')
    } catch {
      continue
    }
    const isOurs =
      args[0]?.endsWith('etcd') && args.some((arg) => arg.startsWith(`${directory}/`) || arg.includes(`=${directory}/`))
    const identity = isOurs ? identify(Number(entry)) : undefined
    if (identity !== undefined) await stopProcess(clock, identity, STOP_GRACE_MS)
  }
}

/** Mount points below the directories, deepest first, are let go. */
async function unmountBelow(directories: readonly string[]): Promise<void> {
  const points = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[1] ?? '').replace(/\\040/g, ' '))
    .filter((point) => directories.some((directory) => point.startsWith(`${directory}/`)))
    .reverse()
  for (const point of points) {
    const result = await run('umount', ['-l', point])
    if (result.exitCode !== 0) throw new DroverError('internal', `cannot unmount ${point}: ${result.stderr.trim()}`)
  }
}

/** Every process still in the cluster's cgroups is ended and the cgroups are removed, in every hierarchy. */
async function killCgroups(record: ClusterRecord): Promise<void> {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, mountPoint = '', type] = line.split(' ')
    if (type !== 'cgroup' && type !== 'cgroup2') continue
    const parent = join(mountPoint, 'drover')
    await removeCgroup(join(parent, record.name))
    removeIfEmpty(parent)
  }
}

const CGROUP_TRIES = 100

async function removeCgroup(directory: string): Promise<void> {
  let children: string[]
  try {
    children = readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
  } catch {
    return
  }
  for (const child of children) await removeCgroup(join(directory, child))
  for (let attempt = 0; attempt < CGROUP_TRIES; attempt++) {
    for (const pid of readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n')) {
      if (pid !== '') await run('kill', ['-KILL', pid])
    }
    try {
      rmdirSync(directory)
      return
    } catch {
      // Killed processes leave their cgroup a moment later.
    }
  }
  throw new DroverError('internal', `cgroup ${directory} cannot be removed: processes in it do not end`)
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // Another cluster's.
  }
}

/** Whether anything of the cluster runs. */
export function isRunning(record: ClusterRecord): boolean {
  return runningProcess(clusterPaths(record.name), 'supervisor') !== undefined
}
