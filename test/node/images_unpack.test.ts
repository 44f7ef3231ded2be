import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, lstat, mkdir, mkdtemp, readlink, rm, symlink, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { decompress } from '../../src/agent/images/decompress.ts'
import { unpackLayer } from '../../src/agent/images/unpack.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { chunked, type Entry, tar } from '../support/archives.ts'
import { eventually } from '../support/eventually.ts'

let base = ''
let canary = ''
let before = ''
let count = 0

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'drvt-unpack-'))
  canary = join(base, 'canary')
  await mkdir(join(canary, 'sub'), { recursive: true })
  writeFileSync(join(canary, 'secret'), 'secret')
  writeFileSync(join(canary, 'sub', 'file'), 'file')
  await symlink('secret', join(canary, 'link'))
  for (const name of ['secret', 'sub/file', 'sub', '.']) await utimes(join(canary, name), 1, 1)
  before = snapshot(canary)
})
afterEach(() => rm(base, { recursive: true, force: true }))

/** Everything there is to know of a tree, in one text. */
function snapshot(directory: string): string {
  const format = '%P %y %m %U %G %T@ %n %l %s\n'
  const tree = execFileSync('find', [directory, '-printf', format], { encoding: 'utf8' })
  const attributes = execFileSync('getfattr', ['-R', '-h', '-d', '-m', '-', '--absolute-names', directory], {
    encoding: 'utf8',
  })
  return `${tree.split('\n').sort().join('\n')}\n${attributes}\n${readFileSync(join(canary, 'secret'), 'utf8')}`
}

async function unpack(entries: readonly Entry[], limits: Limits = {}) {
  return unpackBytes(await tar(entries), limits)
}

interface Limits {
  maxEntries?: number
  clock?: Clock
  chunkSize?: number
}

async function unpackBytes(bytes: Uint8Array, limits: Limits = {}) {
  return unpackStream(chunked(bytes, limits.chunkSize), limits)
}

async function unpackStream(bytes: AsyncIterable<Uint8Array>, limits: Limits = {}) {
  const directory = join(base, `layer${++count}`)
  mkdirSync(directory)
  const result = await unpackLayer(bytes, {
    directory,
    scratch: join(base, `scratch${count}`),
    maxEntries: limits.maxEntries ?? 10_000,
    clock: limits.clock ?? systemClock,
    signal: new AbortController().signal,
    log: silentLogger,
  })
  return { ...result, directory, at: (name: string) => join(directory, name) }
}

const file = (name: string, content = 'new'): Entry => ({ name, content, mode: 0o644 })
const link = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname })
const hard = (name: string, linkname: string): Entry => ({ name, type: 'link', linkname })
const directory = (name: string, mode = 0o755): Entry => ({ name, type: 'directory', mode })
const isWhiteout = async (path: string) => {
  const stats = await lstat(path)
  return stats.isCharacterDevice() && stats.rdev === 0
}
const attribute = (path: string, name: string) =>
  execFileSync('getfattr', ['--only-values', '--absolute-names', '-h', '-n', name, path]).toString('latin1')

/** How many of this name this process has started and not yet seen end. */
function children(program: string): number {
  const found = spawnSync('pgrep', ['-c', '-x', '-P', String(process.pid), program], { encoding: 'utf8' })
  return Number(found.stdout)
}

describe('hostile archives', () => {
  const refused: [string, () => Entry[], RegExp][] = [
    ['a way up', () => [file('../canary/secret')], /leads out/],
    ['a way up from below', () => [file('a/b/../../../canary/secret')], /leads out/],
    ['a hard link up', () => [hard('x', '../canary/secret')], /leads out/],
    ['a hard link to an absolute path', () => [hard('x', `${canary}/secret`)], /not in the layer/],
    ['a hard link through a link', () => [link('a', canary), hard('x', 'a/secret')], /not in the layer/],
    ['a hard link to nothing', () => [hard('x', 'y')], /not in the layer/],
    ['a hard link to a directory', () => [directory('d'), hard('x', 'd')], /directory/],
    ['a hard link to a whiteout', () => [file('.wh.y'), hard('x', 'y')], /not in the layer/],
    ['a file for a parent', () => [file('a'), file('a/b')], /not a directory/],
    ['links in a circle', () => [link('a', 'b'), link('b', 'a'), file('a/x')], /too many symbolic links/],
    ['a file for the root', () => [file('.')], /root/],
    ['a link for the root', () => [link('./', canary)], /root/],
    ['a whiteout of the parent', () => [file('.wh...')], /without a name/],
    ['a whiteout without a name', () => [file('a/.wh.')], /without a name/],
    ['a name beyond the file system', () => [file('x'.repeat(256))], /ENAMETOOLONG/],
    ['a path beyond the kernel', () => [file(`${'x/'.repeat(2100)}y`)], /4201 bytes/],
    [
      'a path that is beyond it with what is above',
      () => [file(`${`${'x'.repeat(203)}/`.repeat(20)}y`)],
      /ENAMETOOLONG/,
    ],
    ['directories without end', () => [file(`${'x/'.repeat(256)}y`)], /256 directories deep/],
    [
      'directories without end, by a link',
      () => [file(`${'x/'.repeat(200)}y`), link('l', 'x/'.repeat(200)), file(`l/${'x/'.repeat(56)}y`)],
      /256 directories deep/,
    ],
  ]
  test.each(refused)('%s', async (_name, entries, message) => {
    await expect(unpack(entries())).rejects.toMatchObject({ code: 'invalid', message: expect.stringMatching(message) })
    expect(snapshot(canary)).toBe(before)
  })

  const contained: [string, () => Entry[], string, string][] = [
    ['an absolute name', () => [file(`${canary}/secret`)], 'new', 'the layer'],
    ['through an absolute link', () => [link('a', canary), file('a/secret')], 'new', 'the layer'],
    ['through a relative link', () => [link('a', '../../../../..'), file(`a${canary}/secret`)], 'new', 'the layer'],
    ['through two links', () => [link('a', '/'), link('b', `a${canary}`), file('b/secret')], 'new', 'the layer'],
  ]
  test.each(contained)('%s stays inside', async (_name, entries) => {
    const layer = await unpack(entries())
    expect(readFileSync(join(layer.directory, canary, 'secret'), 'utf8')).toBe('new')
    expect(snapshot(canary)).toBe(before)
  })

  test.each<[string, () => Entry[]]>([
    ['a file over a link', () => [link('a', `${canary}/secret`), file('a')]],
    ['a directory over a link', () => [link('a', canary), directory('a', 0o700)]],
    ['a directory over a link, then into it', () => [link('a', `${canary}/sub`), directory('a', 0), file('a/file')]],
    ['a fifo over a link', () => [link('a', `${canary}/secret`), { name: 'a', type: 'fifo' }]],
    ['a hard link to a link', () => [link('a', `${canary}/secret`), hard('b', 'a'), file('b')]],
    ['a directory that turns into a link', () => [directory('d'), file('d/file'), link('d', `${canary}/sub`)]],
    ['a known directory that turns into a link', () => [file('d/x'), link('d', `${canary}/sub`), file('d/file')]],
    ['a whiteout of a link', () => [link('a', `${canary}/secret`), file('.wh.a')]],
    ['a whiteout through a link', () => [link('a', canary), file('a/.wh.secret')]],
    ['an opaque mark through a link', () => [link('a', canary), file('a/.wh..wh..opq')]],
    [
      'attributes through a link',
      () => [
        { ...file('d/file'), pax: { 'SCHILY.xattr.user.x': 'y' } },
        link('d', `${canary}/sub`),
        { ...link('l', `${canary}/secret`), pax: { 'SCHILY.xattr.user.x': 'y' } },
      ],
    ],
    ['a directory with others in it that turns into a file', () => [directory('d/e/f'), file('d')]],
    ['a time through a link', () => [directory('d/sub'), link('d', canary)]],
  ])('%s leaves the rest alone', async (_name, entries) => {
    await unpack(entries())
    expect(snapshot(canary)).toBe(before)
  })

  test('device nodes are left out, and an overlay’s own attributes', async () => {
    const layer = await unpack([
      { name: 'dev/sda', type: 'block-device', devmajor: 8, devminor: 0 },
      { name: 'etc/passwd', type: 'character-device', devmajor: 0, devminor: 0 },
      { ...file('f'), pax: { 'SCHILY.xattr.trusted.overlay.redirect': '/x', 'SCHILY.xattr.user.ok': 'yes' } },
    ])
    expect(readdirSync(layer.directory, { recursive: true }).sort()).toEqual(['dev', 'etc', 'f'])
    expect(attribute(layer.at('f'), 'user.ok')).toBe('yes')
    expect(() => attribute(layer.at('f'), 'trusted.overlay.redirect')).toThrow()
  })

  test('too many entries', async () => {
    const many = Array.from({ length: 11 }, (_, i) => file(`f${i}`))
    await expect(unpack(many, { maxEntries: 10 })).rejects.toMatchObject({ code: 'tooLarge' })
  })

  test('too many directories that are only implied', async () => {
    const entries = [file(`${'x/'.repeat(9)}y`)]
    await expect(unpack(entries, { maxEntries: 9 })).rejects.toMatchObject({
      code: 'tooLarge',
      message: expect.stringContaining('more than 9 entries'),
    })
    expect((await unpack(entries, { maxEntries: 10 })).implicitDirectories).toHaveLength(9)
  })

  test('names that would fill the memory', async () => {
    // Each entry marks one long name more: a directory that exists already, so that the disk sees little of it.
    const deep = `${'n'.repeat(250)}/`.repeat(15)
    async function* marks() {
      yield await tar([file(`${deep}x`)]).then((bytes) => bytes.subarray(0, -1024))
      const mark = (await tar([file(`${deep}.wh..wh..opq`)])).subarray(0, -1024)
      for (let i = 0; i < 10_000; i++) yield mark
      yield Buffer.alloc(1024)
    }
    await expect(unpackStream(marks(), { maxEntries: 1_000_000 })).rejects.toMatchObject({
      code: 'tooLarge',
      message: expect.stringContaining('the names of the layer'),
    })
  })

  test('attributes that would fill the memory, or that the kernel refuses', async () => {
    const pax = (bytes: number, name = 'user.x') => ({ pax: { [`SCHILY.xattr.${name}`]: 'v'.repeat(bytes) } })
    await expect(unpack([{ ...file('f'), ...pax(65_537) }])).rejects.toMatchObject({
      code: 'tooLarge',
      message: expect.stringContaining('"user.x" has 65537 bytes'),
    })
    const many = (name: string) =>
      Array.from({ length: 300 }, (_, i): Entry => ({ ...file(`f${i}`), ...pax(60_000, name) }))
    await expect(unpack(many('user.x'))).rejects.toMatchObject({
      code: 'tooLarge',
      message: expect.stringContaining('the extended attributes of the layer'),
    })
    // What is not taken over counts for nothing.
    expect((await unpack(many('trusted.x'))).entries).toBe(300)
  })

  test('the event loop turns meanwhile, however much one chunk holds', async () => {
    // Time passes at every look, so that what is done in it does not depend on the machine.
    let nowMs = 0
    const clock = { ...systemClock, monotonicMs: () => (nowMs += 10) }
    const whole = await tar([
      ...Array.from({ length: 100 }, (_, i) => file(`replaced/f${i}`)),
      file('replaced'),
      ...Array.from({ length: 100 }, (_, i) => directory(`d${i}`)),
    ])
    let turns = 0
    let counting = true
    const count = (): void => {
      turns++
      if (counting) setImmediate(count)
    }
    setImmediate(count)
    await unpackBytes(whole, { clock, chunkSize: whole.length })
    counting = false
    // Of each two looks one: 201 entries, 100 removals, 100 times of directories.
    expect(turns).toBeGreaterThan(150)
  })

  test('what is left of the source is let go of: streams, inflaters, processes', async () => {
    const bytes = await tar([file('a'), file('../out'), ...Array.from({ length: 99 }, (_, i) => file(`${i}`))])
    const packed = join(base, 'packed')
    writeFileSync(packed, bytes)
    const forms: [string, Buffer][] = [
      ['plain', bytes],
      ['gzip', gzipSync(bytes, { level: 0 })],
      // Stored, so that a piece of it is a piece of the archive.
      ['zstd', execFileSync('zstd', ['-q', '-c', '--no-compress-literals', packed])],
    ]
    for (const [form, content] of forms) {
      let closed = false
      async function* source() {
        try {
          yield content
          // Never ends: only whoever lets go of it does.
          for (;;) yield form === 'plain' ? Buffer.alloc(512) : content
        } finally {
          closed = true
        }
      }
      await expect(unpackStream(decompress(source())), form).rejects.toThrow(/leads out/)
      await eventually(() => closed && children('zstd') === 0)
    }
  })

  test('whatever the entries, nothing outside is touched', async () => {
    const part = fc.constantFrom(
      'a',
      'b',
      'c',
      '..',
      '.',
      '',
      '.wh.a',
      '.wh.b',
      '.wh..wh..opq',
      'canary',
      'secret',
      'sub',
    )
    const name = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'))
    const target = fc.oneof(
      name,
      name.map((path) => `/${path}`),
      fc.constantFrom('CANARY', 'CANARY/secret', 'CANARY/sub', '../canary', '../../canary/sub', '..', '/'),
    )
    const entry = fc.oneof(
      fc.record({ kind: fc.constant('file' as const), name, content: fc.string({ maxLength: 5 }) }),
      fc.record({ kind: fc.constant('directory' as const), name, mode: fc.constantFrom(0, 0o755, 0o7777) }),
      fc.record({ kind: fc.constant('symlink' as const), name, linkname: target }),
      fc.record({ kind: fc.constant('link' as const), name, linkname: target }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 12 }), async (shapes) => {
        const entries = shapes.map(({ kind, ...rest }): Entry => {
          const pax = kind === 'file' ? { pax: { 'SCHILY.xattr.user.x': 'y' } } : {}
          const real = 'linkname' in rest ? { linkname: rest.linkname.replace('CANARY', canary) || '.' } : {}
          return { ...rest, ...real, ...pax, type: kind, uid: 12, name: rest.name || '.' }
        })
        await unpack(entries).catch((error: unknown) => expect(error).toMatchObject({ code: 'invalid' }))
        expect(readdirSync(base).filter((found) => !/^(canary|layer\d+|scratch\d+)$/.test(found))).toEqual([])
        expect((await lstat(join(canary, 'sub', 'file'))).uid).toBe(0)
      }),
      { numRuns: 300 },
    )
    expect(snapshot(canary)).toBe(before)
  })
})

describe('honest archives', () => {
  test('owner, mode, time, kind and attributes are kept', async () => {
    const mtime = new Date(1_234_567_890_000)
    const layer = await unpack([
      { ...directory('d', 0o2775), uid: 7, gid: 8, mtime },
      { ...file('d/suid'), mode: 0o4755, uid: 9, gid: 10, mtime },
      { ...link('d/l', 'nowhere'), uid: 11, gid: 12, mtime },
      hard('d/hard', 'd/suid'),
      { name: 'd/fifo', type: 'fifo', mode: 0o640, mtime },
    ])
    const stat = (name: string) => lstat(layer.at(name))
    expect(await stat('d')).toMatchObject({ mode: 0o42775, uid: 7, gid: 8, mtimeMs: mtime.getTime() })
    expect(await stat('d/suid')).toMatchObject({ mode: 0o104755, uid: 9, gid: 10, mtimeMs: mtime.getTime(), nlink: 2 })
    expect(await stat('d/l')).toMatchObject({ uid: 11, gid: 12, mtimeMs: mtime.getTime() })
    expect(await readlink(layer.at('d/l'))).toBe('nowhere')
    expect((await stat('d/fifo')).isFIFO()).toBe(true)
  })

  test('capabilities of files, as GNU tar writes them', async () => {
    const source = join(base, 'source')
    mkdirSync(source)
    writeFileSync(join(source, 'a b=\\c'), 'x')
    // cap_net_raw+ep
    const capability = '0x0100000200200000000000000000000000000000'
    execFileSync('setfattr', ['-n', 'security.capability', '-v', capability, join(source, 'a b=\\c')])
    const flags = ['--format=posix', '--xattrs', '--xattrs-include=*']
    const layer = await unpackBytes(execFileSync('tar', [...flags, '-C', source, '-cf', '-', '.']))
    const kept = Buffer.from(attribute(layer.at('a b=\\c'), 'security.capability'), 'latin1')
    expect(`0x${kept.toString('hex')}`).toBe(capability)
  })

  test('the last entry of a name wins', async () => {
    const layer = await unpack([
      file('a', 'one'),
      directory('d'),
      file('d/x'),
      file('a', 'two'),
      file('d'),
      directory('e'),
      file('e/x'),
      directory('e', 0o700),
    ])
    expect(readFileSync(layer.at('a'), 'utf8')).toBe('two')
    expect((await lstat(layer.at('d'))).isFile()).toBe(true)
    expect(readdirSync(layer.at('e'))).toEqual(['x'])
    expect((await lstat(layer.at('e'))).mode & 0o777).toBe(0o700)
  })

  test('names that are not UTF-8', async () => {
    const source = join(base, 'source')
    mkdirSync(source)
    writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x66, 0xff, 0xfe])]), 'x')
    const archive = execFileSync('tar', ['-C', source, '-cf', '-', '.'])
    const layer = await unpackBytes(archive)
    expect(readdirSync(layer.directory, { encoding: 'buffer' })).toEqual([Buffer.from([0x66, 0xff, 0xfe])])
  })

  test('whiteouts speak of the layers below alone', async () => {
    const layer = await unpack([
      directory('d'),
      file('d/.wh.gone'),
      file('d/.wh.also'),
      file('d/.wh..wh..opq'),
      file('kept'),
      file('.wh.kept'),
      directory('full'),
      file('.wh.full'),
      file('.wh.back'),
      directory('back'),
      file('.wh.under'),
      file('under/x'),
      file('.wh..wh.aufs'),
    ])
    for (const name of ['d/gone', 'd/also']) expect(await isWhiteout(layer.at(name)), name).toBe(true)
    expect(readFileSync(layer.at('kept'), 'utf8')).toBe('new')
    for (const name of ['d', 'full', 'back', 'under']) {
      expect(attribute(layer.at(name), 'trusted.overlay.opaque'), name).toBe('y')
    }
    expect(readdirSync(layer.directory).sort()).toEqual(['back', 'd', 'full', 'kept', 'under'])
    expect(layer.implicitDirectories).toEqual([])
    expect(readdirSync(base).filter((name) => name.startsWith('scratch'))).toEqual([])
    expect((await unpack([file('.wh..wh..opq')])).opaqueRoot).toBe(true)
  })

  test('directories that no entry describes are told', async () => {
    const layer = await unpack([file('a/b/x'), directory('a'), file('tmp/y')])
    expect(layer.implicitDirectories).toEqual(['a/b', 'tmp'])
    await chmod(layer.directory, 0o755)
  })

  test('overlayfs shows what the layers mean', async () => {
    const lower = await unpack([
      directory('d'),
      file('d/gone', 'old'),
      file('d/stays', 'old'),
      directory('o'),
      file('o/old'),
      file('f', 'old'),
    ])
    const upper = await unpack([
      directory('d'),
      file('d/.wh.gone'),
      directory('o'),
      file('o/.wh..wh..opq'),
      file('o/fresh'),
      file('f', 'new'),
    ])
    const merged = join(base, 'merged')
    mkdirSync(merged)
    execFileSync('mount', ['-t', 'overlay', 'drvt', '-o', `lowerdir=${upper.directory}:${lower.directory}`, merged])
    try {
      expect(readdirSync(join(merged, 'd'))).toEqual(['stays'])
      expect(readdirSync(join(merged, 'o'))).toEqual(['fresh'])
      expect(readFileSync(join(merged, 'f'), 'utf8')).toBe('new')
    } finally {
      execFileSync('umount', [merged])
    }
  })
})
