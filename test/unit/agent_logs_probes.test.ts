import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ProbeFact } from '../../src/agent/pod/facts.ts'
import { Prober } from '../../src/agent/pod/prober.ts'
import { afterResult, nextTry, type ProbeStates, probeFact, UNPROBED } from '../../src/agent/pod/probes.ts'
import { qosClass } from '../../src/agent/pod/status.ts'
import type { ContainerState } from '../../src/agent/runtime/runtime.ts'
import { chooseAttempt } from '../../src/agent/streams/choose_attempt.ts'
import { LogLines, type LogOutput, type LogSelection, tailStart } from '../../src/agent/streams/log_lines.ts'
import { exitStatus } from '../../src/agent/streams/remote_command.ts'
import type { Container, Pod } from '../../src/api/pod.ts'
import { sleep } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { container, exited, podOf } from '../support/pod_facts.ts'

const ALL: LogSelection = { timestamps: false, sinceTime: undefined, limitBytes: undefined }
const time = (second: number) => `2026-01-01T00:00:0${second}.123456789Z`
const LOG = Buffer.from(
  [
    `${time(1)} stdout F one`,
    `${time(2)} stderr F bad`,
    `${time(3)} stdout P par`,
    `${time(4)} stdout F tial`,
    '',
  ].join('\n'),
)

const text = (outputs: LogOutput[]): string => outputs.map(({ data }) => data.toString()).join('')

describe('log lines', () => {
  test('streams apart, partial lines joined', () => {
    const outputs = new LogLines(ALL).push(LOG)
    expect(outputs.map(({ stderr, data }) => [stderr, data.toString()])).toEqual([
      [false, 'one\n'],
      [true, 'bad\n'],
      [false, 'partial\n'],
    ])
  })

  test('timestamps stand once before each line', () => {
    const lines = new LogLines({ ...ALL, timestamps: true })
    expect(text(lines.push(LOG))).toBe(`${time(1)} one\n${time(2)} bad\n${time(3)} partial\n`)
  })

  test('since and limit', () => {
    expect(text(new LogLines({ ...ALL, sinceTime: '2026-01-01T00:00:03Z' }).push(LOG))).toBe('partial\n')
    const limited = new LogLines({ ...ALL, limitBytes: 6 })
    expect(text(limited.push(LOG))).toBe('one\nba')
    expect(limited.full).toBe(true)
  })

  test('cut anywhere, the text is the same', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: LOG.length })), (cuts) => {
        const lines = new LogLines(ALL)
        const at = [0, ...cuts.sort((a, b) => a - b), LOG.length]
        const joined = at
          .map((start, index) => text(lines.push(LOG.subarray(start, at[index + 1] ?? LOG.length))))
          .join('')
        return joined === 'one\nbad\npartial\n'
      }),
    )
  })

  test('tail', async () => {
    const read = async (position: number, length: number) => LOG.subarray(position, position + length)
    const tail = async (lines: number) =>
      LOG.subarray((await tailStart(LOG.length, lines, read)).position)
        .toString()
        .split('\n').length - 1
    expect([await tail(0), await tail(1), await tail(3), await tail(4), await tail(9)]).toEqual([0, 1, 3, 4, 4])
    const found = async (lines: number) => (await tailStart(LOG.length, lines, read)).lines
    expect([await found(0), await found(1), await found(4), await found(9)]).toEqual([0, 1, 4, 4])
    expect(await tailStart(0, 3, read)).toEqual({ position: 0, lines: 0 })
  })
})

describe('the run of a container that a request for its log means', () => {
  const crashed = exited('app', 0, 1)
  const again = container('app', 1)
  const failedAgain = exited('app', 1, 1)
  const done = exited('app', 1, 0)
  const made = container('app', 1, { phase: 'created' })
  const onFailure = podOf({ restartPolicy: 'OnFailure' })
  const always = podOf()
  const evicted: Pod = { ...always, status: { phase: 'Failed' } }
  const deleted: Pod = { ...always, metadata: { ...always.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } }
  const sidecar = podOf({ initContainers: [{ name: 'app', restartPolicy: 'Always' }] })
  const finished: Pod = { ...sidecar, status: { phase: 'Succeeded' } }
  const init = podOf({ initContainers: [{ name: 'app' }] })

  const NONE = undefined
  test.each<[string, Pod, ContainerState[], string | undefined, string | undefined]>([
    ['nothing has begun', always, [], NONE, NONE],
    ['the first is made', always, [container('app', 0, { phase: 'created' })], NONE, NONE],
    ['the first runs', always, [container('app', 0)], 'app-0', NONE],
    ['the second runs', always, [again, crashed], 'app-1', 'app-0'],
    ['the first waits to be started again', always, [crashed], 'app-0', 'app-0'],
    ['the second is made', always, [made, crashed], 'app-0', 'app-0'],
    ['a crash loop', always, [failedAgain, crashed], 'app-1', 'app-1'],
    ['a job that crashed once and then succeeded', onFailure, [done, crashed], 'app-1', 'app-0'],
    ['a job that succeeded at once', onFailure, [exited('app', 0, 0)], 'app-0', NONE],
    ['a job that waits for its next try', onFailure, [failedAgain, crashed], 'app-1', 'app-1'],
    ['one that is never started again', podOf({ restartPolicy: 'Never' }), [crashed], 'app-0', NONE],
    ['an evicted pod', evicted, [failedAgain, crashed], 'app-1', 'app-0'],
    ['a pod that is deleted', deleted, [failedAgain, crashed], 'app-1', 'app-0'],
    ['an init container that succeeded at last', init, [done, crashed], 'app-1', 'app-0'],
    ['an init container that waits for its next try', init, [crashed], 'app-0', 'app-0'],
    ['a sidecar that ended well waits too', sidecar, [done, crashed], 'app-1', 'app-1'],
    ['a sidecar of a pod that is over', finished, [done, crashed], 'app-1', 'app-0'],
  ])('%s', (_name, pod, attempts, current, previous) => {
    const chosen = (which: boolean): string | undefined => {
      try {
        return chooseAttempt({ pod, container: 'app', attempts }, which).id
      } catch (error) {
        expect(error).toMatchObject({ code: 'invalid' })
        return undefined
      }
    }
    expect([chosen(false), chosen(true)]).toEqual([current, previous])
  })
})

describe('probes', () => {
  const probe = { periodSeconds: 10, failureThreshold: 3, successThreshold: 1 }
  const ok = { ok: true, message: '' }
  const bad = { ok: false, message: 'no' }

  test('thresholds', () => {
    let state = UNPROBED
    for (const expected of [undefined, undefined, false]) {
      state = afterResult(state, probe, bad, true)
      expect(state.passing).toBe(expected)
    }
    expect(afterResult(state, probe, ok, true).passing).toBe(true)
    expect(afterResult(state, { ...probe, successThreshold: 2 }, ok, true).passing).toBe(false)
    expect(afterResult(UNPROBED, probe, bad, false)).toMatchObject({ failures: 0, passing: undefined })
  })

  /** When tries begin and whether they count, for a minute of a program that fails each after so long. */
  function triesOf(takesMs: number, first: { counts: boolean }): { atMs: number; counts: boolean }[] {
    const made = [{ atMs: 0, ...first }]
    let periodBeganMs = 0
    for (let tries = 0; ; tries++) {
      const { atMs: beganMs, counts } = made[tries] ?? { atMs: 0, counts: false }
      if (beganMs >= 60_000) return made
      if (counts) periodBeganMs = beganMs
      made.push(nextTry(probe, UNPROBED, { beganMs, periodBeganMs, tries }, beganMs + takesMs))
    }
  }
  const counted = (tries: { atMs: number; counts: boolean }[]): number[] =>
    tries.filter(({ counts }) => counts).map(({ atMs }) => atMs)

  test('until it passes it is tried sooner, and each period counts once', () => {
    const tries = triesOf(0, { counts: true })
    expect(counted(tries)).toEqual([0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000])
    expect(tries.slice(0, 9).map(({ atMs }) => atMs)).toEqual([0, 100, 300, 700, 1500, 3100, 6300, 10_000, 20_000])
    expect(counted(triesOf(0, { counts: false }))).toEqual([10_000, 20_000, 30_000, 40_000, 50_000, 60_000])
  })

  test('tries that take their whole time take none of the next', () => {
    expect(counted(triesOf(1_000, { counts: true })).slice(0, 4)).toEqual([0, 10_000, 20_000, 30_000])
    expect(counted(triesOf(10_000, { counts: true })).slice(0, 4)).toEqual([0, 10_000, 20_000, 30_000])
    // Longer than the period: one after the other.
    expect(counted(triesOf(15_000, { counts: true })).slice(0, 4)).toEqual([0, 15_000, 30_000, 45_000])
  })

  test('once it has passed it is tried a period after the last try began', () => {
    const passing = { ...UNPROBED, passing: true }
    const tried = { beganMs: 5_000, periodBeganMs: 0, tries: 3 }
    expect(nextTry(probe, passing, tried, 5_000)).toEqual({ atMs: 15_000, counts: true })
    expect(nextTry(probe, passing, tried, 12_000)).toEqual({ atMs: 15_000, counts: true })
    expect(nextTry(probe, passing, tried, 17_000)).toEqual({ atMs: 17_000, counts: true })
    expect(nextTry(probe, { ...UNPROBED, successes: 1 }, tried, 5_000)).toEqual({ atMs: 15_000, counts: true })
  })

  test.each(['livenessProbe', 'startupProbe'] as const)(
    'a program that never answers fails its %s in time',
    async (kind) => {
      const clock = createManualClock()
      const failedMs: number[] = []
      const hangs = async (_id: string, _command: readonly string[], timeoutMs: number): Promise<never> => {
        await sleep(clock, timeoutMs)
        throw new DroverError('timeout', 'no answer')
      }
      const container: Container = { name: 'c', [kind]: { ...probe, timeoutSeconds: 10, exec: { command: ['/hang'] } } }
      const prober = new Prober({
        clock,
        target: { container, containerId: 'c-0', podIP: '', runtime: { execSync: hangs }, clock },
        adopted: false,
        startedAtMs: clock.now(),
        onChange: () => undefined,
        onFailure: () => failedMs.push(clock.monotonicMs()),
      })
      await clock.advance(30_000)
      prober.stop()
      expect(failedMs).toEqual([10_000, 20_000, 30_000])
      expect(prober.fact.unhealthy).toBeDefined()
    },
  )

  const states = (change: Partial<ProbeStates> = {}): ProbeStates => ({
    startup: UNPROBED,
    readiness: UNPROBED,
    liveness: UNPROBED,
    ...change,
  })
  const passed = { ...UNPROBED, passing: true }
  const failed = { ...UNPROBED, passing: false, failures: 3 }
  const plain: Container = { name: 'c' }
  const CASES: [string, Container, ProbeStates, boolean, Partial<ProbeFact>][] = [
    ['no probes: ready', plain, states(), false, { started: true, ready: true }],
    ['readiness not yet', { ...plain, readinessProbe: {} }, states(), false, { started: true, ready: false }],
    ['readiness, adopted', { ...plain, readinessProbe: {} }, states(), true, { started: true, ready: undefined }],
    ['readiness passed', { ...plain, readinessProbe: {} }, states({ readiness: passed }), false, { ready: true }],
    ['startup holds readiness back', { ...plain, startupProbe: {} }, states(), false, { started: false, ready: false }],
    [
      'startup passed',
      { ...plain, startupProbe: {} },
      states({ startup: passed }),
      false,
      { started: true, ready: true },
    ],
  ]
  test.each(CASES)('%s', (_name, container, state, adopted, fact) => {
    expect(probeFact(container, state, adopted)).toMatchObject(fact)
  })

  test('liveness and startup failures ask for a restart', () => {
    expect(probeFact(plain, states({ liveness: failed }), false).unhealthy).toContain('liveness')
    expect(probeFact({ ...plain, startupProbe: {} }, states({ startup: failed }), false).unhealthy).toContain('startup')
  })
})

test('quality of service', () => {
  const of = (...resources: Container['resources'][]) =>
    qosClass({
      containers: resources.map((each, index) => ({ name: `c${index}`, ...(each ? { resources: each } : {}) })),
    })
  const limits = { cpu: '1', memory: '1Gi' }
  expect(of(undefined)).toBe('BestEffort')
  expect(of({ limits })).toBe('Guaranteed')
  expect(of({ limits, requests: { cpu: '1000m', memory: '1Gi' } })).toBe('Guaranteed')
  expect(of({ limits }, undefined)).toBe('Burstable')
  expect(of({ requests: { cpu: '1' } })).toBe('Burstable')
})

test('the status that ends a command', () => {
  expect(exitStatus(0)).toMatchObject({ status: 'Success' })
  expect(exitStatus(3)).toMatchObject({ reason: 'NonZeroExitCode', details: { causes: [{ message: '3' }] } })
})
