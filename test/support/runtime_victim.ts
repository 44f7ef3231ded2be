/** A process that starts and removes containers until it is killed. Arguments: the host's directory, cgroup parent, layer, first number, and how it starts programs. */
import { join } from 'node:path'
import { createRuntimeDriver } from '../../src/agent/runtime/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { useLauncher } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'

const [directory = '', cgroupParent = '', layer = '', first = '0', way = 'directly'] = process.argv.slice(2)
if (way === 'helped' && !(await useLauncher())) throw new Error('no Perl to start programs through')
const driver = createRuntimeDriver({
  runtime: 'runc',
  conmon: 'conmon',
  dataDir: join(directory, 'data'),
  runDir: join(directory, 'run'),
  cgroupParent,
  clock: systemClock,
  random: systemRandom,
  log: silentLogger,
})
await driver.initialize()
process.stdout.write('ready\n')
for (let attempt = Number(first); ; attempt++) {
  const podUid = `victim-${attempt}`
  const id = `drvt-${podUid}`
  const named = { podUid, namespace: 'default', podName: podUid, hostname: 'victim', hostNetwork: false }
  // Every other pod has users of its own.
  const sandbox = await driver.ensureSandbox({ ...named, ownUsers: attempt % 2 === 1 })
  await driver.startContainer(
    {
      id,
      podUid,
      name: 'main',
      attempt,
      sandbox,
      layerDirectories: [layer],
      args: ['/bin/sleep', '1000'],
      env: [],
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
    },
    new AbortController().signal,
  )
  await driver.removeContainer(id)
  await driver.removeSandbox(podUid)
}
