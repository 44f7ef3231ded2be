/**
 * `drover down`: ends a local cluster. Containers, interfaces and rules go first, by the agents' own reset, while
 * nothing can start new ones; then the server; then the underlay. With `--purge` also the state. Every step can be
 * repeated; what is found is removed whoever left it.
 */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { silentLogger } from '../base/log.ts'
import { run } from '../base/process.ts'
import { Chaos, etcdProcesses } from './chaos.ts'
import { type ClusterRecord, clusterPaths } from './cluster.ts'
import { hostsNetwork } from './cluster_network.ts'
import { agentReset, forgetProcess, recordedProcesses, runningProcess, stopProcess } from './processes.ts'
import { removeCgroup, removeIfEmpty, unmountBelow } from './remove.ts'
import type { LocalTools } from './up.ts'

const STOP_GRACE_MS = 10_000
const RESET_TIMEOUT_MS = 120_000

export async function down(record: ClusterRecord, purge: boolean, tools: LocalTools): Promise<void> {
  const { progress, io } = tools
  const paths = clusterPaths(record.name)
  const network = hostsNetwork(record, { clock: io.clock, log: silentLogger })
  await progress.step('agents', async () => {
    // The supervisor first, or it would start again what is stopped.
    await stopNamed(record, tools, (name) => name === 'supervisor')
    // What is frozen hears no signal.
    await (await Chaos.open(record, io.clock)).healAll()
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
  // An etcd whose server was killed runs on by itself.
  if (wanted('server')) for (const etcd of etcdProcesses(record)) await stopProcess(io.clock, etcd, STOP_GRACE_MS)
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

/** Whether anything of the cluster runs. */
export function isRunning(record: ClusterRecord): boolean {
  return runningProcess(clusterPaths(record.name), 'supervisor') !== undefined
}
