/** Randomness of the world, split by purpose so that one more draw in one place moves nothing elsewhere. */
import { type Random, seededRandom } from '../../src/base/random.ts'

export function randomOf(seed: number, purpose: string): Random {
  let hash = (seed ^ 0x9e3779b9) >>> 0
  for (let i = 0; i < purpose.length; i++) hash = Math.imul(hash ^ purpose.charCodeAt(i), 0x01000193) >>> 0
  return seededRandom(hash)
}

/** Mostly near the lower end, now and then near the upper. */
export function latencyMs(random: Random, leastMs: number, mostMs: number): number {
  return leastMs + (mostMs - leastMs) * random.next() ** 4
}

export function pick<T>(random: Random, items: readonly T[]): T | undefined {
  return items[Math.floor(random.next() * items.length)]
}

export function between(random: Random, least: number, most: number): number {
  return least + Math.floor(random.next() * (most - least + 1))
}
