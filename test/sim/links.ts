/** Which parts of the world cannot hear each other. What is on its way between them waits, as TCP has it. */
export class Links {
  readonly #cut = new Set<string>()
  readonly #waiting = new Map<string, (() => void)[]>()

  isCut(a: string, b: string): boolean {
    return this.#cut.size > 0 && this.#cut.has(linkName(a, b))
  }

  cut(a: string, b: string): void {
    this.#cut.add(linkName(a, b))
  }

  heal(a: string, b: string): void {
    this.#cut.delete(linkName(a, b))
    const waiting = this.#waiting.get(linkName(a, b)) ?? []
    this.#waiting.delete(linkName(a, b))
    for (const go of waiting) go()
  }

  healAll(): void {
    for (const name of [...this.#cut]) {
      const [a = '', b = ''] = name.split('|')
      this.heal(a, b)
    }
  }

  /** Once the link is whole again. */
  onHeal(a: string, b: string, go: () => void): void {
    const name = linkName(a, b)
    const waiting = this.#waiting.get(name)
    if (waiting === undefined) this.#waiting.set(name, [go])
    else waiting.push(go)
  }

  get cuts(): string[] {
    return [...this.#cut]
  }
}

function linkName(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`
}
