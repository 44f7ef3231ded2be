/** What a node says of peers that it cannot reach. */
import { expect, test } from 'vitest'
import { NodeConditionReporter, peersCondition } from '../../src/agent/node_conditions.ts'
import { systemClock } from '../../src/base/clock.ts'
import { withReport } from '../../src/dispatch/node_object.ts'
import type { AgentMessage } from '../../src/rpc/messages.ts'

const now = '2026-01-01T00:00:00Z'

test('many peers are named by the first three', () => {
  expect(peersCondition([], now)).toMatchObject({ status: 'False', reason: 'PeersReachable' })
  expect(peersCondition(['a', 'b', 'c'], now)).toMatchObject({ status: 'True', message: 'a; b; c' })
  expect(peersCondition(['a', 'b', 'c', 'd', 'e'], now).message).toBe('a; b; c; and 2 more')
})

test('a change is said once, and again in Hello', () => {
  const sent: AgentMessage[] = []
  const reporter = new NodeConditionReporter(systemClock, (message) => sent.push(message) > 0)
  reporter.setPeerProblems([])
  reporter.setPeerProblems(['x'])
  reporter.setPeerProblems(['x'])
  expect(sent).toHaveLength(1)
  expect(reporter.list()).toContainEqual(
    expect.objectContaining({ type: 'drover.dev/PeersUnreachable', status: 'True', reason: 'PeersOffSubnet' }),
  )
})

test('a shortage is a condition of its own', () => {
  const sent: AgentMessage[] = []
  const reporter = new NodeConditionReporter(systemClock, (message) => sent.push(message) > 0)
  const short = (): string[] => reporter.list().flatMap(({ type, status }) => (status === 'True' ? type : []))
  expect(short()).toEqual([])
  reporter.setShortages(['memory', 'pids'])
  expect(short()).toEqual(['MemoryPressure', 'PIDPressure'])
  reporter.setShortages(['disk'])
  expect(short()).toEqual(['DiskPressure'])
  expect(sent).toHaveLength(2)
})

test('a report of one condition leaves the others as they were told', () => {
  const calm = { type: 'MemoryPressure', status: 'False' } as const
  const old = { type: 'X', status: 'False' } as const
  const fresh = { type: 'X', status: 'True' } as const
  const known = { conditions: [calm, old], capacity: { cpu: '2' } }
  expect(withReport(known, { conditions: [fresh] })).toEqual({ ...known, conditions: [calm, fresh] })
  expect(withReport(known, { capacity: { cpu: '3' } })).toEqual({ ...known, capacity: { cpu: '3' } })
})
