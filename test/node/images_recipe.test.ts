import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Layer, LayerHold, LayerStore } from '../../src/agent/images/layer_store.ts'
import { silentLogger } from '../../src/base/log.ts'
import { chunked, type Entry, rootfsTar, tar } from '../support/archives.ts'

let directory = ''
let store: LayerStore
const signal = new AbortController().signal
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'drvt-recipe-'))
  store = new LayerStore(directory, { maxLayerBytes: 1 << 30, maxEntries: 10_000 }, silentLogger)
  await store.initialize()
})
afterEach(async () => {
  await store.settled()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

async function again(archive: Uint8Array): Promise<Buffer> {
  const layer = await store.add(chunked(archive), { signal, hold: new LayerHold() })
  const { sizeBytes, bytes } = await store.tar(layer)
  const pieces: Uint8Array[] = []
  for await (const piece of bytes) pieces.push(Buffer.from(piece))
  const made = Buffer.concat(pieces)
  expect(made.length).toBe(sizeBytes)
  return made
}

test('a layer is made again byte for byte, whoever wrote its tar', async () => {
  const own = await tar([
    { name: 'd/', type: 'directory' },
    { name: 'd/file', content: 'x'.repeat(100_000) },
    { name: 'd/empty', content: '' },
    { name: 'd/.wh.gone', content: '' },
    { name: 'link', type: 'symlink', linkname: 'd/file' },
    { name: 'through', type: 'link', linkname: 'd/file' },
    { name: `${'long/'.repeat(40)}name`, content: 'deep' },
  ])
  expect((await again(own)).equals(own)).toBe(true)
  const rootfs = await rootfsTar()
  expect((await again(rootfs)).equals(rootfs)).toBe(true)
  const source = mkdtempSync(join(tmpdir(), 'drvt-gnu-'))
  try {
    for (const name of ['a', 'b', 'ü'.repeat(40)]) writeFileSync(join(source, name), name.repeat(999))
    for (const format of ['gnu', 'pax', 'ustar']) {
      const made = execFileSync('tar', ['-c', `--format=${format}`, '-C', source, '.'], { maxBuffer: 1 << 26 })
      expect((await again(made)).equals(made), format).toBe(true)
    }
  } finally {
    rmSync(source, { recursive: true })
  }
})

const CONTENT = 'c'.repeat(4096)
const added = async (entries: readonly Entry[]) =>
  store.add(chunked(await tar(entries)), { signal, hold: new LayerHold() })

describe('what cannot be made again', () => {
  const replaced: [string, readonly Entry[], string][] = [
    [
      'a file',
      [
        { name: 'x', content: 'first' },
        { name: 'x', content: 'other' },
      ],
      'x',
    ],
    [
      'a file by a link',
      [
        { name: 'x', content: CONTENT },
        { name: 'x', type: 'symlink', linkname: '/outside' },
      ],
      'x',
    ],
    [
      'a file by a FIFO',
      [
        { name: 'x', content: CONTENT },
        { name: 'x', type: 'fifo' },
      ],
      'x',
    ],
    [
      'its parent',
      [
        { name: 'd/x', content: CONTENT },
        { name: 'd', type: 'symlink', linkname: '/outside' },
      ],
      'd',
    ],
    [
      'a parent above',
      [
        { name: 'd/e/x', content: CONTENT },
        { name: 'd', content: 'file' },
      ],
      'd',
    ],
  ]
  test.each(replaced)(
    '%s that a later entry replaced is refused before the first byte',
    async (_what, entries, name) => {
      await expect(store.tar(await added(entries))).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining(`its archive holds "${name}" more than once`),
      })
    },
  )

  test('but what has no content may be replaced', async () => {
    const archive = await tar([
      { name: 'empty', content: '' },
      { name: 'empty', content: 'full' },
      { name: 'link', type: 'symlink', linkname: 'empty' },
      { name: 'link', content: 'file' },
      { name: 'd/e', type: 'directory' },
      { name: 'd/f', content: '' },
      { name: 'd', type: 'symlink', linkname: 'empty' },
    ])
    expect((await again(archive)).equals(archive)).toBe(true)
  })

  test('nor is a name lost that a file has beside another', async () => {
    const link = { name: 'second', type: 'link' as const, linkname: 'first' }
    const archive = await tar([{ name: 'first', content: CONTENT }, link, link])
    expect((await again(archive)).equals(archive)).toBe(true)
  })

  test('a layer of before recipes were kept', async () => {
    const layer = await added([{ name: 'x', content: CONTENT }])
    rmSync(join(store.path(layer), '..', 'recipe.gz'))
    await expect(store.tar(layer)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('before its recipe was kept'),
    })
  })

  const changes: [string, (path: string) => void, RegExp][] = [
    ['content', (path) => writeFileSync(path, 'C'.repeat(4096)), /it became sha256:/],
    ['size', (path) => writeFileSync(path, CONTENT.slice(1)), /no longer the file/],
    ['nothing there', () => undefined, /no longer the file/],
    ['a link', (path) => symlinkSync(outside('x'), path), /no longer the file/],
    ['a FIFO', (path) => execFileSync('mkfifo', [path]), /no longer the file/],
    ['a device', (path) => execFileSync('mknod', [path, 'c', '0', '0']), /no longer the file/],
    ['a directory', (path) => mkdirSync(path), /no longer the file/],
  ]
  test.each(changes)('a file that was changed: %s', async (_what, change, message) => {
    const layer = await added([{ name: 'd/x', content: CONTENT }])
    rmSync(join(store.path(layer), 'd/x'))
    change(join(store.path(layer), 'd/x'))
    await expectRefused(layer, message)
  })

  test('a parent that was changed into a link', async () => {
    const layer = await added([{ name: 'd/x', content: CONTENT }])
    rmSync(join(store.path(layer), 'd'), { recursive: true })
    symlinkSync(outside('.'), join(store.path(layer), 'd'))
    await expectRefused(layer, /no longer the file/)
  })

  /** A file of the same size that is none of the layer's business. */
  function outside(name: string): string {
    mkdirSync(join(directory, 'outside'), { recursive: true })
    writeFileSync(join(directory, 'outside', 'x'), 'secret'.padEnd(4096, '!'))
    return join(directory, 'outside', name)
  }

  async function expectRefused(layer: Layer, message: RegExp): Promise<void> {
    const { bytes } = await store.tar(layer)
    const pieces: Uint8Array[] = []
    const read = async () => {
      for await (const piece of bytes) pieces.push(piece)
    }
    await expect(read()).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(message) })
    expect(Buffer.concat(pieces).includes('secret')).toBe(false)
  }
})
