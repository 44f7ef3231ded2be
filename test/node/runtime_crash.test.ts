/** The agent is killed with SIGKILL at any moment; a new driver must find all that was left, and be able to remove it. */
import { once } from 'node:events'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { start } from '../../src/base/process.ts'
import { eventually } from '../support/eventually.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

describe('a runtime driver that is killed', () => {
  let host: RuntimeHost
  let victim: string
  beforeAll(async () => {
    host = await createRuntimeHost()
    victim = join(host.directory, 'victim.mjs')
    await build({
      entryPoints: [join(import.meta.dirname, '../support/runtime_victim.ts')],
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: victim,
      logLevel: 'error',
      banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    })
  })
  afterAll(() => host.destroy())

  it('leaves only what a new one can find and remove', async () => {
    const KILLS = 24
    // A start and a removal take about this long here; the moments are spread over it.
    const SPAN_MS = 96
    const phases = new Set<string>()
    for (let i = 0; i < KILLS; i++) {
      // Odd ones begin with a pod that has users of its own.
      const way = i % 4 < 2 ? 'helped' : 'directly'
      const args = [victim, host.directory, host.cgroupParent, host.layer, String(i % 2), way]
      const child = start(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      const gone = once(child, 'exit')
      if (child.stdout !== null) await once(child.stdout, 'data')
      await sleep(systemClock, (i * SPAN_MS) / KILLS)
      child.kill('SIGKILL')
      await gone
      const next = await host.again()
      const left = await next.listContainers()
      for (const state of left) phases.add(state.phase)
      // What was still being made when the agent died may come to life after the first look.
      for (const { id } of left) await next.removeContainer(id)
      for (const { podUid } of await next.listSandboxes()) await next.removeSandbox(podUid)
      await eventually(() => expect(host.remains()).toEqual([]))
    }
    expect(phases.size).toBeGreaterThan(0)
  })
})
