/**
 * Work that several ask for at once is done once. Whoever asks may leave; the work is cancelled when the last has left.
 */
import { throwIfAborted } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'

interface Running<T, E> {
  done: Promise<T>
  stop: AbortController
  listeners: Set<(event: E) => void>
}

export type Work<T, E> = (signal: AbortSignal, notify: (event: E) => void) => Promise<T>

export class SharedWork<T, E = never> {
  readonly #running = new Map<string, Running<T, E>>()

  /**
   * Joins the work of this key, or starts it. Rejects with `cancelled` when the caller's signal is raised: at once, but for the last
   * to leave, who hears of it when the work has cleared up.
   */
  async join(
    key: string,
    signal: AbortSignal,
    work: Work<T, E>,
    listener: (event: E) => void = () => undefined,
  ): Promise<T> {
    throwIfAborted(signal)
    let running = this.#running.get(key)
    // Cancelled work may still be clearing up; the next starts when it has.
    while (running?.stop.signal.aborted) {
      await running.done.catch(() => undefined)
      throwIfAborted(signal)
      running = this.#running.get(key)
    }
    running ??= this.#start(key, work)
    const { done, stop, listeners } = running
    // Its own function each time, so that the set counts callers.
    const own = (event: E) => listener(event)
    listeners.add(own)
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        listeners.delete(own)
        const leave = (): void => reject(new DroverError('cancelled', 'cancelled', { cause: signal.reason }))
        if (listeners.size > 0) {
          leave()
          return
        }
        stop.abort(signal.reason)
        done.then(leave, leave)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      const settle = <V>(how: (value: V) => void) => {
        return (value: V): void => {
          signal.removeEventListener('abort', onAbort)
          if (listeners.has(own)) how(value)
        }
      }
      done.then(settle(resolve), settle(reject))
    })
  }

  #start(key: string, work: Work<T, E>): Running<T, E> {
    const stop = new AbortController()
    const listeners = new Set<(event: E) => void>()
    const notify = (event: E) => {
      for (const listener of listeners) listener(event)
    }
    const done = work(stop.signal, notify).finally(() => this.#running.delete(key))
    done.catch(() => undefined)
    const running = { done, stop, listeners }
    this.#running.set(key, running)
    return running
  }
}
