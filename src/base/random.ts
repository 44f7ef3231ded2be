/** Randomness as an argument: `systemRandom` in production, `seededRandom` where a run must replay. */
import { randomBytes, randomUUID } from 'node:crypto'

export interface Random {
  /** Uniform in [0, 1). */
  next(): number
  uuid(): string
}

export const systemRandom: Random = {
  next: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  uuid: () => randomUUID(),
}

/** mulberry32: 32 bits of state, good enough for schedules and names, and the same everywhere. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const hex = (digits: number): string => {
    let text = ''
    while (text.length < digits) text += Math.floor(next() * 16).toString(16)
    return text
  }
  return { next, uuid: () => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}` }
}

/** A whole number in [0, bound). */
export function randomInt(random: Random, bound: number): number {
  return Math.floor(random.next() * bound)
}

/** No vowels and no look-alikes, so that a suffix never spells a word: Kubernetes' own alphabet. */
const SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789'

export function randomSuffix(random: Random, length = 5): string {
  let text = ''
  for (let i = 0; i < length; i++) text += SUFFIX_ALPHABET[randomInt(random, SUFFIX_ALPHABET.length)]
  return text
}
