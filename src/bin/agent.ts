/** `drover agent`: joins a node's drivers with its agent; with `--reset`, removes what they made and ends. */
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { createAgent } from '../agent/agent.ts'
import { type AgentLock, lockAgent } from '../agent/agent_lock.ts'
import type { Drivers } from '../agent/context.ts'
import { createDnsDriver } from '../agent/dns/driver.ts'
import { createFencer, removeFencer } from '../agent/fence/fencer.ts'
import { createImageDriver } from '../agent/images/driver.ts'
import type { LogBounds } from '../agent/logs/rotation.ts'
import { createNetworkDriver } from '../agent/network/driver.ts'
import { thresholdOf } from '../agent/pressure/plan.ts'
import { readSignals } from '../agent/pressure/signals.ts'
import { detectCgroups } from '../agent/runtime/cgroups.ts'
import { createRuntimeDriver } from '../agent/runtime/driver.ts'
import { ensureRunDirectory, releaseRunDirectory } from '../agent/runtime/run_directory.ts'
import { createTableStore, removeTables } from '../agent/table_store.ts'
import type { Upkeep } from '../agent/upkeep.ts'
import { createVolumeDriver } from '../agent/volumes/driver.ts'
import { isDnsLabel } from '../api/names.ts'
import { systemClock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { createLogger, type Logger } from '../base/log.ts'
import { Registry, registerProcessMetrics } from '../base/metrics.ts'
import { caHash } from '../base/pki.ts'
import { launcherService, networkNews, useLauncher } from '../base/process.ts'
import { parseBytes } from '../base/quantity.ts'
import { systemRandom } from '../base/random.ts'
import { runServices, type Service } from '../base/service.ts'
import { type AgentFlags, parseHostPort, type RoleContext } from './flags.ts'
import { parseTaint, resolveMembership } from './membership.ts'

/** Smaller files would be cut at every look. */
const MIN_LOG_BYTES = 64 << 10

/** A pod that is replaced, and one more. */
const SPARE_SANDBOXES = 2

const environment = { clock: systemClock, random: systemRandom }

function read(path: string, option: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new DroverError('invalid', `${option}: cannot read ${path}: ${(error as Error).message}`, { cause: error })
  }
}

function parseLabels(flags: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    flags.map((flag) => {
      const equals = flag.indexOf('=')
      if (equals < 1) throw new DroverError('invalid', `--label takes KEY=VALUE, not "${flag}"`)
      return [flag.slice(0, equals), flag.slice(equals + 1)]
    }),
  )
}

function registryProxy(flags: AgentFlags): { url: string; authorization?: string } | undefined {
  if (flags.registryProxy === undefined) return undefined
  const secretFile = flags.registryProxySecretFile
  if (secretFile === undefined) return { url: flags.registryProxy }
  const secret = read(secretFile, '--registry-proxy-secret-file').trim()
  return { url: flags.registryProxy, authorization: `Bearer ${secret}` }
}

/** By registry, in the order given. */
export function parseMirrors(flags: readonly string[]): Record<string, string[]> {
  const mirrors: Record<string, string[]> = {}
  for (const flag of flags) {
    const equals = flag.indexOf('=')
    if (equals < 1 || equals === flag.length - 1) {
      throw new DroverError(
        'invalid',
        `--registry-mirror takes REGISTRY=URL, e.g. docker.io=https://mirror.local, not "${flag}"`,
      )
    }
    const registry = flag.slice(0, equals)
    mirrors[registry] = [...(mirrors[registry] ?? []), flag.slice(equals + 1)]
  }
  return mirrors
}

/** Program by name. */
export function parseHandlers(flags: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    flags.map((flag) => {
      const equals = flag.indexOf('=')
      const name = flag.slice(0, equals)
      if (equals > 0 && equals < flag.length - 1 && isDnsLabel(name)) return [name, flag.slice(equals + 1)]
      throw new DroverError('invalid', `--runtime-handler takes NAME=PROGRAM, e.g. kata=/usr/bin/kata, not "${flag}"`)
    }),
  )
}

/** Of the file system that holds the images, as df counts it: what is kept for root counts as used. */
async function usedPercent(directory: string): Promise<number> {
  const { blocks, bfree, bavail } = await statfs(directory)
  const used = blocks - bfree
  return (used / Math.max(1, used + bavail)) * 100
}

function logBounds({ logMaxSize, logMaxFiles, logMaxTotal }: AgentFlags): LogBounds {
  const bounds = {
    maxFileBytes: parseBytes(logMaxSize),
    maxFiles: Number(logMaxFiles),
    maxNodeBytes: parseBytes(logMaxTotal),
  }
  if (!(bounds.maxFileBytes >= MIN_LOG_BYTES)) {
    throw new DroverError('invalid', `--log-max-size ${logMaxSize}: at least ${MIN_LOG_BYTES} bytes`)
  }
  if (!Number.isInteger(bounds.maxFiles) || bounds.maxFiles < 1) {
    throw new DroverError('invalid', `--log-max-files ${logMaxFiles}: a number of at least 1`)
  }
  return bounds
}

function pressureHoldMs({ pressureHold }: AgentFlags): number {
  const seconds = Number(pressureHold)
  if (Number.isFinite(seconds) && seconds >= 0 && pressureHold.trim() !== '') return seconds * 1_000
  throw new DroverError('invalid', `--pressure-hold ${pressureHold}: write a number of seconds, such as 60`)
}

/** What must be left of each; the total is not known yet, so that only the form is checked. */
function leave({ leaveMemory, leaveDisk, leavePids }: AgentFlags): Upkeep['leave'] {
  const given = { memory: leaveMemory, disk: leaveDisk, pids: leavePids }
  for (const [what, text] of Object.entries(given)) {
    if (thresholdOf(text, 0, parseBytes) === undefined) {
      throw new DroverError('invalid', `--leave-${what} ${text}: write an amount such as 100Mi, or a share such as 5%`)
    }
  }
  return given
}

function containerPidsLimit({ maxContainerPids }: AgentFlags): number {
  if (/^\d{1,7}$/.test(maxContainerPids)) return Number(maxContainerPids)
  throw new DroverError('invalid', `--max-container-pids ${maxContainerPids}: write a whole number, or 0 for no bound`)
}

const fenceDir = ({ runDir }: AgentFlags): string => join(runDir, 'fence')

function createDrivers(flags: AgentFlags, log: Logger, registry: Registry): Drivers {
  const { dataDir, runDir } = flags
  const proxy = registryProxy(flags)
  return {
    runtime: createRuntimeDriver({
      ...environment,
      runtime: flags.runtime,
      handlers: parseHandlers(flags.runtimeHandler ?? []),
      conmon: 'conmon',
      dataDir,
      runDir,
      cgroupParent: flags.cgroupParent,
      log: log.child({ part: 'runtime' }),
    }),
    images: createImageDriver({
      ...environment,
      dataDir: join(dataDir, 'images'),
      registry,
      insecureRegistries: flags.insecureRegistry ?? [],
      mirrors: parseMirrors(flags.registryMirror ?? []),
      log: log.child({ part: 'images' }),
      ...(proxy === undefined ? {} : { proxy }),
    }),
    network: createNetworkDriver({
      ...environment,
      dataDir: join(dataDir, 'network'),
      log: log.child({ part: 'network' }),
      manageSysctls: flags.manageSysctls === true,
      news: networkNews,
    }),
    volumes: createVolumeDriver({
      clock: systemClock,
      dataDir,
      // ensureRunDirectory has seen to it that it lies in memory.
      memoryDir: join(runDir, 'v'),
      log: log.child({ part: 'volumes' }),
    }),
    dns: createDnsDriver({ ...environment, registry, log: log.child({ part: 'dns' }) }),
  }
}

export async function runAgent(flags: AgentFlags, { version, signal }: RoleContext): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new DroverError('forbidden', 'an agent needs root: it makes namespaces and mounts')
  // Whoever started us: what is made for pods has the modes that are asked for.
  process.umask(0o022)
  const rootLog = createLogger('agent', flags.logLevel)
  const registry = new Registry()
  mkdirSync(flags.dataDir, { recursive: true, mode: 0o700 })
  const role = flags.reset === true ? 'reset' : 'agent'
  const lock = await lockAgent(flags, { role, clock: systemClock, signal })
  try {
    await ensureRunDirectory(flags.runDir)
    await lock.lockRunDirectory()
    if (role === 'reset') await resetNode(flags, { rootLog, registry, lock })
    else await runNode(flags, { version, signal, rootLog, registry })
  } finally {
    lock.release()
  }
}

interface AgentProcess {
  rootLog: Logger
  registry: Registry
}

async function resetNode(
  flags: AgentFlags,
  { rootLog, registry, lock }: AgentProcess & { lock: AgentLock },
): Promise<void> {
  await reset(createDrivers(flags, rootLog, registry))
  await removeFencer(fenceDir(flags), systemClock)
  await removeTables(flags.dataDir)
  lock.releaseRunDirectory()
  await releaseRunDirectory(flags.runDir)
  removeCgroupParent(flags.cgroupParent)
}

async function runNode(
  flags: AgentFlags,
  { version, signal, rootLog, registry }: AgentProcess & RoleContext,
): Promise<void> {
  const declared = { labels: parseLabels(flags.label ?? []), taints: (flags.taint ?? []).map(parseTaint) }
  const { nodeName, servers, nodeAddress, tls, onMembership, onServers, services } = await resolveMembership(
    flags,
    declared,
    rootLog,
  )
  const log = rootLog.child({ node: nodeName })
  if (!(await useLauncher())) log.warn('no perl here: pods start slower (Debian: perl-base)')
  const drivers = createDrivers(flags, log, registry)
  registerProcessMetrics(registry)
  const agent = createAgent({
    ...environment,
    nodeName,
    server: { address: servers },
    tls,
    onMembership,
    onServers,
    drivers,
    dataDir: flags.dataDir,
    nodeAddress,
    ...declared,
    imageDisk: {
      highPercent: Number(flags.imageHighPercent),
      lowPercent: Number(flags.imageLowPercent),
      usedPercent: () => usedPercent(flags.dataDir),
    },
    allowedSysctls: flags.allowSysctl ?? [],
    containerPidsLimit: containerPidsLimit(flags),
    upkeep: {
      logBounds: logBounds(flags),
      leave: leave(flags),
      pressureHoldMs: pressureHoldMs(flags),
      signals: () => readSignals(flags.dataDir),
    },
    tables: createTableStore({ dataDir: flags.dataDir, nodeName, caHash: caHash(tls().ca), log }),
    fencer: createFencer({
      directory: fenceDir(flags),
      cgroupParent: flags.cgroupParent,
      cgroupMounts: detectCgroups().hierarchies.map(({ mountPoint }) => mountPoint),
      clock: systemClock,
      log: log.child({ part: 'fencer' }),
    }),
    log,
    registry,
    version,
    ...(flags.listen === undefined ? {} : { http: parseHostPort(flags.listen, '--listen') }),
  })
  const spares: Service = {
    id: 'spare-sandboxes',
    run: async (until) => drivers.runtime.keepSpares?.(SPARE_SANDBOXES, until),
  }
  const launcher = launcherService({ clock: systemClock, log })
  await runServices([launcher, agent.service, spares, ...services], { ...environment, log }, signal)
}

/** The cgroups that held the pods, where nothing is left in them: another cluster's host may stand beside. */
function removeCgroupParent(cgroupParent: string): void {
  for (const { mountPoint } of detectCgroups().hierarchies) {
    try {
      rmdirSync(join(mountPoint, cgroupParent))
    } catch {
      // Never made, or in use.
    }
  }
}

/** Containers first, then what they stood on. Each step is idempotent: a reset that was cut off is run again. */
async function reset({ runtime, network, volumes, dns }: Drivers): Promise<void> {
  await runtime.initialize()
  for (const { id } of await runtime.listContainers()) await runtime.removeContainer(id)
  await network.initialize()
  for (const { podUid } of await network.listPods()) await network.removePod(podUid)
  for (const { podUid } of await runtime.listSandboxes()) await runtime.removeSandbox(podUid)
  await runtime.removeSpares?.()
  await volumes.initialize()
  for (const podUid of await volumes.listPods()) await volumes.removePod(podUid)
  await network.teardown()
  await dns.teardown()
}
