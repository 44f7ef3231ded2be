/** What containers and nodes use: the kernel's texts as they are, and rates from looks of one clock. */
import { describe, expect, it } from 'vitest'
import { Desired } from '../../src/agent/desired.ts'
import { parsePeerTraffic } from '../../src/agent/network/traffic.ts'
import { parseDiskBytes, parseFlat, parsePressure } from '../../src/agent/runtime/usage.ts'
import { SharedList } from '../../src/agent/shared_list.ts'
import { DiskWalker, parseSizes, type Walk } from '../../src/agent/usage/disk_walk.ts'
import { podUses } from '../../src/agent/usage/pod_uses.ts'
import { parseNode, UsageSampler } from '../../src/agent/usage/sampler.ts'
import { createLogger, silentLogger } from '../../src/base/log.ts'
import { jsonBytes } from '../../src/rpc/messages.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { createManualClock } from '../support/manual_clock.ts'

describe("the kernel's texts", () => {
  it('flat files', () => {
    expect([...parseFlat('anon 4096\nfile 12\nsock max\n\n')]).toEqual([
      ['anon', 4096],
      ['file', 12],
    ])
  })

  it('pressure, in seconds', () => {
    const text =
      'some avg10=0.00 avg60=1.50 avg300=0.20 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n'
    expect(parsePressure(text)).toEqual({ waitingSeconds: 2.5, stalledSeconds: 0.5 })
    expect(parsePressure('')).toEqual({ waitingSeconds: 0, stalledSeconds: 0 })
  })

  it('disks, over all devices', () => {
    const v1 = '8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\n8:0 Total 30\n253:1 Read 1\n253:1 Write 2\nTotal 33\n'
    expect(parseDiskBytes(v1, 1)).toEqual({ readBytes: 11, writtenBytes: 22 })
    const v2 = '8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:1 rbytes=1 wbytes=2 rios=1 wios=1\n'
    expect(parseDiskBytes(v2, 2)).toEqual({ readBytes: 11, writtenBytes: 22 })
  })

  it('interfaces, as the other end sees them', () => {
    const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
dv0123456789ab: 7 6 5 4 0 0 0 0 17 16 15 14 0 0 0 0
`
    expect(parsePeerTraffic(text).get('dv0123456789ab')).toEqual({
      sent: { bytes: 7, packets: 6, errors: 5, dropped: 4 },
      received: { bytes: 17, packets: 16, errors: 15, dropped: 14 },
    })
  })

  it('the whole node', () => {
    const stat = 'cpu  100 10 50 9999 77 5 5 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n'
    const meminfo = 'MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     400 kB\n'
    expect(parseNode(stat, meminfo)).toEqual({ cpuSeconds: 1.7, memoryWorkingSetBytes: 600 * 1024 })
  })

  it('sizes, of paths with spaces too', () => {
    expect([...parseSizes('12\t/a b\n4096\t/c\ndu: cannot access x\n')]).toEqual([
      ['/a b', 12],
      ['/c', 4096],
    ])
  })
})

describe('a walk over the disk that takes too long', () => {
  /** A disk where `/slow` never comes to its end. */
  function setUp(sizes: Record<string, number>) {
    const asked: string[][] = []
    const warned: unknown[] = []
    const log = createLogger('test', 'warn', { write: (line) => warned.push(JSON.parse(line)) })
    const state = { stuck: true }
    const walk = async (paths: readonly string[]): Promise<Walk> => {
      asked.push([...paths])
      const end = state.stuck ? paths.indexOf('/slow') : -1
      const seen = end < 0 ? paths : paths.slice(0, end)
      const found = seen.flatMap((path): [string, number][] => (path in sizes ? [[path, sizes[path] ?? 0]] : []))
      return { sizes: new Map(found), ...(end < 0 ? {} : { cutOffAt: '/slow' }) }
    }
    return { walker: new DiskWalker({ log, walk }), asked, warned, state }
  }
  const paths = ['/a', '/slow', '/b']

  it('counts what was measured by then, and comes to the rest the next time', async () => {
    const { walker, asked, warned } = setUp({ '/a': 1, '/b': 2 })
    const first = await walker.measure(paths)
    expect([[...first.sizes], [...first.tooBig]]).toEqual([[['/a', 1]], ['/slow']])
    for (let walks = 0; walks < 4; walks++) {
      const { sizes, tooBig } = await walker.measure(paths)
      expect(sizes).toEqual(new Map(Object.entries({ '/a': 1, '/b': 2 })))
      expect([...tooBig]).toEqual(['/slow'])
    }
    expect(asked[1]).toEqual(['/b', '/a', '/slow'])
    expect(warned).toMatchObject([{ path: '/slow', unmeasured: 2 }])
  })

  it('knows sizes that it has seen before, until they are gone or asked for no more', async () => {
    const sizes: Record<string, number> = { '/a': 1, '/slow': 9, '/b': 2 }
    const { walker, state, warned } = setUp(sizes)
    state.stuck = false
    expect((await walker.measure(paths)).sizes.get('/slow')).toBe(9)
    state.stuck = true
    delete sizes['/a']
    const { sizes: now, tooBig } = await walker.measure(paths)
    expect([now.get('/slow'), now.has('/a'), tooBig.size]).toEqual([9, false, 0])
    await walker.measure(['/b'])
    expect([...(await walker.measure(paths)).tooBig]).toEqual(['/slow'])
    // Once for each time that walks began to take too long.
    expect(warned).toHaveLength(2)
  })
})

it('a pod whose volume is too big to be measured in time uses more of the disk than any other', async () => {
  const host = new FakeHost()
  const drivers = fakeDrivers(host)
  drivers.volumes.emptyDirs = ({ metadata: { uid } }) => new Map([['cache', `/volumes/${uid}`]])
  drivers.runtime.usage = () => undefined
  const desired = new Desired()
  const pod = (name: string) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid: name },
    spec: { containers: [{ name: 'app', image: 'app:1' }] },
  })
  desired.apply({
    type: 'changes',
    table: 'assignments',
    complete: true,
    baseSequence: 0,
    sequence: 1,
    changes: ['small', 'big'].map((name) => ({ key: `pod/default/${name}`, json: jsonBytes(pod(name)) })),
    last: true,
  })
  const containers = new SharedList(async () =>
    ['small', 'big'].map((uid) => ({
      id: uid,
      podUid: uid,
      name: 'app',
      attempt: 0,
      phase: 'running' as const,
      annotations: {},
    })),
  )
  const walk = async (): Promise<Walk> => ({ sizes: new Map([['/volumes/small', 5]]), cutOffAt: '/volumes/big' })
  const walker = new DiskWalker({ log: silentLogger, walk })
  const uses = await podUses({ containers, desired, drivers }, 'disk', { walker })
  expect(uses.map(({ uid, used }) => [uid, used.disk])).toEqual([
    ['small', 5],
    ['big', Number.POSITIVE_INFINITY],
  ])
})

describe('rates', () => {
  function setUp() {
    const clock = createManualClock()
    const host = new FakeHost()
    host.now = () => clock.now()
    const used = { cpuSeconds: 0 }
    const drivers = fakeDrivers(host)
    drivers.runtime.usage = () => ({ ...used, memoryBytes: 10, memoryWorkingSetBytes: 7 })
    drivers.runtime.cpuSeconds = () => used.cpuSeconds
    const desired = new Desired()
    const metadata = { name: 'p', namespace: 'default', uid: 'u1' }
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [{ name: 'app', image: 'app:1' }] } }
    desired.apply({
      type: 'changes',
      table: 'assignments',
      complete: true,
      baseSequence: 0,
      sequence: 1,
      changes: [{ key: 'pod/default/p', json: jsonBytes(pod) }],
      last: true,
    })
    const state = { id: 'c1', podUid: 'u1', name: 'app', attempt: 0, phase: 'running' as const, annotations: {} }
    const containers = new SharedList(async () => [{ ...state, startedAtMs: clock.now() - clock.monotonicMs() }])
    const sampler = new UsageSampler({ clock, drivers, desired, containers, log: silentLogger })
    const stop = new AbortController()
    const running = sampler.run(stop.signal)
    return {
      clock,
      used,
      drivers,
      cores: async () => ((await sampler.read()).pods[0]?.containers[0]?.cpuNanoCores ?? -1) / 1e9,
      read: () => sampler.read(),
      async end() {
        stop.abort()
        await running
      },
    }
  }

  it('are over the last ten seconds or a little more, whatever came before', async () => {
    const { clock, used, cores, read, end } = setUp()
    // A core is busy for half a minute, then idle.
    for (let step = 0; step < 300; step++) {
      await clock.advance(100)
      used.cpuSeconds += 0.1
      if (step > 100) expect(await cores()).toBeCloseTo(1, 1)
    }
    await clock.advance(25_000)
    expect(await cores()).toBe(0)
    expect((await read()).pods).toMatchObject([
      { namespace: 'default', name: 'p', containers: [{ name: 'app', memoryWorkingSetBytes: 7 }] },
    ])
    await end()
  })

  it('come again after a look that failed', async () => {
    const { clock, used, cores, drivers, end } = setUp()
    const { cpuSeconds } = drivers.runtime
    drivers.runtime.cpuSeconds = () => {
      throw new Error('the kernel does not say')
    }
    await clock.advance(25_000)
    drivers.runtime.cpuSeconds = cpuSeconds
    for (let step = 0; step < 300; step++) {
      await clock.advance(100)
      used.cpuSeconds += 0.05
    }
    expect(await cores()).toBeCloseTo(0.5, 1)
    await end()
  })

  it('of a container that has just begun are over its life', async () => {
    const { clock, used, cores, end } = setUp()
    used.cpuSeconds = 0.5
    await clock.advance(1_000)
    expect(await cores()).toBeCloseTo(0.5, 3)
    await end()
  })
})
