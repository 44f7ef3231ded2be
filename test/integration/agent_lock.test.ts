/** One agent a node: real processes and real kills, since the kernel's promise is what this rests on. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AgentPlaces, lockAgent } from '../../src/agent/agent_lock.ts'
import { systemClock } from '../../src/base/clock.ts'
import { lockFile } from '../../src/base/file_lock.ts'
import { buildProgram, type TestProgram } from '../support/programs.ts'

const KILLS = 10
let program: TestProgram
let directory: string
const started: ChildProcess[] = []

beforeAll(async () => {
  program = await buildProgram('lock_victim')
})
afterAll(() => program.remove())
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'drvt-lock-'))
})
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})

const placesOf = (name: string): AgentPlaces => ({
  dataDir: join(directory, name),
  runDir: join(directory, `run-${name}`),
  cgroupParent: `/${name}`,
})
const cgroupLocks = (): string => join(directory, 'cgroups')

/** Resolves with what it says first. */
async function agent(places: AgentPlaces): Promise<{ child: ChildProcess; said: string }> {
  const config = JSON.stringify({ places, role: 'agent', cgroupLocks: cgroupLocks() })
  const child = spawn(process.execPath, [program.path, config], { stdio: ['pipe', 'pipe', 'inherit'] })
  started.push(child)
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, said: said.toString().trim() }
}

describe('the lock of an agent', () => {
  it.each(['dataDir', 'runDir', 'cgroupParent'] as const)('refuses a second one with the same %s', async (place) => {
    const first = await agent(placesOf('a'))
    expect(first.said).toBe('locked')
    const same = { [place]: placesOf('a')[place] }
    const second = await agent({ ...placesOf('b'), ...same })
    expect(second.said).toContain(`another agent (process ${first.child.pid}, since `)
    expect(second.said).toContain(same[place])
    expect((await agent(placesOf('b'))).said).toBe('locked')
  })

  it('is let in by none of its own when it was refused half-way', async () => {
    await agent(placesOf('a'))
    await agent({ ...placesOf('b'), cgroupParent: '/a/' })
    const lock = await lockAgent(placesOf('b'), { role: 'reset', clock: systemClock, cgroupLocks: cgroupLocks() })
    lock.release()
  })

  it(`is free for a successor as soon as its holder was killed, ${KILLS} times`, async () => {
    let { child, said } = await agent(placesOf('a'))
    for (let kills = 0; kills < KILLS; kills++) {
      expect(said).toBe('locked')
      // Not even its end is waited for.
      child.kill('SIGKILL')
      ;({ child, said } = await agent(placesOf('a')))
    }
    expect(said).toBe('locked')
  })

  it('goes to one of many that start at once', async () => {
    const all = await Promise.all([0, 1, 2, 3].map(() => agent(placesOf('a'))))
    expect(all.filter(({ said }) => said === 'locked')).toHaveLength(1)
  })

  it('is held by one at a time also where each holder removes the file when it ends', async () => {
    const path = join(directory, 'x.lock')
    let holders = 0
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let taken = 0; taken < 3; ) {
          const { lock } = await lockFile(path, { role: 'agent', clock: systemClock })
          if (lock === undefined) continue
          expect(++holders).toBe(1)
          await new Promise(setImmediate)
          holders--
          lock.release()
          taken++
        }
      }),
    )
  })

  it('is not inherited by programs that its holder starts', async () => {
    const outcome = await lockFile(join(directory, 'x.lock'), { role: 'agent', clock: systemClock })
    const child = spawn('sleep', ['60'], { stdio: 'ignore' })
    started.push(child)
    await once(child, 'spawn')
    outcome.lock?.release()
    const again = await lockFile(join(directory, 'x.lock'), { role: 'agent', clock: systemClock })
    expect(again.lock).toBeDefined()
    again.lock?.release()
  })

  it('leaves nothing when it is given up, and the next to come takes it anew', async () => {
    const options = { role: 'reset', clock: systemClock, cgroupLocks: cgroupLocks() } as const
    const places = placesOf('a')
    const reset = await lockAgent(places, options)
    await reset.lockRunDirectory()
    await expect(lockAgent(places, options)).rejects.toThrow(/^a reset \(process \d+, since .*wait until it has ended/)
    expect(JSON.parse(readFileSync(join(places.dataDir, 'agent.lock'), 'utf8'))).toMatchObject({ pid: process.pid })
    reset.releaseRunDirectory()
    expect(readdirSync(places.runDir)).toEqual([])
    reset.release()
    expect([readdirSync(places.dataDir), readdirSync(cgroupLocks())]).toEqual([[], []])
    expect((await agent(places)).said).toBe('locked')
  })
})
