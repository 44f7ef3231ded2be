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

export const QUANTITY_PATTERN = '^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$'

const PARTS = /^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|([eE][+-]?\d+))?$/

/** The value in base units (bytes, cores, counts). Throws `invalid` for what is no quantity. */
export function parseQuantity(text: string | number): number {
  if (typeof text === 'number') return text
  const match = PARTS.exec(text)
  if (match === null) {
    throw new DroverError('invalid', `"${text}" is not a quantity; write for example 500m, 2, 64Mi or 1Gi`)
  }
  const [, digits, suffix, exponent] = match
  if (exponent !== undefined) return Number(`${digits}${exponent}`)
  return Number(digits) * (FACTORS[suffix ?? ''] as number)
}

/** Whole thousandths of a core, rounded up, as schedulers and cgroups count CPU. */
export function parseCpuMillis(text: string | number): number {
  return Math.ceil(Number((parseQuantity(text) * 1000).toFixed(6)))
}

/** Whole bytes (or counts), rounded up. */
export function parseBytes(text: string | number): number {
  return Math.ceil(parseQuantity(text))
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
