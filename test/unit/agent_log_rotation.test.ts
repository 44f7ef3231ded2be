import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rotatedNumbers } from '../../src/agent/logs/log_files.ts'
import { type ContainerLog, planRotation } from '../../src/agent/logs/rotation.ts'

const BOUNDS = { maxFileBytes: 100, maxFiles: 3, maxNodeBytes: 1_000 }

function log(id: string, currentBytes: number, rotatedBytes: readonly number[], mtimeMs = 0): ContainerLog {
  const path = `/logs/${id}/0.log`
  const rotated = rotatedBytes.map((sizeBytes, i) => ({ path: `${path}.${i + 1}`, sizeBytes, mtimeMs: mtimeMs - i }))
  return { id, current: { path, sizeBytes: currentBytes, mtimeMs }, isUnopened: false, rotated }
}

describe('rotation', () => {
  it('begins a file after one that is full, and keeps as many as may be', () => {
    expect(planRotation([log('a', 100, [100, 100])], BOUNDS)).toEqual([])
    expect(planRotation([log('a', 101, [100, 100])], BOUNDS)).toMatchObject([
      { type: 'remove', path: '/logs/a/0.log.2' },
      { type: 'rotate', log: { id: 'a' } },
    ])
    expect(planRotation([log('a', 101, [])], { ...BOUNDS, maxFiles: 1 })).toMatchObject([{ type: 'rotate' }])
  })

  it("keeps the node's bound by the oldest of all", () => {
    const logs = [log('old', 1, [400, 400], 1_000), log('new', 1, [400, 300], 2_000)]
    expect(planRotation(logs, BOUNDS)).toEqual([
      { type: 'remove', path: '/logs/old/0.log.2' },
      { type: 'remove', path: '/logs/old/0.log.1' },
    ])
  })

  it('never leaves more than the bounds, and never touches what is being written', () => {
    const anyLog = fc.tuple(fc.nat(200), fc.array(fc.nat(500), { maxLength: 8 }), fc.nat(9))
    fc.assert(
      fc.property(fc.array(anyLog, { maxLength: 6 }), (all) => {
        const logs = all.map(([current, rotated, mtimeMs], i) => log(`c${i}`, current, rotated, mtimeMs))
        const steps = planRotation(logs, BOUNDS)
        const removed = new Set(steps.flatMap((step) => (step.type === 'remove' ? step.path : [])))
        const kept = logs.flatMap(({ rotated }) => rotated.filter(({ path }) => !removed.has(path)))
        expect(kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBeLessThanOrEqual(BOUNDS.maxNodeBytes)
        for (const { id, current, rotated } of logs) {
          expect(removed.has(current.path)).toBe(false)
          const rotates = steps.some((step) => step.type === 'rotate' && step.log.id === id)
          expect(rotates).toBe(current.sizeBytes > BOUNDS.maxFileBytes)
          const left = rotated.filter(({ path }) => !removed.has(path)).length + (rotates ? 1 : 0)
          expect(left).toBeLessThanOrEqual(BOUNDS.maxFiles - 1)
        }
      }),
    )
  })

  it('knows its own files by their names', () => {
    const names = ['0.log', '0.log.2', '0.log.10', '0.log.x', '1.log.1', '0.log.0', '0.log.1', '0.log.poststart']
    expect(rotatedNumbers('0.log', names)).toEqual([1, 2, 10])
  })
})
