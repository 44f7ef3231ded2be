/**
 * What a container has used and whether the kernel killed in it, read from cgroups of either version and of both at once:
 * trees of files as kernels write them, so that hosts of the other kinds are not left to chance.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Cgroups, type Hierarchy, oomKills } from '../../src/agent/runtime/cgroups.ts'
import { cgroupDetails, cgroupUsage } from '../../src/agent/runtime/usage.ts'

const PATH = '/drover/c/h/pod/id'
let root: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'drvt-usage-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function tree(mount: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const path = join(root, mount, PATH, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
}

const PRESSURE = {
  'cpu.pressure': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=3000000\nfull avg10=0.00 total=1000000\n',
  'memory.pressure': 'some avg10=0.00 total=0\nfull avg10=0.00 total=0\n',
  'io.pressure': 'some avg10=0.00 total=500000\nfull avg10=0.00 total=250000\n',
}
const PRESSED = {
  cpu: { waitingSeconds: 3, stalledSeconds: 1 },
  memory: { waitingSeconds: 0, stalledSeconds: 0 },
  io: { waitingSeconds: 0.5, stalledSeconds: 0.25 },
}

const ALL = {
  cpuSeconds: 2.5,
  memoryBytes: 9_000_000,
  memoryWorkingSetBytes: 8_000_000,
  memoryRssBytes: 5_000_000,
  memoryCacheBytes: 3_000_000,
  processes: 4,
  throttling: { periods: 100, throttledPeriods: 40, throttledSeconds: 1.5 },
  disk: { readBytes: 4_096, writtenBytes: 8_192 },
}

function v1(): Hierarchy[] {
  tree('cpu', { 'cpu.stat': 'nr_periods 100\nnr_throttled 40\nthrottled_time 1500000000\n' })
  tree('cpuacct', { 'cpuacct.usage': '2500000000\n' })
  tree('memory', {
    'memory.usage_in_bytes': '9000000\n',
    'memory.stat':
      'cache 1\nrss 1\ninactive_file 1\ntotal_cache 3000000\ntotal_rss 5000000\ntotal_inactive_file 1000000\n',
    'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
  })
  tree('pids', { 'pids.current': '4\n' })
  tree('blkio', { 'blkio.throttle.io_service_bytes': '8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\nTotal 12288\n' })
  return ['cpu', 'cpuacct', 'memory', 'pids', 'blkio'].map((name) => ({
    version: 1,
    mountPoint: join(root, name),
    controllers: [name],
  }))
}

function v2(files: Readonly<Record<string, string>>): Hierarchy {
  tree('unified', files)
  return { version: 2, mountPoint: join(root, 'unified'), controllers: [] }
}

const V2_FILES = {
  'cpu.stat':
    'usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 100\nnr_throttled 40\nthrottled_usec 1500000\n',
  'memory.current': '9000000\n',
  'memory.stat': 'anon 5000000\nfile 3000000\nkernel 1\ninactive_file 1000000\n',
  'memory.events': 'low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n',
  'pids.current': '4\n',
  'io.stat': '8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n',
}

describe('a container', () => {
  const of = (mode: Cgroups['mode'], ...hierarchies: Hierarchy[]): Cgroups => ({
    mode,
    hierarchies,
    swapAccounting: true,
  })

  it('of the first version is read from one file system for each controller; of pressure that one tells nothing', () => {
    const cgroups = of('v1', ...v1())
    expect(cgroupDetails(cgroups, PATH)).toEqual(ALL)
    expect(oomKills(cgroups, PATH)).toBe(2)
  })

  it('of the second version is read from one for all', () => {
    const cgroups = of('v2', v2({ ...V2_FILES, ...PRESSURE }))
    expect(cgroupDetails(cgroups, PATH)).toEqual({ ...ALL, pressure: PRESSED })
    expect(oomKills(cgroups, PATH)).toBe(2)
  })

  it('of both at once has its controllers in the first and its pressure in the second', () => {
    const unified = v2({ ...PRESSURE, 'cpu.stat': 'usage_usec 1\n' })
    for (const hierarchies of [
      [...v1(), unified],
      [unified, ...v1()],
    ]) {
      const cgroups = of('hybrid', ...hierarchies)
      expect(cgroupDetails(cgroups, PATH)).toEqual({ ...ALL, pressure: PRESSED })
      expect(oomKills(cgroups, PATH)).toBe(2)
    }
  })

  it('that is gone has used nothing, and what a kernel does not tell is left out', () => {
    const cgroups = of('v2', v2({ 'cpu.stat': 'usage_usec 1000000\n' }))
    expect(cgroupDetails(cgroups, PATH)).toEqual({ cpuSeconds: 1, memoryBytes: 0, memoryWorkingSetBytes: 0 })
    expect(oomKills(cgroups, PATH)).toBeUndefined()
    expect(cgroupUsage(cgroups, '/drover/c/h/pod/other')).toBeUndefined()
  })
})
