/**
 * The house holds: who may import whom, how large files may grow, and what only base may touch. Reads the sources as
 * text, so a rule can be read here and a breach is named with its file.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../../src')
const MAX_LINES = 600

/** Rooms, longest path first so that a file belongs to the innermost. */
const ROOMS = [
  'agent/runtime',
  'agent/images',
  'agent/network',
  'agent/volumes',
  'agent/dns',
  'agent',
  'apiserver',
  'api',
  'base',
  'bin',
  'cli',
  'controllers',
  'dispatch',
  'local',
  'resources',
  'rpc',
  'scheduler',
  'store/etcd',
  'store',
] as const
type Room = (typeof ROOMS)[number]

const DRIVER: Room[] = ['api', 'base', 'rpc']
const ALLOWED: Record<Room, readonly Room[]> = {
  base: [],
  api: ['base'],
  rpc: ['base', 'api'],
  store: ['base'],
  'store/etcd': ['base', 'store'],
  resources: ['base', 'api', 'store'],
  apiserver: ['base', 'api', 'store', 'resources', 'rpc'],
  controllers: ['base', 'api', 'store', 'resources'],
  scheduler: ['base', 'api', 'store', 'resources'],
  dispatch: ['base', 'api', 'store', 'resources', 'rpc'],
  'agent/runtime': DRIVER,
  'agent/images': DRIVER,
  'agent/network': DRIVER,
  'agent/volumes': DRIVER,
  'agent/dns': DRIVER,
  agent: ['base', 'api', 'rpc', 'agent/runtime', 'agent/images', 'agent/network', 'agent/volumes', 'agent/dns'],
  cli: ['base', 'api'],
  local: ['base', 'api', 'cli'],
  bin: ROOMS,
}

/** Packages that only these rooms may import. */
const PACKAGES: Readonly<Record<string, readonly Room[]>> = {
  etcd3: ['store/etcd'],
  '@grpc/grpc-js': ['rpc'],
  protobufjs: ['rpc'],
  ajv: ['resources', 'apiserver'],
  '@peculiar/x509': ['base'],
  pino: ['base'],
  'prom-client': ['base'],
}

interface SourceFile {
  path: string
  room: Room
  text: string
  imports: { specifier: string; typeOnly: boolean }[]
}

function roomOf(path: string): Room {
  const room = ROOMS.find((name) => path.startsWith(`${name}/`))
  if (room === undefined) throw new Error(`${path} is in no room`)
  return room
}

function importsOf(text: string): SourceFile['imports'] {
  const found = text.matchAll(
    /^(?:import|export)\s+(type\s)?[^'"]*?from\s+'([^']+)'|\bimport\('([^']+)'\)|^import '([^']+)'/gm,
  )
  return [...found].map((match) => ({
    specifier: match[2] ?? match[3] ?? match[4] ?? '',
    typeOnly: match[1] !== undefined,
  }))
}

const FILES: SourceFile[] = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.includes('/gen/'))
  .map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8')
    return { path, room: roomOf(path), text, imports: importsOf(text) }
  })

function targetRoom(file: SourceFile, specifier: string): Room | undefined {
  if (!specifier.startsWith('.')) return undefined
  return roomOf(relative(ROOT, resolve(ROOT, dirname(file.path), specifier)))
}

/** By whom each file is loaded when this one is, types aside. */
function loadedBy(start: string): Map<string, string> {
  const known = new Map([[start, '']])
  for (const path of known.keys()) {
    const file = FILES.find((each) => each.path === path)
    for (const { specifier, typeOnly } of file?.imports ?? []) {
      const target = specifier.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(path), specifier)) : specifier
      if (!typeOnly && !known.has(target)) known.set(target, path)
    }
  }
  return known
}

describe('the house', () => {
  it('has files to look at, in every room', () => {
    expect(new Set(FILES.map((file) => file.room))).toEqual(new Set(ROOMS))
  })

  it('loads no schemas into an agent, which would hold 6 MB for what the server has checked', () => {
    const loaded = loadedBy('bin/agent.ts')
    expect([...loaded.keys()]).toContain('agent/agent.ts')
    expect(loaded.get('typebox')).toBeUndefined()
  })

  it('imports only downwards', () => {
    const breaches = FILES.flatMap((file) =>
      file.imports.flatMap(({ specifier }) => {
        const target = targetRoom(file, specifier)
        const allowed = target === undefined || target === file.room || ALLOWED[file.room].includes(target)
        return allowed ? [] : [`${file.path} imports ${specifier}`]
      }),
    )
    expect(breaches).toEqual([])
  })

  it('keeps controllers apart from each other', () => {
    const breaches = FILES.filter((file) => file.room === 'controllers').flatMap((file) => {
      const [, folder = ''] = file.path.split('/')
      if (!file.path.includes('/', 'controllers/'.length)) return []
      return file.imports.flatMap(({ specifier }) => {
        if (targetRoom(file, specifier) !== 'controllers') return []
        const target = relative(ROOT, resolve(ROOT, dirname(file.path), specifier)).split('/')[1]
        return target === folder || target === 'common' ? [] : [`${file.path} imports ${specifier}`]
      })
    })
    expect(breaches).toEqual([])
  })

  it('keeps packages where they belong', () => {
    const breaches = FILES.flatMap((file) =>
      file.imports.flatMap(({ specifier }) => {
        const rooms = PACKAGES[specifier]
        return rooms === undefined || rooms.includes(file.room) ? [] : [`${file.path} imports ${specifier}`]
      }),
    )
    expect(breaches).toEqual([])
  })

  it('has no import cycles', () => {
    const graph = new Map(
      FILES.map((file) => [
        file.path,
        file.imports
          .filter(({ specifier, typeOnly }) => specifier.startsWith('.') && !typeOnly)
          .map(({ specifier }) => relative(ROOT, resolve(ROOT, dirname(file.path), specifier))),
      ]),
    )
    const done = new Set<string>()
    const cycles: string[] = []
    const visit = (path: string, trail: string[]): void => {
      if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
      if (trail.includes(path) || done.has(path)) return
      for (const next of graph.get(path) ?? []) visit(next, [...trail, path])
      done.add(path)
    }
    for (const path of graph.keys()) visit(path, [])
    expect(cycles).toEqual([])
  })

  it('starts other programs only through base/process', () => {
    const breaches = FILES.filter((file) => file.path !== 'base/process.ts')
      .filter((file) => file.imports.some(({ specifier, typeOnly }) => specifier === 'node:child_process' && !typeOnly))
      .map((file) => file.path)
    expect(breaches).toEqual([])
  })

  it('takes time and randomness only from base', () => {
    const direct = /\b(Date\.now|setTimeout|setInterval|Math\.random)\(/
    const breaches = FILES.filter((file) => file.room !== 'base').flatMap((file) =>
      file.text
        .split('\n')
        .flatMap((line, index) =>
          direct.test(line) && !/^\s*(\*|\/\/)/.test(line) && !/\.setTimeout\(/.test(line)
            ? [`${file.path}:${index + 1} ${line.trim()}`]
            : [],
        ),
    )
    expect(breaches).toEqual([])
  })

  it('silences no check', () => {
    const silenced = /@ts-(ignore|expect-error|nocheck)|biome-ignore|\bas any\b/
    const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, '')
    const breaches = FILES.filter((file) => silenced.test(code(file.text))).map((file) => file.path)
    expect(breaches).toEqual([])
  })

  it(`keeps files under ${MAX_LINES} lines`, () => {
    const large = FILES.filter((file) => file.text.split('\n').length > MAX_LINES).map((file) => file.path)
    expect(large).toEqual([])
  })
})
