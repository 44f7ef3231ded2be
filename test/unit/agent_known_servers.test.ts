/** Which server an agent calls next. */
import { expect, test } from 'vitest'
import { KnownServers } from '../../src/agent/known_servers.ts'
import { systemRandom } from '../../src/base/random.ts'

const calls = (servers: KnownServers, from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => servers.next(from + index)).sort()

test('goes round among the servers it was given', () => {
  const servers = new KnownServers(['a:1', 'b:1'], systemRandom)
  expect(calls(servers, 0, 2)).toEqual(['a:1', 'b:1'])
  expect(calls(servers, 2, 4)).toEqual(['a:1', 'b:1'])
})

test('calls those that live first, then everyone it has ever known', () => {
  const servers = new KnownServers(['a:1'], systemRandom)
  expect(servers.tell(['a:1', 'b:1', 'c:1'])).toBe(true)
  expect(servers.tell(['a:1', 'b:1', 'c:1'])).toBe(false)
  expect(servers.tell(['b:1', 'c:1'])).toBe(true)
  expect(calls(servers, 1, 3)).toEqual(['b:1', 'c:1'])
  expect(calls(servers, 3, 6)).toEqual(['a:1', 'b:1', 'c:1'])
})

test('an empty word tells nothing', () => {
  const servers = new KnownServers(['a:1'], systemRandom)
  expect(servers.tell([])).toBe(false)
  expect(servers.next(0)).toBe('a:1')
})

test('what it remembers is bounded, but for what it was given', () => {
  const servers = new KnownServers(['a:1'], systemRandom)
  for (let i = 0; i < 100; i++) servers.tell([`s${i}:1`])
  expect(servers.all()).toEqual(['a:1', ...Array.from({ length: 16 }, (_, index) => `s${99 - index}:1`)])
})
