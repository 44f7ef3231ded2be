/** A runtime driver on directories and a cgroup parent of its own, with a busybox layer, and a check that nothing stays. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { createRuntimeDriver } from '../../src/agent/runtime/driver.ts'
import type { ContainerRequest, RuntimeDriver, Sandbox, SandboxRequest } from '../../src/agent/runtime/runtime.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { runOk } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'

export interface RuntimeHost {
  directory: string
  layer: string
  cgroupParent: string
  driver: RuntimeDriver
  /** Another driver on the same directories, as after a restart of the agent. */
  again(): Promise<RuntimeDriver>
  sandbox(podUid: string, changes?: Partial<SandboxRequest>): Promise<Sandbox>
  request(sandbox: Sandbox, changes: Partial<ContainerRequest>): ContainerRequest
  log(id: string): string
  /** Mounts, cgroups, processes and files that still stem from this host. */
  remains(): string[]
  destroy(): Promise<void>
}

export async function createRuntimeHost(runtime = 'runc'): Promise<RuntimeHost> {
  const directory = mkdtempSync(join(tmpdir(), 'drvt-'))
  const cgroupParent = `/${basename(directory)}`
  const layer = await makeLayer(directory)
  const make = async (): Promise<RuntimeDriver> => {
    const driver = createRuntimeDriver({
      runtime,
      conmon: 'conmon',
      dataDir: join(directory, 'data'),
      runDir: join(directory, 'run'),
      cgroupParent,
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
    })
    await driver.initialize()
    return driver
  }
  const driver = await make()
  const host: RuntimeHost = {
    directory,
    layer,
    cgroupParent,
    driver,
    again: make,
    sandbox: (podUid, changes = {}) =>
      driver.ensureSandbox({
        podUid,
        namespace: 'default',
        podName: podUid,
        hostname: 'drvt-host',
        hostNetwork: false,
        ...changes,
      }),
    request: (sandbox, changes) => ({ ...baseRequest(directory, layer, sandbox), ...changes }),
    log: (id) => {
      const path = join(directory, 'logs', `${id}.log`)
      return existsSync(path) ? readFileSync(path, 'utf8') : ''
    },
    remains: () => [...remains(directory, cgroupParent), ...userRemains(directory)],
    async destroy() {
      for (const { id } of await driver.listContainers()) await driver.removeContainer(id)
      for (const { podUid } of await driver.listSandboxes()) await driver.removeSandbox(podUid)
      await driver.removeSandbox('drvt-none')
      for (const path of cgroupDirectories(cgroupParent)) rmSync(path, { recursive: true, force: true })
      if (existsSync(userMounts(directory))) rmdirSync(userMounts(directory))
      rmSync(directory, { recursive: true, force: true })
    },
  }
  return host
}

async function makeLayer(directory: string): Promise<string> {
  const layer = join(directory, 'layer')
  for (const name of ['bin', 'tmp', 'etc', 'root']) mkdirSync(join(layer, name), { recursive: true })
  copyFileSync('/bin/busybox', join(layer, 'bin/busybox'))
  const applets = (await runOk('busybox', ['--list'])).split('\n').filter((name) => name !== '' && name !== 'busybox')
  for (const applet of applets) symlinkSync('busybox', join(layer, 'bin', applet))
  return layer
}

function baseRequest(directory: string, layer: string, sandbox: Sandbox): ContainerRequest {
  const id = `drvt-${sandbox.podUid}-main-0`
  return {
    id,
    podUid: sandbox.podUid,
    name: 'main',
    attempt: 0,
    sandbox,
    layerDirectories: [layer],
    args: ['/bin/sleep', '1000'],
    env: ['PATH=/bin'],
    workingDirectory: '/',
    user: { uid: 0, gid: 0, additionalGids: [] },
    mounts: [],
    resources: { cpuLimitMillis: 0, cpuRequestMillis: 0, memoryLimitBytes: 0, memoryRequestBytes: 0, pidsLimit: 0 },
    readOnlyRootFilesystem: false,
    privileged: false,
    addCapabilities: [],
    dropCapabilities: [],
    noNewPrivileges: true,
    tty: false,
    stdin: false,
    logPath: join(directory, 'logs', `${id}.log`),
    annotations: {},
  }
}

function cgroupDirectories(cgroupParent: string): string[] {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4] ?? '')
  return points.map((point) => join(point, cgroupParent)).filter((path) => existsSync(path))
}

const USERS_DIR = '/run/drover-users'
const userMounts = (directory: string): string => join(USERS_DIR, basename(directory))

/** Of pods with users of their own: mounts, and ranges of ids. */
function userRemains(directory: string): string[] {
  const ids = join(USERS_DIR, 'ids')
  const list = (path: string): string[] => (existsSync(path) ? readdirSync(path) : [])
  return [
    ...list(userMounts(directory)).map((name) => `mounts of ${name}`),
    ...list(ids).filter((name) => {
      try {
        return readFileSync(join(ids, name), 'utf8').startsWith(`${directory}/`)
      } catch {
        return false
      }
    }),
  ]
}

function remains(directory: string, cgroupParent: string): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(directory))
  const cgroups = cgroupDirectories(cgroupParent).flatMap((path) =>
    readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(path, entry.name)),
  )
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${directory}/`)
      } catch {
        return false
      }
    })
    .map((pid) => `process ${pid}`)
  const files = ['data/c', 'run/s', 'run/exits', 'run/oci', 'run/sock', 'run/c'].flatMap((name) =>
    readdirSync(join(directory, name)).map((entry) => join(name, entry)),
  )
  return [...mounts, ...cgroups, ...processes, ...files]
}
