/**
 * The processes of one host of a local cluster, and the ways to stop, continue and end them all. A process belongs to a host
 * when it stands in the host's network namespace (agent, monitors) or in its cgroups (containers): both are looked at,
 * nothing is remembered.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, sleep } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { readIfExists } from '../base/files.ts'
import { parseMountinfo } from '../base/mountinfo.ts'
import { identify, type ProcessIdentity, signalProcess } from '../base/process_table.ts'

export interface HostPlace {
  /** Of the host's pods, e.g. `/drover/lab/lab-1`. */
  cgroup: string
  namespacePath: string
}

const FREEZE_TIMEOUT_MS = 5_000
const KILL_TIMEOUT_MS = 10_000
const POLL_MS = 10

/** Cgroups of the path in every mounted hierarchy, those that exist. */
export function cgroupDirectories(
  path: string,
): { directory: string; version: 1 | 2; controllers: readonly string[] }[] {
  const mounts = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'))
  const found = new Map<string, { directory: string; version: 1 | 2; controllers: readonly string[] }>()
  for (const { type, mountPoint, superOptions } of mounts) {
    if (type !== 'cgroup' && type !== 'cgroup2') continue
    const directory = join(mountPoint, path)
    if (existsSync(directory))
      found.set(directory, { directory, version: type === 'cgroup' ? 1 : 2, controllers: superOptions })
  }
  return [...found.values()]
}

function namespaceInode(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino
}

function belongs(pid: string, place: HostPlace, inode: number | undefined): boolean {
  try {
    if (inode !== undefined && readlinkSync(`/proc/${pid}/ns/net`) === `net:[${inode}]`) return true
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8')
      .split('\n')
      .some((line) => `${line}/`.includes(`:${place.cgroup}/`))
  } catch {
    return false
  }
}

export function processesOf(place: HostPlace, wanted: (pid: string) => boolean = () => true): ProcessIdentity[] {
  const inode = namespaceInode(place.namespacePath)
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && wanted(entry) && belongs(entry, place, inode))
    .flatMap((pid) => identify(Number(pid)) ?? [])
}

/** The file that freezes a cgroup with all below it, and what to write; undefined where the kernel has none. */
function freezer(
  place: HostPlace,
): { file: string; freeze: string; thaw: string; isDone(text: string): boolean } | undefined {
  for (const { directory, version, controllers } of cgroupDirectories(place.cgroup)) {
    if (version === 1 && controllers.includes('freezer')) {
      const file = join(directory, 'freezer.state')
      return { file, freeze: 'FROZEN', thaw: 'THAWED', isDone: (text) => text.trim() === 'FROZEN' }
    }
    const file = join(directory, 'cgroup.freeze')
    // A v2 hierarchy beside v1 holds no process of the pods: its freezer would stop nothing.
    if (version === 2 && existsSync(file) && readIfExists(join(directory, 'cgroup.events'))?.includes('populated 1')) {
      return { file, freeze: '1', thaw: '0', isDone: (text) => text.trim() === '1' }
    }
  }
  return undefined
}

function isStopped(pid: number | string): boolean {
  const stat = readIfExists(`/proc/${pid}/stat`) ?? ''
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) === 'T'
}

/** Whether the host's cgroups are frozen, or one of its processes is stopped. */
export function isFrozen(place: HostPlace): boolean {
  const cgroups = freezer(place)
  if (cgroups?.isDone(readIfExists(cgroups.file) ?? '') === true) return true
  return processesOf(place, isStopped).length > 0
}

/** Stops everything at once: the agent by SIGSTOP first, so that it sees nothing of the rest; containers by their freezer. */
export async function freeze(place: HostPlace, clock: Clock): Promise<number> {
  for (const one of processesOf(place)) if (!inCgroup(one, place)) signalProcess(one, 'SIGSTOP')
  const cgroups = freezer(place)
  if (cgroups !== undefined) writeFileSync(cgroups.file, cgroups.freeze)
  const deadlineMs = clock.monotonicMs() + FREEZE_TIMEOUT_MS
  for (;;) {
    const running = processesOf(place).filter(
      (one) => !isStopped(one.pid) && (cgroups === undefined || !inCgroup(one, place)),
    )
    for (const one of running) signalProcess(one, 'SIGSTOP')
    const done = cgroups === undefined || cgroups.isDone(readIfExists(cgroups.file) ?? '')
    if (running.length === 0 && done) return processesOf(place).length
    if (clock.monotonicMs() > deadlineMs) throw new DroverError('timeout', `${place.cgroup} does not freeze`)
    await sleep(clock, POLL_MS)
  }
}

function inCgroup({ pid }: ProcessIdentity, { cgroup }: HostPlace): boolean {
  return (readIfExists(`/proc/${pid}/cgroup`) ?? '').split('\n').some((line) => `${line}/`.includes(`:${cgroup}/`))
}

export function thaw(place: HostPlace): number {
  const cgroups = freezer(place)
  if (cgroups !== undefined) writeFileSync(cgroups.file, cgroups.thaw)
  const stopped = processesOf(place, isStopped)
  for (const one of stopped) signalProcess(one, 'SIGCONT')
  return stopped.length
}

/** SIGKILL to all, until none is left. Says how many there were. */
export async function killAll(place: HostPlace, clock: Clock): Promise<number> {
  const deadlineMs = clock.monotonicMs() + KILL_TIMEOUT_MS
  const killed = new Set<number>()
  for (;;) {
    const left = processesOf(place)
    if (left.length === 0) return killed.size
    for (const one of left) {
      killed.add(one.pid)
      signalProcess(one, 'SIGKILL')
    }
    // What is frozen does not even die.
    thaw(place)
    if (clock.monotonicMs() > deadlineMs) {
      throw new DroverError(
        'internal',
        `processes of ${place.cgroup} do not end: ${left.map(({ pid }) => pid).join(', ')}`,
      )
    }
    await sleep(clock, POLL_MS)
  }
}
