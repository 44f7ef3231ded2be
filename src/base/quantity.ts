/**
 * Kubernetes resource quantities (`100m`, `64Mi`, `1e3`).
 * Source: k8s.io/apimachinery/pkg/api/resource, "Quantity" serialization format.
 */
import { DroverError } from './errors.ts'

const FACTORS: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

export const QUANTITY_PATTERN = '^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$'

const PARTS = /^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|([eE][+-]?\d{1,3}))?$/

/** The value in base units (bytes, cores, counts). Throws `invalid` for what is no quantity. */
export function parseQuantity(text: string | number): number {
  if (typeof text === 'number') return text
  const { digits, suffix, exponent } = split(text)
  const value = exponent === 0 ? Number(digits) * (FACTORS[suffix] as number) : Number(`${digits}e${exponent}`)
  if (!Number.isFinite(value)) throw tooLarge(text)
  return value
}

/** Whole thousandths of a core, rounded up, as schedulers and cgroups count CPU. */
export function parseCpuMillis(text: string | number): number {
  return ceilScaled(text, 1000n)
}

/** Whole bytes (or counts), rounded up. */
export function parseBytes(text: string | number): number {
  return ceilScaled(text, 1n)
}

function tooLarge(text: string | number): DroverError {
  return new DroverError('invalid', `"${text}" is too large for a quantity`)
}

interface Parts {
  digits: string
  suffix: string
  exponent: number
}

/** Bounds the work of exact arithmetic; nobody needs more. */
export const MAX_QUANTITY_LENGTH = 60

function split(text: string): Parts {
  const match = PARTS.exec(text)
  const exponent = Number(match?.[3]?.slice(1) ?? 0)
  if (match === null || text.length > MAX_QUANTITY_LENGTH) {
    throw new DroverError('invalid', `"${text}" is not a quantity; write for example 500m, 2, 64Mi or 1Gi`)
  }
  return { digits: match[1] ?? '', suffix: match[2] ?? '', exponent }
}

const DECIMAL_POWER: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 }

/** ⌈value × scale⌉, exactly: in floating point 1.1M is a little more than 1100000, and its ceiling one byte more. */
function ceilScaled(text: string | number, scale: bigint): number {
  const { digits, suffix, exponent } = split(typeof text === 'number' ? decimalText(text) : text)
  const [whole = '', fraction = ''] = digits.replace(/^[+-]/, '').split('.')
  const power = exponent + (DECIMAL_POWER[suffix] ?? 0) - fraction.length
  const binary = suffix.endsWith('i') ? BigInt(FACTORS[suffix] as number) : 1n
  const numerator = BigInt(`${whole}${fraction}`) * scale * binary * 10n ** BigInt(Math.max(0, power))
  const denominator = 10n ** BigInt(Math.max(0, -power))
  const isNegative = digits.startsWith('-')
  const amount = Number(isNegative ? numerator / denominator : (numerator + denominator - 1n) / denominator)
  if (!Number.isFinite(amount)) throw tooLarge(text)
  return isNegative ? 0 - amount : amount
}

/** JavaScript's shortest text of a number is a quantity already, but for numbers that are none. */
function decimalText(value: number): string {
  if (!Number.isFinite(value)) throw new DroverError('invalid', `${value} is not a quantity`)
  return String(value)
}

/** Writes a CPU amount the way people write it: `250m`, `2`. */
export function formatCpuMillis(millis: number): string {
  return millis % 1000 === 0 ? String(millis / 1000) : `${millis}m`
}

/** Writes bytes with the largest binary suffix that keeps a whole number. */
export function formatBytes(bytes: number): string {
  for (const suffix of ['Ei', 'Pi', 'Ti', 'Gi', 'Mi', 'Ki'] as const) {
    const factor = FACTORS[suffix] as number
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${suffix}`
  }
  return String(bytes)
}
