/** What the server is told of pods, and when. */
import { beforeEach, describe, expect, it } from 'vitest'
import { StatusReporter } from '../../src/agent/status_reporter.ts'
import type { PodStatus } from '../../src/api/pod.ts'
import type { AgentMessage } from '../../src/rpc/messages.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'

const pod = (name: string) => ({ namespace: 'default', name, uid: `uid-${name}` })
const pending = (message = ''): PodStatus => ({ phase: 'Pending', message })
const running: PodStatus = { phase: 'Running' }

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
