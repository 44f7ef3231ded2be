// What tests have made on the machine carries "drvt" in its name: files, mounts, namespaces, interfaces, cgroups, processes.
import { readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const MARK = 'drvt'
/** What was told to go takes its time. */
const PATIENCE_MS = 10_000

/** `otherwise`: where there is no such thing, or it has just gone. */
function attempt(work, otherwise) {
  try {
    return work()
  } catch {
    return otherwise
  }
}

const marked = (directory) => attempt(() => readdirSync(directory), []).filter((name) => name.includes(MARK))

function processes() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const command = attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim(), '')
      return command.includes(MARK) && Number(pid) !== process.pid ? [`process ${pid}: ${command.slice(0, 120)}`] : []
    })
}

function cgroups() {
  const root = '/sys/fs/cgroup'
  const hierarchies = attempt(() => readdirSync(root, { withFileTypes: true }), []).filter((one) => one.isDirectory())
  return [root, ...hierarchies.map(({ name }) => join(root, name))].flatMap((directory) =>
    marked(directory).map((name) => `cgroup ${join(directory, name)}`),
  )
}

/** Lines that name each thing. */
export function testTraces() {
  const mounts = attempt(() => readFileSync('/proc/self/mountinfo', 'utf8').split('\n'), [])
  return new Set([
    ...[tmpdir(), '/var/lib/drover/clusters', '/run/drover', '/run/netns'].flatMap((directory) =>
      marked(directory).map((name) => `file ${join(directory, name)}`),
    ),
    ...mounts.filter((line) => line.includes(MARK)).map((line) => `mount ${line.split(' ')[4]}`),
    ...marked('/sys/class/net').map((name) => `interface ${name}`),
    ...cgroups(),
    ...processes(),
  ])
}

/** What is there now and was not before. */
export async function leftSince(before) {
  const look = () => [...testTraces()].filter((trace) => !before.has(trace))
  const untilMs = performance.now() + PATIENCE_MS
  let left = look()
  while (left.length > 0 && performance.now() < untilMs) {
    await sleep(200)
    left = look()
  }
  return left
}
