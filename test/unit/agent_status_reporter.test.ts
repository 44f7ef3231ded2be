/** What the server is told of pods, and when. */
import { beforeEach, describe, expect, it } from 'vitest'
import { StatusReporter } from '../../src/agent/status_reporter.ts'
import type { PodStatus } from '../../src/api/pod.ts'
import type { AgentMessage } from '../../src/rpc/messages.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'

const pod = (name: string) => ({ namespace: 'default', name, uid: `uid-${name}` })
const running: PodStatus = { phase: 'Running' }
const creating = (waiting: object = { reason: 'ContainerCreating' }, more: object = {}): PodStatus => ({
  phase: 'Pending',
  containerStatuses: [
    { name: 'main', image: '', imageID: '', ready: false, restartCount: 0, state: { waiting }, ...more },
  ],
})
const pulling = creating({ reason: 'ErrImagePull', message: 'no such image' })
const pending = (message = ''): PodStatus => ({ ...pulling, message })

let clock: ManualClock
let connected: boolean
let said: string[][]
let reporter: StatusReporter

beforeEach(() => {
  clock = createManualClock()
  connected = true
  said = []
  reporter = new StatusReporter(clock, (message: AgentMessage) => {
    if (connected && message.type === 'podStatuses') {
      said.push(
        message.reports.map(({ name, statusJson, removed }) => {
          const { phase, message: text } = JSON.parse(Buffer.from(statusJson).toString('utf8') || '{}') as PodStatus
          return `${name} ${removed ? 'removed' : `${phase}${text ? ` ${text}` : ''}`}`
        }),
      )
    }
    return connected
  })
})

describe('a change', () => {
  it('of what runs is said at once, all of a tick together', async () => {
    reporter.report(pod('a'), running)
    reporter.report(pod('b'), { phase: 'Failed' })
    reporter.removed(pod('c'))
    await clock.advance(0)
    expect(said).toEqual([['a Running', 'b Failed', 'c removed']])
  })

  it('on the way up waits, and is not said when the pod runs before', async () => {
    reporter.report(pod('a'), pending('one'))
    await clock.advance(20)
    reporter.report(pod('a'), pending('two'))
    await clock.advance(20)
    reporter.report(pod('a'), running)
    await clock.advance(1000)
    expect(said).toEqual([['a Running']])
  })

  it('on the way up is said with its last word when it takes longer', async () => {
    reporter.report(pod('a'), pending('one'))
    reporter.report(pod('a'), pending('two'))
    await clock.advance(49)
    expect(said).toEqual([])
    await clock.advance(1)
    expect(said).toEqual([['a Pending two']])
    reporter.report(pod('a'), pending('three'))
    await clock.advance(50)
    expect(said).toEqual([['a Pending two'], ['a Pending three']])
  })

  it('that is urgent does not take others along before their time', async () => {
    reporter.report(pod('a'), pending())
    reporter.report(pod('b'), running)
    await clock.advance(10)
    expect(said).toEqual([['b Running']])
    await clock.advance(40)
    expect(said).toEqual([['b Running'], ['a Pending']])
  })

  it('that says no more than that containers are being made waits longer', async () => {
    reporter.report(pod('a'), creating())
    reporter.report(pod('b'), creating({ reason: 'PodInitializing' }))
    await clock.advance(600)
    reporter.report(pod('c'), creating())
    await clock.advance(399)
    expect(said).toEqual([])
    await clock.advance(1)
    expect(said).toEqual([['a Pending', 'b Pending']])
    reporter.report(pod('c'), running)
    await clock.advance(1000)
    expect(said).toEqual([['a Pending', 'b Pending'], ['c Running']])
  })

  it.each([
    ['why they are not', pulling],
    ['what hinders them', creating({ reason: 'ContainerCreating', message: 'no volume' })],
    ['that they ran before', creating(undefined, { lastState: { terminated: { exitCode: 1 } } })],
    ['that one runs', creating(undefined, { state: { running: {} } })],
  ])('that says %s does not', async (_what, status) => {
    reporter.report(pod('a'), creating())
    await clock.advance(10)
    reporter.report(pod('a'), status)
    await clock.advance(49)
    expect(said).toEqual([])
    await clock.advance(1)
    expect(said).toEqual([['a Pending']])
    await clock.advance(1000)
    expect(said).toHaveLength(1)
  })

  it('that may wait does not hold up one that may not', async () => {
    reporter.report(pod('a'), pulling)
    reporter.report(pod('a'), creating())
    await clock.advance(50)
    expect(said).toEqual([['a Pending']])
  })

  it('that changes nothing is not said, nor anything after the removal', async () => {
    reporter.report(pod('a'), running)
    await clock.advance(100)
    reporter.report(pod('a'), running)
    reporter.removed(pod('a'))
    await clock.advance(100)
    reporter.report(pod('a'), running)
    reporter.removed(pod('a'))
    await clock.advance(100)
    expect(said).toEqual([['a Running'], ['a removed']])
  })
})

describe('without a session', () => {
  it('everything waits for the next, which hears all of it, but not of what is forgotten', async () => {
    connected = false
    reporter.report(pod('a'), running)
    reporter.report(pod('b'), pending())
    reporter.report(pod('c'), running)
    await clock.advance(100)
    reporter.forget('uid-c')
    connected = true
    reporter.resendAll()
    await clock.advance(0)
    expect(said).toEqual([['a Running', 'b Pending']])
  })
})
