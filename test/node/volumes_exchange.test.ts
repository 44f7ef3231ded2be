/**
 * A directory of a volume is exchanged with a link that leads out, in a loop and by one system call, while containers that mount
 * that sub-path start: none ever sees what is outside (CVE-2017-1002101, CVE-2021-25741). Bounded; DROVER_LONG=1 tries for longer.
 */
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createVolumeDriver } from '../../src/agent/volumes/driver.ts'
import type { VolumeDriver, VolumeSources } from '../../src/agent/volumes/volumes.ts'
import type { Pod } from '../../src/api/pod.ts'
import { systemClock } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { eventually } from '../support/eventually.ts'
import { enterNamespace, type TestNamespace } from '../support/netns.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const LONG = process.env.DROVER_LONG === '1'
const RESOLVES = LONG ? 2_000 : 400
const STARTS = LONG ? 60 : 8
const TIMEOUT = { timeout: LONG ? 600_000 : 60_000 }
const UID = 'exchanged'
/** renameat2(2) with RENAME_EXCHANGE: at every moment one of the two has the name. */
const EXCHANGE = `
my $number = \`uname -m\` =~ /aarch64/ ? 276 : 316;
my ($one, $two) = @ARGV;
syscall($number, -100, $one, -100, $two, 2) == 0 or die "renameat2: $!" while 1;
`

let host: RuntimeHost
let volumes: VolumeDriver
let exchanger: TestNamespace
let emptyDir = ''
let hostPath = ''
const outside = mkdtempSync(join(tmpdir(), 'drvt-outside-'))

/** A directory of two levels, and links that lead where `deep/who` is another. */
function plant(volume: string): void {
  mkdirSync(join(volume, 'sub/deep'), { recursive: true })
  writeFileSync(join(volume, 'sub/deep/who'), 'inside')
  symlinkSync(outside, join(volume, 'evil'))
}

beforeAll(async () => {
  mkdirSync(join(outside, 'deep'))
  writeFileSync(join(outside, 'deep/who'), 'outside')
  host = await createRuntimeHost()
  volumes = createVolumeDriver({ dataDir: join(host.directory, 'data'), clock: systemClock, log: silentLogger })
  await volumes.initialize()
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', uid: UID },
    spec: { containers: [{ name: 'main' }], volumes: [{ name: 'v', emptyDir: {} }] },
  } as Pod
  emptyDir = (await volumes.ensureVolumes(pod, {} as VolumeSources)).get('v') ?? ''
  hostPath = mkdtempSync(join(tmpdir(), 'drvt-host-'))
  exchanger = enterNamespace('/proc/self/ns/net')
  for (const volume of [emptyDir, hostPath]) {
    plant(volume)
    exchanger.start(['perl', '-e', EXCHANGE, join(volume, 'sub'), join(volume, 'evil')])
  }
})
afterAll(async () => {
  await exchanger.remove()
  for (const { id } of await host.driver.listContainers()) await host.driver.removeContainer(id)
  await volumes.removePod(UID)
  await host.destroy()
  for (const directory of [outside, hostPath]) await rm(directory, { recursive: true, force: true })
})

/** Where the sub-path leads; undefined: it was refused, as leading out. */
async function resolve(volume: string, subPath: string): Promise<string | undefined> {
  return volumes.resolveSubPath(volume, subPath, UID).catch((error: unknown) => {
    // A link was exchanged between being opened and being read: the walk fails as a whole.
    if (isCode(error, 'invalid') || (error as NodeJS.ErrnoException).code === 'EINVAL') return undefined
    throw error
  })
}

describe.each(['emptyDir', 'hostPath'])('a sub-path of a volume of type %s', (type) => {
  const volume = (): string => (type === 'emptyDir' ? emptyDir : hostPath)

  it(
    'is never pinned outside, whatever is exchanged meanwhile; a path that is only looked at is',
    TIMEOUT,
    async () => {
      const seen = new Set<string>()
      let naive = 0
      for (let i = 0; i < RESOLVES; i++) {
        const path = await resolve(volume(), i % 2 ? 'sub/deep' : 'sub')
        if (path !== undefined) seen.add(readFileSync(join(path, i % 2 ? 'who' : 'deep/who'), 'utf8'))
        if (readFileSync(join(realpathSync(volume()), 'sub/deep/who'), 'utf8') === 'outside') naive++
      }
      expect([...seen]).toEqual(['inside'])
      expect(naive).toBeGreaterThan(0)
    },
  )

  it('is never mounted outside in a container that starts', TIMEOUT, async () => {
    const sandbox = await host.sandbox(UID)
    const said: string[] = []
    for (let i = 0; said.length < STARTS; i++) {
      // It is refused for as long as the exchanger has left the link there, and waits for its turn.
      const path = await eventually(() => resolve(volume(), 'sub/deep'), { timeoutMs: 30_000, intervalMs: 2 })
      const id = `drvt-${UID}-${type.toLowerCase()}-${i}`
      await host.driver.startContainer(
        host.request(sandbox, { id, mounts: [{ hostPath: path, containerPath: '/m', readOnly: false }] }),
        new AbortController().signal,
      )
      const { output } = await host.driver.execSync(id, ['/bin/cat', '/m/who'], 10_000)
      said.push(output.trim())
      await host.driver.removeContainer(id)
    }
    expect(said).toEqual(Array.from({ length: STARTS }, () => 'inside'))
    expect(readFileSync(join(outside, 'deep/who'), 'utf8')).toBe('outside')
  })
})
