/**
 * Reads manifests from files, folders and standard input. Every document is located, so that what is wrong is told
 * with file, line and column. All are read before any is sent: a broken one changes nothing.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { extname, join } from 'node:path'
import { LineCounter, parseAllDocuments } from 'yaml'
import type { KindDefinition } from '../api/kind.ts'
import { findKindByName, KINDS } from '../api/kinds.ts'
import type { KubeObject } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { readAll } from './rest_client.ts'

export interface Manifest {
  /** `file:line`, for messages. */
  where: string
  kind: KindDefinition
  object: KubeObject
}

const EXTENSIONS = new Set(['.yaml', '.yml', '.json'])
const MAX_FILES = 10_000

export async function readManifests(
  paths: readonly string[],
  recursive: boolean,
  stdin: NodeJS.ReadStream,
): Promise<Manifest[]> {
  const manifests: Manifest[] = []
  for (const path of paths) {
    if (path === '-') manifests.push(...parseManifests(await readAll(stdin), 'stdin'))
    else
      for (const file of filesOf(path, recursive)) manifests.push(...parseManifests(readFileSync(file, 'utf8'), file))
  }
  if (manifests.length === 0) throw new DroverError('invalid', `no objects found in ${paths.join(', ')}`)
  return manifests
}

function filesOf(path: string, recursive: boolean): string[] {
  let isDirectory: boolean
  try {
    isDirectory = statSync(path).isDirectory()
  } catch (error) {
    throw new DroverError('notFound', `cannot read ${path}: ${(error as Error).message}`, { cause: error })
  }
  if (!isDirectory) return [path]
  const entries = readdirSync(path, { recursive, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && EXTENSIONS.has(extname(entry.name)))
  if (files.length === 0) throw new DroverError('invalid', `${path} holds no .yaml, .yml or .json files`)
  if (files.length > MAX_FILES) throw new DroverError('tooLarge', `${path} holds more than ${MAX_FILES} files`)
  return files.map((entry) => join(entry.parentPath, entry.name)).sort()
}

/** Splits a text into objects; `List` kinds are opened. Throws `invalid` naming line and column. */
export function parseManifests(text: string, source: string): Manifest[] {
  const lines = new LineCounter()
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })
  if ('empty' in documents) return []
  return documents.flatMap((document) => {
    const problem = document.errors[0]
    if (problem !== undefined) {
      const { line, col } = lines.linePos(problem.pos[0])
      throw new DroverError('invalid', `${source}:${line}:${col}: not valid YAML: ${problem.message}`)
    }
    const value: unknown = document.toJS({ maxAliasCount: 100 })
    if (value === null || value === undefined) return []
    const start = document.contents?.range?.[0] ?? 0
    return objectsOf(value, `${source}:${lines.linePos(start).line}`)
  })
}

function objectsOf(value: unknown, where: string): Manifest[] {
  if (!isObject(value) || typeof value.apiVersion !== 'string' || typeof value.kind !== 'string') {
    throw new DroverError('invalid', `${where}: an object needs apiVersion and kind`)
  }
  if (value.kind.endsWith('List') && Array.isArray(value.items)) {
    return value.items.flatMap((item, index) => objectsOf(item, `${where} items[${index}]`))
  }
  const kind = findKindByName(value.apiVersion, value.kind)
  if (kind === undefined) throw unknownKind(value.apiVersion, value.kind, where)
  if (
    !isObject(value.metadata) ||
    (typeof value.metadata.name !== 'string' && value.metadata.generateName === undefined)
  ) {
    throw new DroverError('invalid', `${where}: ${value.kind} needs metadata.name`)
  }
  return [{ where, kind, object: value as unknown as KubeObject }]
}

function unknownKind(apiVersion: string, kindName: string, where: string): DroverError {
  const similar = KINDS.find((kind) => kind.kind.toLowerCase() === kindName.toLowerCase())
  const known = KINDS.map((kind) => kind.kind).join(', ')
  const hint =
    similar === undefined
      ? `Drover has: ${known}`
      : `did you mean ${similar.kind} of ${similar.group === '' ? '' : `${similar.group}/`}${similar.version}?`
  return new DroverError('invalid', `${where}: unknown kind ${kindName} of ${apiVersion}; ${hint}`)
}
