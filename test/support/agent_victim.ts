/**
 * A whole agent as a process of its own, over the real runtime, network, volumes and images, for tests that end it in
 * the middle of its work. Argument: a file with its `AgentProcessConfig`.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAgent } from '../../src/agent/agent.ts'
import { createImageDriver } from '../../src/agent/images/driver.ts'
import { createNetworkDriver } from '../../src/agent/network/driver.ts'
import { readSignals } from '../../src/agent/pressure/signals.ts'
import { createRuntimeDriver } from '../../src/agent/runtime/driver.ts'
import { createTableStore } from '../../src/agent/table_store.ts'
import type { Upkeep } from '../../src/agent/upkeep.ts'
import { createVolumeDriver } from '../../src/agent/volumes/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { createLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { launcherService, useLauncher } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import type { AgentProcessConfig } from './agent_node.ts'
import { FakeHost, fakeDrivers } from './fake_drivers.ts'

const config = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as AgentProcessConfig
const { directory, nodeName, killAtMoment, killAfterMs = 0, httpPort } = config
const log = createLogger('agent', 'info')
const environment = { clock: systemClock, random: systemRandom, log }
const dataDir = join(directory, 'data')

/** Sooner than real agents do, so that many can be killed. */
const LAUNCHER_LOOK_MS = 50

let moments = 0
/** The beginning and the end of each call that changes the host is a moment to die at. */
function moment(): void {
  moments++
  if (moments !== killAtMoment) return
  const die = (): void => {
    process.kill(process.pid, 'SIGKILL')
  }
  if (killAfterMs > 0) systemClock.schedule(killAfterMs, die)
  else die()
}

const LOOKS = /^(list|find|on|version|cgroupPathOf|terminationMessage|connections|resolveUser|initialize)/

function withMoments<T extends object>(driver: T): T {
  return new Proxy(driver, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key)
      if (typeof value !== 'function' || LOOKS.test(String(key))) {
        return typeof value === 'function' ? value.bind(target) : value
      }
      return (...args: unknown[]) => {
        moment()
        const result: unknown = value.apply(target, args)
        if (result instanceof Promise) result.then(moment, moment)
        // What was begun has calls of its own.
        else if (key === 'beginContainer') return withMoments(result as object)
        return result
      }
    },
  })
}

const MiB = 2 ** 20
const upkeep: Upkeep = {
  logBounds: { maxFileBytes: 10 * MiB, maxFiles: 5, maxNodeBytes: 100 * MiB },
  leave: { memory: '0', disk: '0', pids: '0' },
  signals: () => readSignals(dataDir),
}

await useLauncher()
const fake = fakeDrivers(new FakeHost())
const agent = createAgent({
  ...environment,
  nodeName,
  server: { address: config.server },
  tls: config.tls,
  drivers: {
    runtime: withMoments(
      createRuntimeDriver({
        ...environment,
        runtime: config.runtime ?? 'runc',
        conmon: 'conmon',
        dataDir,
        runDir: join(directory, 'run'),
        cgroupParent: config.cgroupParent,
      }),
    ),
    images: createImageDriver({ ...environment, dataDir: join(dataDir, 'images'), insecureRegistries: [] }),
    network: withMoments(
      createNetworkDriver({
        ...environment,
        dataDir: join(dataDir, 'network'),
        namespacePath: config.namespacePath,
        manageSysctls: true,
      }),
    ),
    volumes: withMoments(createVolumeDriver({ clock: systemClock, dataDir, log })),
    dns: fake.dns,
  },
  dataDir,
  nodeAddress: config.nodeAddress,
  registry: new Registry(),
  version: config.version,
  ...(httpPort === undefined ? {} : { http: { host: '127.0.0.1', port: httpPort }, upkeep }),
  tables: createTableStore({ dataDir, nodeName, caHash: 'drvt', log }),
})
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())
const launcher = launcherService({ ...environment, everyMs: LAUNCHER_LOOK_MS })
await runServices([launcher, agent.service], environment, stop.signal)
process.exit(0)
