/**
 * crun refuses a host on which cgroups of the second version have controllers beside those of the first; for as long as
 * somebody needs it, they are taken by a mount of the first version, in a mount namespace that only a waiting process sees.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { detectCgroups } from '../../src/agent/runtime/cgroups.ts'
import { start } from '../../src/base/process.ts'

/** Those that another test has taken meanwhile are among them: they are to stay when it ends. */
function controllersInTheWay(): string[] {
  const { mode, hierarchies } = detectCgroups()
  const unified = hierarchies.find(({ version }) => version === 2)?.mountPoint
  if (mode !== 'hybrid' || unified === undefined) return []
  const free = readFileSync(`${unified}/cgroup.controllers`, 'utf8').split(/\s+/).filter(Boolean)
  const mounted = new Set(hierarchies.flatMap(({ version, controllers }) => (version === 1 ? controllers : [])))
  // Name, number of its hierarchy of the first version, or 0.
  const used = [...readFileSync('/proc/cgroups', 'utf8').matchAll(/^(\w+)\t([1-9]\d*)\t/gm)].map(
    ([, name = '']) => name,
  )
  return [...new Set([...free, ...used.filter((name) => !mounted.has(name))])]
}

/** Has crun run containers here until the returned function is called. */
export async function letCrunRun(): Promise<() => Promise<void>> {
  const controllers = controllersInTheWay()
  if (controllers.length === 0) return async () => undefined
  const mounts = controllers.map((name) => `mount -t cgroup -o ${name} drvt /mnt`).join(' && ')
  const script = `${mounts} && echo ready && exec sleep 1000`
  const child: ChildProcess = start('unshare', ['--mount', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  const ready = child.stdout === null ? Promise.resolve() : once(child.stdout, 'data')
  await Promise.race([
    ready,
    exited.then(() => {
      throw new Error(`cgroup controllers ${controllers.join(', ')} cannot be mounted: crun cannot run here`)
    }),
  ])
  return async () => {
    child.kill('SIGKILL')
    await exited
  }
}
