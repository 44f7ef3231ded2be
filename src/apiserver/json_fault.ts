/**
 * Finds where a text stops being JSON. V8's own message names a position only sometimes, so once `JSON.parse` has
 * refused a text this walks it again. Source: RFC 8259.
 */

export interface JsonFault {
  line: number
  column: number
  message: string
}

class Fault extends Error {
  readonly at: number

  constructor(at: number, message: string) {
    super(message)
    this.at = at
  }
}

const NUMBER = /-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y
const STRING_END = /[ !#-[\]-\uffff]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-[\]-\uffff]*)*"/y
const WORDS = ['true', 'false', 'null']
/**
 * Deeper than any body that is accepted; bounds the recursion. Far below what the stack holds: V8 ends the whole process
 * when it has to compile a regular expression near the stack's end.
 */
const MAX_DEPTH = 200

class Walker {
  readonly #text: string
  #at = 0
  #depth = 0

  constructor(text: string) {
    this.#text = text
  }

  document(): void {
    this.#value()
    if (this.#peek() !== '') throw new Fault(this.#at, 'nothing may follow the value')
  }

  /** The next character that is no space; empty at the end. */
  #peek(): string {
    while (/[ \t\r\n]/.test(this.#text.charAt(this.#at))) this.#at++
    return this.#text.charAt(this.#at)
  }

  #fail(expected: string): never {
    const found = this.#peek()
    throw new Fault(this.#at, `expected ${expected}, found ${found === '' ? 'the end' : JSON.stringify(found)}`)
  }

  #value(): void {
    if (++this.#depth > MAX_DEPTH) throw new Fault(this.#at, 'nested too deeply')
    const next = this.#peek()
    if (next === '{') this.#members('}', () => this.#member())
    else if (next === '[') this.#members(']', () => this.#value())
    else if (next === '"') this.#string()
    else this.#plain()
    this.#depth--
  }

  #plain(): void {
    const word = WORDS.find((candidate) => this.#text.startsWith(candidate, this.#at))
    if (word !== undefined) {
      this.#at += word.length
      return
    }
    NUMBER.lastIndex = this.#at
    const number = NUMBER.exec(this.#text)
    if (number === null) this.#fail('a value')
    this.#at += number[0].length
  }

  #string(): void {
    if (this.#peek() !== '"') this.#fail('a name in double quotes')
    STRING_END.lastIndex = this.#at + 1
    const rest = STRING_END.exec(this.#text)
    if (rest === null) throw new Fault(this.#at, 'the string is not closed, or holds a character that must be escaped')
    this.#at += 1 + rest[0].length
  }

  #member(): void {
    this.#string()
    if (this.#peek() !== ':') this.#fail('":"')
    this.#at++
    this.#value()
  }

  #members(close: string, one: () => void): void {
    this.#at++
    if (this.#peek() === close) {
      this.#at++
      return
    }
    for (;;) {
      one()
      const next = this.#peek()
      if (next !== ',' && next !== close) this.#fail(`"," or "${close}"`)
      this.#at++
      if (next === close) return
    }
  }
}

export function findJsonFault(text: string): JsonFault {
  try {
    new Walker(text).document()
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault
    const before = text.slice(0, fault.at).split('\n')
    return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1, message: fault.message }
  }
  return { line: 1, column: 1, message: 'cannot be read' }
}
