import { expect, it } from 'vitest'
import { refusal } from '../../src/agent/agent_lock.ts'
import { nextStep } from '../../src/base/file_lock.ts'

it.each([
  ['whose holder lives is refused at once', true, 0, 0, 'refuse'],
  ['whose holder lives is waited for where there is time, without haste', true, 59_999, 60_000, 200],
  ['whose holder lives is not waited for without end', true, 60_000, 60_000, 'refuse'],
  ['whose holder is dead is waited for: its descriptors are just closing', false, 0, 0, 20],
  ['whose holder cannot be seen is not waited for without end', false, 5_000, 0, 'refuse'],
  ['whose holder cannot be seen may be one that has just come', false, 5_000, 60_000, 20],
] as const)('a lock %s', (_, lives, waitedMs, patienceMs, step) => {
  expect(nextStep(lives, waitedMs, patienceMs)).toBe(step)
})

it('says who is there, and what to do', () => {
  const heldBy = { pid: 7, startTicks: '1', role: 'agent', since: '2026-01-01T00:00:00.000Z' }
  expect(refusal('the data directory /d', 'agent', heldBy)).toBe(
    'another agent (process 7, since 2026-01-01T00:00:00.000Z) works with the data directory /d, and two would fight over ' +
      'the same containers: end that one first (systemctl stop drover-agent, or kill 7), ' +
      'or give this one a --data-dir, a --run-dir and a --cgroup-parent of its own',
  )
  expect(refusal('the cgroup /c', 'reset', heldBy)).toBe(
    'an agent (process 7, since 2026-01-01T00:00:00.000Z) works with the cgroup /c and would make anew what this removes: ' +
      'end that one first (systemctl stop drover-agent, or kill 7)',
  )
  expect(refusal('the cgroup /c', 'agent', { ...heldBy, role: 'reset' })).toContain(
    ': wait until it has ended, or give',
  )
  expect(refusal('the cgroup /c', 'agent', undefined)).toMatch(/^another agent works with .*drover-agent\), or give/)
})
