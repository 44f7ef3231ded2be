/** Where a turn of the event loop ends. */

/**
 * Calls back when all that this turn has set going has run, promise jobs of any depth included, and before the loop looks
 * for I/O again: what one event leads to can be gathered without waiting for anything.
 */
export function atEndOfTurn(callback: () => void): void {
  // Node runs its ticks when no promise job is left; from a promise job, so that the jobs of this moment come first.
  queueMicrotask(() => process.nextTick(callback))
}
