/**
 * Directories and files, made by a process on its way to a program or beside other calls (kernel_calls.ts): one message instead of
 * one way to a thread and back for each, and whoever waits for a disk that stands still is that process.
 */
import { type KernelCall, wordCall } from './kernel_calls.ts'

/** Fails where it is there. The umask applies. */
export function makeDirectoryCall(path: string, mode: number): KernelCall {
  return wordCall(`make ${path}`, 'mkdir', [path, mode])
}

/** With what leads there; one that is there stays as it is. */
export function makePathCall(path: string, mode: number): KernelCall {
  return wordCall(`make ${path}`, 'path', [path, mode])
}

/** Fails where it is there. Its mode is that one, whatever the umask. */
export function makeFileCall(path: string, text: string, mode: number): KernelCall {
  return wordCall(`write ${path}`, 'file', [path, mode, text])
}

export function linkCall(to: string, path: string): KernelCall {
  return wordCall(`link ${path}`, 'symlink', [to, path])
}

export function renameCall(from: string, to: string): KernelCall {
  return wordCall(`rename ${from} to ${to}`, 'rename', [from, to])
}

/** What follows it is done there. */
export function enterDirectoryCall(path: string): KernelCall {
  return wordCall(`enter ${path}`, 'chdir', [path])
}
