/** A sandbox that cannot be made: whoever hears of it may clean up at once, so nothing of it is still being made. */
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { runtimePaths } from '../../src/agent/runtime/paths.ts'
import { ensureSandbox } from '../../src/agent/runtime/sandbox.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drvt-sandbox-'))
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(directory, { recursive: true, force: true })
})

/** Stands in for a program of the host. */
async function program(name: string, script: string): Promise<void> {
  const path = join(directory, 'bin', name)
  await writeFile(path, `#!/bin/sh\n${script}\n`)
  await chmod(path, 0o755)
}

it('is told of only when the holder of its processes is not on its way any more', async () => {
  const ended = join(directory, 'ended')
  await mkdir(join(directory, 'bin'))
  await program('perl', 'echo "no mounts here" >&2; exit 1')
  await program('unshare', `sleep 0.5; touch ${ended}; echo 0 >&3`)
  vi.stubEnv('PATH', `${join(directory, 'bin')}${delimiter}${process.env.PATH}`)
  const paths = runtimePaths({ dataDir: directory, runDir: directory, usersDir: directory, name: 'drvt' })
  await mkdir(paths.sandboxes, { recursive: true })
  const request = { podUid: 'pod-1', namespace: 'default', podName: 'p', hostname: 'p', hostNetwork: false }
  await expect(ensureSandbox({ paths }, { ...request, shareProcesses: true })).rejects.toThrow(
    /no mounts here|no process/,
  )
  expect(existsSync(ended)).toBe(true)
})
