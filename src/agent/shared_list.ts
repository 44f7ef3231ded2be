/**
 * One list call for many who ask. A reader gets a list that began after it asked, never an older one; all who ask
 * while one is under way share the next. Workers ask for their own pod's alone, and have no need of it.
 */
export class SharedList<T> {
  readonly #list: () => Promise<T>
  #running: Promise<unknown> = Promise.resolve()
  #next: Promise<T> | undefined

  constructor(list: () => Promise<T>) {
    this.#list = list
  }

  read(): Promise<T> {
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined
        const list = this.#list()
        this.#running = list
        return list
      })
    return this.#next
  }
}
