/**
 * Fields that stand twice in one object of a JSON text: `JSON.parse` keeps the last and says nothing. Strict validation
 * refuses them and plain validation warns, as Kubernetes does. The text must be valid JSON.
 */

/** More would not help anybody. */
const MAX_FOUND = 16

interface Frame {
  /** Undefined in a list. */
  keys: Set<string> | undefined
  /** Where it stands, as errors name it. */
  path: string
  /** Of the member or item that is being read. */
  key: string
  index: number
  expectsKey: boolean
}

const BACKSLASH = 0x5c

/** The position behind the string that begins at `at`. */
function endOfString(text: string, at: number): number {
  let end = at + 1
  for (;;) {
    end = text.indexOf('"', end)
    if (end < 0) return text.length
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++
    end++
    if (slashes % 2 === 0) return end
  }
}

function pathIn({ keys, path, key, index }: Frame): string {
  if (keys === undefined) return `${path}[${index}]`
  return path === '' ? key : `${path}.${key}`
}

/** Paths like `spec.containers[0].image`, each once. */
export function findDuplicateFields(text: string): string[] {
  const found = new Set<string>()
  const open: Frame[] = []
  let top: Frame | undefined
  for (let at = 0; at < text.length && found.size < MAX_FOUND; at++) {
    const next = text[at]
    if (next === '"') {
      const end = endOfString(text, at)
      if (top?.expectsKey === true && top.keys !== undefined) {
        top.key = JSON.parse(text.slice(at, end)) as string
        top.expectsKey = false
        if (top.keys.has(top.key)) found.add(pathIn(top))
        else top.keys.add(top.key)
      }
      at = end - 1
    } else if (next === '{' || next === '[') {
      const path: string = top === undefined ? '' : pathIn(top)
      const keys = next === '{' ? new Set<string>() : undefined
      top = { keys, path, key: '', index: 0, expectsKey: next === '{' }
      open.push(top)
    } else if (next === '}' || next === ']') {
      open.pop()
      top = open.at(-1)
    } else if (next === ',' && top !== undefined) {
      if (top.keys === undefined) top.index++
      else top.expectsKey = true
    }
  }
  return [...found]
}
