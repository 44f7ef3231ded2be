import fc from 'fast-check'
import { expect, it } from 'vitest'
import { adopt, allocate, emptyAllocations, isFull, release } from '../../src/agent/network/addresses.ts'
import { podCapacity } from '../../src/api/pod_capacity.ts'
import { isCode } from '../../src/base/errors.ts'

const CIDR = '10.244.1.0/28'

it("gives the addresses after the bridge's, and the same one again to the same pod", () => {
  const first = allocate(emptyAllocations('10.244.1.0/24'), 'a')
  expect(first.address).toBe('10.244.1.2')
  expect(allocate(first.allocations, 'a')).toEqual(first)
  expect(allocate(first.allocations, 'b').address).toBe('10.244.1.3')
  expect(podCapacity('10.244.1.0/24')).toBe(253)
})

it('reuses the address freed longest ago, and only when no other is left', () => {
  let state = emptyAllocations('10.244.1.0/29')
  for (const uid of ['a', 'b', 'c']) state = allocate(state, uid).allocations
  state = release(release(state, 'b'), 'a')
  const addresses = ['d', 'e', 'f', 'g'].map((uid) => {
    const given = allocate(state, uid)
    state = given.allocations
    return given.address
  })
  expect(addresses).toEqual(['10.244.1.5', '10.244.1.6', '10.244.1.3', '10.244.1.2'])
})

it('says how many fit when all are taken', () => {
  let state = emptyAllocations(CIDR)
  for (let i = 0; i < podCapacity(CIDR); i++) state = allocate(state, `p${i}`).allocations
  const attempt = () => allocate(state, 'one-more')
  expect(isFull(state)).toBe(true)
  expect(isFull(release(state, 'p3'))).toBe(false)
  expect(isFull(emptyAllocations(CIDR))).toBe(false)
  expect(attempt).toThrow(/10\.244\.1\.0\/28 holds 13 and all are in use/)
  try {
    attempt()
  } catch (error) {
    expect(isCode(error, 'unavailable')).toBe(true)
  }
})

it('never gives one address to two pods, whatever comes and goes', () => {
  const step = fc.tuple(fc.constantFrom('take', 'free', 'restart'), fc.integer({ min: 0, max: 15 }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      let state = emptyAllocations(CIDR)
      for (const [verb, index] of steps) {
        const uid = `p${index}`
        const held = Object.keys(state.held).length
        if (verb === 'free') state = release(state, uid)
        else if (verb === 'restart') {
          const interfaces = Object.entries(state.held).map(([podUid, address]) => ({ podUid, address }))
          state = adopt(state, CIDR, interfaces.slice(index % 3))
        } else if (held < podCapacity(CIDR) || state.held[uid] !== undefined) state = allocate(state, uid).allocations
        const addresses = Object.values(state.held)
        expect(new Set(addresses).size).toBe(addresses.length)
        expect(addresses.filter((address) => state.freed.includes(address))).toEqual([])
        for (const address of addresses) expect(address).toMatch(/^10\.244\.1\.([2-9]|1[0-4])$/)
      }
    }),
  )
})

it('believes interfaces rather than the file after a restart', () => {
  const stored = allocate(allocate(emptyAllocations(CIDR), 'gone').allocations, 'moved').allocations
  const state = adopt(stored, CIDR, [{ podUid: 'found', address: '10.244.1.4' }])
  expect(state.held).toEqual({ found: '10.244.1.4' })
  expect(state.freed).toEqual(['10.244.1.2', '10.244.1.3'])
  expect(allocate(state, 'new').address).toBe('10.244.1.5')
  const renumbered = adopt(state, '10.244.7.0/24', [{ podUid: 'found', address: '10.244.1.4' }])
  expect(allocate(renumbered, 'found').address).toBe('10.244.1.4')
  expect(allocate(renumbered, 'new').address).toBe('10.244.7.2')
  expect(release(renumbered, 'found').freed).toEqual([])
})
