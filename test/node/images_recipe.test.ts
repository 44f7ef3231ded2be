import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { LayerHold, LayerStore } from '../../src/agent/images/layer_store.ts'
import { silentLogger } from '../../src/base/log.ts'
import { chunked, rootfsTar, tar } from '../support/archives.ts'

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

test('one whose content was changed or replaced is refused at its end', async () => {
  const twice = await tar([
    { name: 'file', content: 'first' },
    { name: 'file', content: 'other' },
  ])
  await expect(again(twice)).rejects.toMatchObject({ code: 'unsupported' })
  const once = await tar([{ name: 'file', content: 'first' }])
  const layer = await store.add(chunked(once), { signal, hold: new LayerHold() })
  const file = join(store.path(layer), 'file')
  expect(createHash('sha256').update(readFileSync(file)).digest('hex')).toHaveLength(64)
  writeFileSync(file, 'FIRST')
  const { bytes } = await store.tar(layer)
  await expect(
    (async () => {
      for await (const _ of bytes);
    })(),
  ).rejects.toMatchObject({ code: 'unsupported' })
})
