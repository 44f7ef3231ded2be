/**
 * A pod's sandbox: network, IPC and UTS namespaces that no process keeps but files do (nsfs bind mounts), and the memory
 * file system that the pod's containers share as /dev/shm. One process makes and pins all of it and raises `lo`.
 * Only where the containers share their processes is there one more, which a process does keep (pid_holder.ts).
 * sandbox.json is written last: without it, or when a pin has gone (a reboot), everything is made again.
 */
import { existsSync, mkdirSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { readdir, rmdir, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import {
  bindCall,
  type KernelCall,
  kernelCalls,
  MOUNT,
  mountCall,
  newUsersCall,
  raiseLoopbackCall,
  tryUnmount,
  unshareCall,
} from '../../base/kernel_calls.ts'
import type { Logger } from '../../base/log.ts'
import { isAlive, type ProcessIdentity } from '../../base/process_table.ts'
import { readRecord, writeRecordInMemory } from '../../base/records.ts'
import { settleAll } from '../../base/settle.ts'
import { isId, type RuntimePaths } from './paths.ts'
import { endHolder, startHolder } from './pid_holder.ts'
import type { PodResources, Sandbox, SandboxRequest } from './runtime.ts'
import { SpareSandboxes } from './spare_sandboxes.ts'
import { freeRanges, takeRange, type UserRange } from './user_ranges.ts'

export interface SandboxRecord {
  hostname: string
  hostNetwork: boolean
  /** Keeps the process namespace that the pod's containers share. */
  holder?: ProcessIdentity
  /** The pod's own users. */
  users?: UserRange
}

const NSFS_MAGIC = 0x6e736673
const TMPFS_MAGIC = 0x01021994
const RECORD = 'sandbox.json'

export function shmPath(sandboxes: string, podUid: string): string {
  return join(sandboxes, podUid, 'shm')
}

export function sandboxRecord(sandboxes: string, podUid: string): SandboxRecord | undefined {
  return readRecord(join(sandboxes, podUid, RECORD))
}

interface Shape {
  podUid: string
  hostname: string
  hostNetwork: boolean
  shareProcesses?: boolean
  ownUsers?: boolean
  resources?: PodResources
}

function sandboxOf(
  directory: string,
  { podUid, hostname, hostNetwork, shareProcesses = false, resources }: Shape,
  users: UserRange | undefined,
): Sandbox {
  return {
    podUid,
    hostname,
    ...(hostNetwork ? {} : { netNamespacePath: join(directory, 'net') }),
    ...(shareProcesses ? { pidNamespacePath: join(directory, 'pid') } : {}),
    ...(users === undefined ? {} : { users: { namespacePath: join(directory, 'user'), ...users } }),
    ipcNamespacePath: join(directory, 'ipc'),
    utsNamespacePath: join(directory, 'uts'),
    ...(resources === undefined ? {} : { resources }),
  }
}

export type Pin = 'user' | 'net' | 'ipc' | 'uts'

export function pinsOf({ hostNetwork, users }: Pick<SandboxRecord, 'hostNetwork' | 'users'>): Pin[] {
  return [...(users === undefined ? [] : (['user'] as const)), ...(hostNetwork ? [] : (['net'] as const)), 'ipc', 'uts']
}

/** At once, as all that is asked of the run directory: it lies in memory. */
function isMounted(path: string, magic: number): boolean {
  try {
    return statfsSync(path).type === magic
  } catch {
    return false
  }
}

function isWhole(directory: string, record: Made): boolean {
  return pinsOf(record).every((pin) => isMounted(join(directory, pin), NSFS_MAGIC)) && isShmMounted(directory)
}

/** The run directory may be a tmpfs itself, so the kind alone proves nothing: our own has its own device. */
function isShmMounted(directory: string): boolean {
  if (!isMounted(join(directory, 'shm'), TMPFS_MAGIC)) return false
  return statSync(join(directory, 'shm')).dev !== statSync(directory).dev
}

/** What only an ordinary pod has: nothing of the host's, no users and no processes of its own. */
const ORDINARY = { hostNetwork: false }

export async function ensureSandbox(
  { paths, spares }: { paths: RuntimePaths; spares?: SpareSandboxes },
  request: SandboxRequest,
  onKnown?: (sandbox: Sandbox) => void,
): Promise<Sandbox> {
  const { podUid, hostNetwork, hostname, shareProcesses = false, ownUsers = false } = request
  const directory = join(paths.sandboxes, podUid)
  const known = sandboxRecord(paths.sandboxes, podUid)
  if (known !== undefined && isOfShape(known, request) && isWhole(directory, known)) {
    if (known.hostname !== hostname) writeRecordInMemory(join(directory, RECORD), { ...known, hostname })
    return sandboxOf(directory, request, known.users)
  }
  // Which users it has is known only when a range has been taken.
  if (!ownUsers) onKnown?.(sandboxOf(directory, request, undefined))
  if (existsSync(directory)) await removeSandboxFiles(paths, podUid)
  const ordinary = !hostNetwork && !shareProcesses && !ownUsers
  const isSpare = ordinary && (await spares?.take(directory)) === true
  const made = isSpare ? ORDINARY : await makeSandbox(paths, directory, { hostNetwork, shareProcesses, ownUsers })
  const record: SandboxRecord = { hostname, ...made }
  writeRecordInMemory(join(directory, RECORD), record)
  return sandboxOf(directory, request, record.users)
}

type Made = Omit<SandboxRecord, 'hostname'>

/** All but the record. */
async function makeSandbox(
  { userRanges }: RuntimePaths,
  directory: string,
  { hostNetwork, shareProcesses, ownUsers }: Required<Pick<Shape, 'hostNetwork' | 'shareProcesses' | 'ownUsers'>>,
): Promise<Made> {
  mkdirSync(join(directory, 'shm'), { recursive: true, mode: 0o700 })
  // The file first: by it whoever removes this knows that there may be a range to give back.
  if (ownUsers) writeFileSync(join(directory, 'user'), '')
  const users = ownUsers ? await takeRange(userRanges, directory) : undefined
  const made: Made = { hostNetwork, ...(users === undefined ? {} : { users }) }
  const pins = pinsOf(made).map((name) => ({ name, path: join(directory, name) }))
  for (const { path } of pins) writeFileSync(path, '')
  if (users !== undefined) {
    await kernelCalls([shmCall(directory), newUsersCall({ ...users, pins })])
    return shareProcesses ? { ...made, holder: await pinProcesses(directory, join(directory, 'user')) } : made
  }
  const calls = [
    shmCall(directory),
    unshareCall(pins.map(({ name }) => name)),
    ...(hostNetwork ? [] : [raiseLoopbackCall()]),
    ...pins.map(({ name, path }) => bindCall(`/proc/self/ns/${name}`, path)),
  ]
  const [holder] = await settleAll([shareProcesses ? pinProcesses(directory) : undefined, kernelCalls(calls)])
  return holder === undefined ? made : { ...made, holder }
}

/** Sandboxes made ahead for ordinary pods. */
export function createSpares(paths: RuntimePaths, { clock, log }: { clock: Clock; log: Logger }): SpareSandboxes {
  const shape = { hostNetwork: false, shareProcesses: false, ownUsers: false }
  return new SpareSandboxes({
    directory: paths.sandboxes,
    make: async (directory) => {
      await makeSandbox(paths, directory, shape)
    },
    isWhole: (directory) => isWhole(directory, ORDINARY),
    remove: (directory) => removeFiles(paths, directory),
    clock,
    log,
  })
}

async function pinProcesses(directory: string, users?: string): Promise<ProcessIdentity> {
  await writeFile(join(directory, 'pid'), '')
  return startHolder(join(directory, 'pid'), users)
}

function isOfShape(record: SandboxRecord, { hostNetwork, shareProcesses = false, ownUsers = false }: Shape): boolean {
  if (record.hostNetwork !== hostNetwork || (record.users !== undefined) !== ownUsers) return false
  return shareProcesses ? record.holder !== undefined && isAlive(record.holder) : record.holder === undefined
}

function shmCall(directory: string): KernelCall {
  const flags = MOUNT.nosuid | MOUNT.nodev | MOUNT.noexec
  const target = join(directory, 'shm')
  return mountCall({ source: 'shm', target, type: 'tmpfs', flags, data: 'size=64m,mode=1777' })
}

export async function mountShm(directory: string): Promise<void> {
  await kernelCalls([shmCall(directory)])
}

export async function listSandboxes(sandboxes: string): Promise<Sandbox[]> {
  const names = (await readdir(sandboxes)).filter(isId)
  return names.map((podUid) => {
    const { hostname = '', hostNetwork = false, holder, users } = sandboxRecord(sandboxes, podUid) ?? {}
    return sandboxOf(
      join(sandboxes, podUid),
      { podUid, hostname, hostNetwork, shareProcesses: holder !== undefined },
      users,
    )
  })
}

export function removeSandboxFiles(paths: RuntimePaths, podUid: string): Promise<void> {
  return removeFiles(paths, join(paths.sandboxes, podUid))
}

/** Files are removed by name, never as a tree: what is still mounted stays and is told. */
async function removeFiles({ userRanges }: RuntimePaths, directory: string): Promise<void> {
  const entries = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (entries === undefined) return
  if (entries.includes('pid')) endHolder(join(directory, 'pid'))
  const mounted: string[] = []
  for (const pin of ['user', 'net', 'ipc', 'uts', 'pid']) {
    const path = join(directory, pin)
    if (entries.includes(pin) && isMounted(path, NSFS_MAGIC)) mounted.push(path)
  }
  if (entries.includes('shm') && isShmMounted(directory)) mounted.push(join(directory, 'shm'))
  // Lazily: a process that still looks at a file there must not keep the pod from going.
  await tryUnmount(mounted, true)
  if (entries.includes('user')) await freeRanges(userRanges, directory)
  for (const name of entries) {
    const path = join(directory, name)
    await (name === 'shm' ? rmdir(path) : unlink(path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return
      throw new DroverError('unavailable', `cannot remove ${path} of a sandbox: ${error.message}`, { cause: error })
    })
  }
  await rmdir(directory)
}
