/** Finds a small set of a failing run's actions that still breaks the same invariant: leave out halves, then less. */
import { type RunResult, runSeed } from './run.ts'
import type { Seams } from './world.ts'

export async function shrink(
  { seed, actions, violation }: RunResult,
  say: (line: string) => void = () => undefined,
  plant: () => Seams = () => ({}),
): Promise<number[]> {
  const all = Array.from({ length: actions }, (_, number) => number)
  const fails = async (kept: readonly number[]): Promise<boolean> => {
    const skip = new Set(all.filter((number) => !kept.includes(number)))
    const result = await runSeed({ seed, skip, seams: plant() })
    return result.violation?.invariant === violation?.invariant
  }
  let kept = all
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < kept.length; ) {
      const fewer = [...kept.slice(0, at), ...kept.slice(at + size)]
      if (await fails(fewer)) {
        kept = fewer
        say(`${kept.length} actions are enough`)
      } else at += size
    }
  }
  return kept
}
