/** The run directory is in memory, whatever lies below it, and goes as it came. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ensureRunDirectory, releaseRunDirectory } from '../../src/agent/runtime/run_directory.ts'
import { parseMountinfo } from '../../src/base/mountinfo.ts'
import { runOk } from '../../src/base/process.ts'

let root: string
const mounts = () =>
  parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'))
    .filter(({ mountPoint }) => mountPoint.startsWith(root))
    .map(({ mountPoint, type }) => `${type} ${mountPoint}`)

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'drvt-run-'))
})
afterEach(async () => {
  for (const line of mounts().reverse()) await runOk('umount', [line.split(' ')[1] ?? ''])
  rmSync(root, { recursive: true, force: true })
})

const onDisk = () => runOk('stat', ['-f', '-c', '%T', tmpdir()]).then((type) => type.trim() !== 'tmpfs')

it('is mounted once, keeps what is written, and is released once', async () => {
  const path = join(root, 'a/run')
  const expected = (await onDisk()) ? [`tmpfs ${path}`] : []
  await ensureRunDirectory(path)
  expect(mounts()).toEqual(expected)
  writeFileSync(join(path, 'state'), 'x')
  await ensureRunDirectory(path)
  expect(mounts()).toEqual(expected)
  expect(readFileSync(join(path, 'state'), 'utf8')).toBe('x')
  await releaseRunDirectory(path)
  await releaseRunDirectory(path)
  expect(mounts()).toEqual([])
})

it('is not mounted over what is in use, nor within memory', async () => {
  const used = join(root, 'used')
  await runOk('mkdir', ['-p', used])
  writeFileSync(join(used, 'pin'), '')
  await ensureRunDirectory(used)
  expect(mounts()).toEqual([])
  const memory = join(root, 'memory')
  await runOk('mkdir', [memory])
  await runOk('mount', ['-t', 'tmpfs', 'drvt', memory])
  await ensureRunDirectory(join(memory, 'run'))
  await releaseRunDirectory(join(memory, 'run'))
  expect(mounts()).toEqual([`tmpfs ${memory}`])
})

it('that never was is released without complaint', async () => {
  await releaseRunDirectory(join(root, 'absent'))
  expect(mounts()).toEqual([])
})
