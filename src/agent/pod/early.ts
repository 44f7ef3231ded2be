/** Work that knows early what others need of it: they go on while it comes to its end. */

export interface Early<T> {
  /** As soon as it is known; fails when the work fails before. */
  known: Promise<T>
  done: Promise<T>
}

/** `begin` is given whom to tell; work that tells nobody is known when it is done. */
export function startEarly<T>(begin: (tell: (value: T) => void) => Promise<T>): Early<T> {
  let tell: (value: T) => void = () => undefined
  const told = new Promise<T>((resolve) => {
    tell = resolve
  })
  const done = begin(tell)
  return { done, known: Promise.race([told, done]) }
}
