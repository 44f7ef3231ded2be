/**
 * Calls on files, for code that works on a disk and in memory alike. Node's own ask a thread for each call (writing a file is three),
 * which a disk that stands still makes necessary; where files lie in memory that takes five times as long as doing it.
 */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import * as promised from 'node:fs/promises'

export type FileCalls = Pick<
  typeof promised,
  | 'chmod'
  | 'chown'
  | 'mkdir'
  | 'mkdtemp'
  | 'readdir'
  | 'readFile'
  | 'readlink'
  | 'rename'
  | 'rm'
  | 'stat'
  | 'symlink'
  | 'writeFile'
>

export const onDisk: FileCalls = promised

/** Done at once; what it throws rejects. */
function atOnce(call: unknown): never {
  return (async (...values: unknown[]) => (call as (...values: unknown[]) => unknown)(...values)) as never
}

export const inMemory: FileCalls = {
  chmod: atOnce(chmodSync),
  chown: atOnce(chownSync),
  mkdir: atOnce(mkdirSync),
  mkdtemp: atOnce(mkdtempSync),
  readdir: atOnce(readdirSync),
  readFile: atOnce(readFileSync),
  readlink: atOnce(readlinkSync),
  rename: atOnce(renameSync),
  rm: atOnce(rmSync),
  stat: atOnce(statSync),
  symlink: atOnce(symlinkSync),
  writeFile: atOnce(writeFileSync),
}
