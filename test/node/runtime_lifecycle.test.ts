import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const signal = new AbortController().signal

describe('containers under runc and conmon', () => {
  let host: RuntimeHost
  beforeAll(async () => {
    host = await createRuntimeHost()
  })
  afterAll(() => host.destroy())

  async function ended(id: string) {
    return eventually(async () => {
      const state = (await host.driver.listContainers()).find((one) => one.id === id)
      return state?.phase === 'exited' ? state : undefined
    })
  }

  it('starts, reports, ends and leaves nothing', async () => {
    const sandbox = await host.sandbox('p1')
    const request = host.request(sandbox, {
      args: ['/bin/sh', '-c', 'hostname; echo $A; echo oops >&2; exit 3'],
      env: ['PATH=/bin', 'A=one two'],
      annotations: { 'drover.dev/spec-hash': 'abc' },
    })
    const started = await host.driver.startContainer(request, signal)
    expect(started).toMatchObject({ id: request.id, podUid: 'p1', name: 'main', attempt: 0 })
    const state = await ended(request.id)
    expect(state).toMatchObject({ exit: { code: 3, oomKilled: false }, annotations: { 'drover.dev/spec-hash': 'abc' } })
    const lines = host.log(request.id).trim().split('\n')
    expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d) stdout F drvt-host$/)
    expect(lines.some((line) => line.endsWith(' stdout F one two'))).toBe(true)
    expect(lines.some((line) => line.endsWith(' stderr F oops'))).toBe(true)
    await host.driver.removeContainer(request.id)
    await host.driver.removeContainer(request.id)
    await host.driver.removeSandbox('p1')
    await host.driver.removeSandbox('p1')
    await eventually(() => expect(host.remains()).toEqual([]))
  })
})
