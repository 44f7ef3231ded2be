/** Sandboxes made ahead: pods get them, agents that come back take them over, what was broken is not given out, nothing stays. */
import { closeSync, existsSync, openSync, readdirSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { RuntimeDriver } from '../../src/agent/runtime/runtime.ts'
import { tryUnmount } from '../../src/base/kernel_calls.ts'
import { eventually } from '../support/eventually.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let host: RuntimeHost
let stop: AbortController
let kept: Promise<void> | undefined

beforeEach(async () => {
  host = await createRuntimeHost()
  stop = new AbortController()
  kept = undefined
})

afterEach(async () => {
  await end()
  await host.driver.removeSpares?.()
  expect(sandboxes().filter((name) => name.startsWith('.'))).toEqual([])
  await host.destroy()
})

async function end(): Promise<void> {
  stop.abort()
  await kept
}

const sandboxes = (): string[] => readdirSync(join(host.directory, 'run/s'))
const numberOf = (spare: string): number => Number(spare.slice('.spare-'.length))
const inodeOf = (path: string | undefined): number => statSync(path ?? '').ino

/** Their network namespaces, the oldest first, once there are so many. */
async function spares(driver: RuntimeDriver, count: number): Promise<number[]> {
  kept ??= driver.keepSpares?.(count, stop.signal)
  return eventually(() => {
    const paths = sandboxes()
      .filter((name) => name.startsWith('.spare-'))
      .sort((a, b) => numberOf(a) - numberOf(b))
      .map((name) => join(host.directory, 'run/s', name))
    // A namespace that is pinned lies on another file system than the file did.
    const isPinned = (path: string): boolean => existsSync(path) && statSync(path).dev !== statSync(host.directory).dev
    const pinned = paths.filter((path) => isPinned(join(path, 'uts'))).map((path) => inodeOf(join(path, 'net')))
    return pinned.length === count && pinned
  })
}

describe('spare sandboxes', () => {
  it('become those of ordinary pods, with containers in them, and are made again', async () => {
    const [first, second] = await spares(host.driver, 2)
    // They are made one after the other: when the second can be seen, the first can be had.
    const sandbox = await host.sandbox('pod-a')
    expect(inodeOf(sandbox.netNamespacePath)).toBe(first)
    expect((await spares(host.driver, 2))[0]).toBe(second)
    expect(inodeOf((await host.sandbox('pod-b')).netNamespacePath)).toBe(second)
    const request = host.request(sandbox, { args: ['sh', '-c', 'hostname; df /dev/shm | tail -1'] })
    await host.driver.startContainer(request, new AbortController().signal)
    await eventually(() => host.log(request.id).includes('/dev/shm'))
    expect(host.log(request.id)).toContain('drvt-host')
    // It is there already: asked for again it stays the one it was.
    expect(inodeOf((await host.sandbox('pod-a')).netNamespacePath)).toBe(inodeOf(sandbox.netNamespacePath))
  })

  it('are not for pods of another shape', async () => {
    const ready = await spares(host.driver, 1)
    await host.sandbox('pod-host', { hostNetwork: true })
    await host.sandbox('pod-shared', { shareProcesses: true })
    expect(await spares(host.driver, 1)).toEqual(ready)
  })

  it('are taken over by an agent that comes back, but for those that are damaged or too many', async () => {
    const ready = await spares(host.driver, 2)
    await end()
    const broken = sandboxes().find((name) => name.startsWith('.spare-')) ?? ''
    const lost = inodeOf(join(host.directory, 'run/s', broken, 'net'))
    expect(await tryUnmount([join(host.directory, 'run/s', broken, 'ipc')])).toBe(true)
    stop = new AbortController()
    kept = undefined
    const next = await host.again()
    const [only] = await spares(next, 1)
    expect(only).toBe(ready.find((inode) => inode !== lost))
  })

  it('that were given out just when the agent died are found, and made again for their pod', async () => {
    await spares(host.driver, 1)
    await end()
    const [spare = ''] = sandboxes().filter((name) => name.startsWith('.spare-'))
    const pod = join(host.directory, 'run/s/pod-a')
    renameSync(join(host.directory, 'run/s', spare), pod)
    const before = inodeOf(join(pod, 'net'))
    // While it is open the kernel gives its number to no other.
    const held = openSync(join(pod, 'net'), 'r')
    try {
      const next = await host.again()
      expect((await next.listSandboxes()).map(({ podUid }) => podUid)).toEqual(['pod-a'])
      expect(inodeOf((await host.sandbox('pod-a')).netNamespacePath)).not.toBe(before)
      await next.removeSandbox('pod-a')
      expect(sandboxes()).toEqual([])
    } finally {
      closeSync(held)
    }
  })

  it('are looked at before they are given out', async () => {
    await spares(host.driver, 2)
    const spare = '.spare-0'
    expect(await tryUnmount([join(host.directory, 'run/s', spare, 'shm')])).toBe(true)
    const { netNamespacePath, podUid } = await host.sandbox('pod-a')
    expect(inodeOf(netNamespacePath)).toBeGreaterThan(0)
    expect(existsSync(join(host.directory, 'run/s', spare))).toBe(false)
    expect((await host.driver.listSandboxes()).map((one) => one.podUid)).toEqual([podUid])
    expect(await host.driver.findDamage?.()).toEqual([])
  })
})
