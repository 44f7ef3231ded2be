/** The fencer as a process, on real cgroups: it ends exclusive pods at their lease's end whatever becomes of the agent. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createFencer, type Fencer, type FencerOptions, removeFencer, uptimeMs } from '../../src/agent/fence/fencer.ts'
import { detectCgroups } from '../../src/agent/runtime/cgroups.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { identify } from '../../src/base/process_table.ts'
import { eventually } from '../support/eventually.ts'

const WAIT = { timeoutMs: 20_000, intervalMs: 5 }
const POD = 'a1b2-c3d4'

/** One hierarchy that takes processes as it is: v1's freezer, else v2. */
const mount = ((): string => {
  const { hierarchies } = detectCgroups()
  const found =
    hierarchies.find(({ controllers }) => controllers.includes('freezer')) ??
    hierarchies.find(({ version }) => version === 2)
  if (found === undefined) throw new Error('no cgroup hierarchy to test on')
  return found.mountPoint
})()

/** Of version 1; in that of version 2 these tests have no controllers. */
const cpuMount = detectCgroups().hierarchies.find(({ controllers }) => controllers.includes('cpu'))?.mountPoint ?? ''

let directory: string
let parent: string
let control: AbortController
let children: ChildProcess[]
let cgroupMounts: string[]

beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'drvt-fence-')), 'fence')
  parent = `/drvt-fence-${randomBytes(3).toString('hex')}`
  control = new AbortController()
  children = []
  cgroupMounts = [mount]
})

afterEach(async () => {
  control.abort()
  for (const child of children) child.kill('SIGKILL')
  await removeFencer(directory, systemClock)
  rmSync(join(directory, '..'), { recursive: true, force: true })
  const cgroup = join(mount, parent)
  for (const path of [join(cgroup, POD, 'app'), join(cgroup, POD), cgroup]) {
    await eventually(() => {
      if (existsSync(path)) rmdirSync(path)
      return true
    }, WAIT)
  }
})

const options = (): FencerOptions => ({
  directory,
  cgroupParent: parent,
  cgroupMounts,
  clock: systemClock,
  log: silentLogger,
})

function newFencer(): Fencer {
  const fencer = createFencer(options())
  void fencer.run(control.signal)
  return fencer
}

/** A process in a container's cgroup of the pod. */
async function inPod(args = ['sleep', '1000']): Promise<number> {
  const cgroup = join(mount, parent, POD, 'app')
  mkdirSync(cgroup, { recursive: true })
  const child = spawn(args[0] as string, args.slice(1), { stdio: 'ignore' })
  children.push(child)
  await new Promise((resolve) => child.once('spawn', resolve))
  writeFileSync(join(cgroup, 'cgroup.procs'), String(child.pid))
  return child.pid as number
}

const lives = (pid: number): boolean => identify(pid) !== undefined
const fencerPid = (): number => Number(readFileSync(join(directory, 'status'), 'utf8').split(' ')[0])
const gone = (pid: number) => eventually(() => !lives(pid), WAIT)

async function guarded(leaseMs: number): Promise<{ fencer: Fencer; pid: number; deadlineMs: number }> {
  const fencer = newFencer()
  const deadlineMs = uptimeMs() + leaseMs
  fencer.renew(deadlineMs)
  await fencer.guard(POD, control.signal)
  return { fencer, pid: await inPod(), deadlineMs }
}

describe('the fencer', () => {
  it('ends exclusive pods at the end of the lease, not before, with no help of the agent, and those that come later', async () => {
    const { fencer, pid, deadlineMs } = await guarded(1_500)
    // As if the agent were stopped: nobody looks after it any more.
    control.abort()
    await gone(pid)
    expect(uptimeMs()).toBeGreaterThanOrEqual(deadlineMs)
    expect(fencer.killedAtMs(POD)).toBeGreaterThan(0)
    const late = await inPod(['sh', '-c', 'trap "" TERM; while :; do sleep 0.01; done'])
    await gone(late)
  })

  it.skipIf(cpuMount === '')('has what it ends weigh enough for a processor; what weighs more stays so', async () => {
    const pod = join(cpuMount, parent, POD)
    mkdirSync(join(pod, 'app'), { recursive: true })
    try {
      writeFileSync(join(pod, 'cpu.shares'), '2')
      writeFileSync(join(pod, 'app', 'cpu.shares'), '4096')
      cgroupMounts = [cpuMount, mount]
      const { pid } = await guarded(500)
      await gone(pid)
      const shares = (path: string): number => Number(readFileSync(join(path, 'cpu.shares'), 'utf8'))
      expect([shares(pod), shares(join(pod, 'app'))]).toEqual([1024, 4096])
    } finally {
      for (const path of [join(pod, 'app'), pod, join(cpuMount, parent)]) rmdirSync(path)
    }
  })

  it('is small, and leaves pods alone while the lease is renewed, and others always', async () => {
    const { fencer, pid } = await guarded(1_000)
    const ordinary = spawn('sleep', ['1000'], { stdio: 'ignore' })
    children.push(ordinary)
    const rssKb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${fencerPid()}/status`, 'utf8'))?.[1])
    expect(rssKb).toBeLessThan(12_000)
    const untilMs = uptimeMs() + 2_500
    await eventually(() => {
      fencer.renew(uptimeMs() + 1_000)
      return uptimeMs() > untilMs
    }, WAIT)
    expect(lives(pid)).toBe(true)
    await gone(pid)
    expect(lives(ordinary.pid as number)).toBe(true)
  })

  it('is adopted by the next agent, with the lease that the one before it was given', async () => {
    const { pid } = await guarded(4_000)
    control.abort()
    control = new AbortController()
    const before = fencerPid()
    const next = newFencer()
    expect(next.guards(POD)).toBe(true)
    await next.guard(POD, control.signal)
    expect(fencerPid()).toBe(before)
    expect(lives(pid)).toBe(true)
    next.renew(uptimeMs() + 6_000)
    next.release(POD)
    expect(createFencer(options()).guards(POD)).toBe(false)
    expect(lives(pid)).toBe(true)
  })

  it.each(['SIGKILL', 'SIGSTOP'] as const)(
    'is replaced after a %s, and its successor keeps the lease',
    async (signal) => {
      const { pid } = await guarded(5_000)
      const first = fencerPid()
      process.kill(first, signal)
      await eventually(() => fencerPid() !== first, WAIT)
      expect(lives(first)).toBe(false)
      expect(lives(pid)).toBe(true)
      await gone(pid)
    },
  )

  it('knows no lease of another boot, nor a damaged one', async () => {
    for (const lease of [`00000000-0000-0000-0000-000000000000 99999999999\n`, 'rubbish\n', '']) {
      const fencer = newFencer()
      const pid = await inPod()
      writeFileSync(join(directory, 'lease'), lease)
      await fencer.guard(POD, control.signal)
      await gone(pid)
    }
  })

  it('after a freeze of the whole host, ends what it guards before much has been written', async () => {
    const log = join(directory, '..', 'writes')
    // Writes as fast as it can: what it writes after the thaw is the window.
    const script = `open(my $out, '>', $ARGV[0]); while (1) { open(my $h, '<', '/proc/uptime'); my $up = readline $h; syswrite $out, $up }`
    const { pid: sleeper, deadlineMs } = await guarded(1_500)
    const writer = await inPod(['nice', '-n', '5', 'perl', '-e', script, log])
    await eventually(() => expect(statSync(log).size).toBeGreaterThan(0), WAIT)
    control.abort()
    const frozen = [fencerPid(), writer, sleeper]
    for (const each of frozen) process.kill(each, 'SIGSTOP')
    await eventually(() => uptimeMs() > deadlineMs + 500, WAIT)
    const thawedMs = uptimeMs()
    // The worst order: the writer runs before the fencer does.
    for (const each of [writer, sleeper, ...frozen.slice(0, 1)]) process.kill(each, 'SIGCONT')
    await gone(writer)
    const last = Number(readFileSync(log, 'utf8').trimEnd().split('\n').at(-1)?.split(' ')[0]) * 1000
    const wroteForMs = Math.max(0, Math.round(last - thawedMs))
    process.stdout.write(`  a thawed writer went on for ${wroteForMs} ms (to 10 ms)\n`)
    expect(wroteForMs).toBeLessThan(1_000)
  })

  it('acts when it was stopped over the end of the lease with what it guards', async () => {
    const { pid, deadlineMs } = await guarded(1_500)
    control.abort()
    const fencer = fencerPid()
    process.kill(fencer, 'SIGSTOP')
    process.kill(pid, 'SIGSTOP')
    const agents = createFencer(options())
    expect(agents.hasEnded()).toBe(true)
    await eventually(() => uptimeMs() > deadlineMs + 300, WAIT)
    expect(lives(pid)).toBe(true)
    // An agent that were granted a new lease now would let go on what may have been replaced.
    expect(agents.hasEnded()).toBe(false)
    process.kill(fencer, 'SIGCONT')
    await eventually(() => agents.hasEnded(), WAIT)
    await gone(pid)
  })
})
