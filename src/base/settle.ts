/** Work that goes on side by side and is undone together. */
import { DroverError } from './errors.ts'

/** As `Promise.all`, but the first failure is told only when none is under way any more: a clean-up that follows misses nothing. */
export async function settleAll<T extends readonly unknown[] | []>(work: T) {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected')
  if (failed?.status === 'rejected') throw DroverError.from(failed.reason)
  return Promise.all(work)
}
