/**
 * Pods come and go by the hundred, and nothing of them stays: not on the host, not in the agent. DROVER_CYCLES sets how
 * many (10,000 take about half an hour).
 */
import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { AgentNode, type AgentProcess, commandLines, IDLE } from '../support/agent_node.ts'
import { eventually } from '../support/eventually.ts'

const CYCLES = Number(process.env.DROVER_CYCLES ?? 150)
/** Pods under way at once. */
const AT_ONCE = 20
/** The heap has found its size by then. */
const WARM_CYCLES = 40
const SAMPLE_EVERY = Math.max(1, Math.floor(CYCLES / 60))
/** Memory breathes by some megabytes, and a busy machine makes single samples high: the middles of these are compared. */
const LAST = 20
/** A heap goes on growing for some hundred pods before it has its size: a short run finds only a large leak a pod. */
const GROWTH_BYTES = (CYCLES >= 1_000 ? 12 : 40) << 20

let node: AgentNode
beforeAll(async () => {
  node = await AgentNode.create()
})
afterAll(() => node.remove())

/** What the agent's process holds, with the one that starts its programs. */
function held({ child }: AgentProcess) {
  const pid = child.pid ?? 0
  const helpers = commandLines().filter(({ pid: own }) => parentOf(own) === pid)
  const of = (own: number) => ({
    descriptors: readdirSync(`/proc/${own}/fd`).length,
    rssBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${own}/status`, 'utf8'))?.[1]) * 1024,
  })
  const helper = helpers[0]?.pid ?? pid
  const busy = commandLines().filter(({ pid: own }) => parentOf(own) === helper).length
  return { own: of(pid), helpers: helpers.length, helper: of(helper), busy }
}

/** What the helper keeps for more system calls goes a second after the last. */
async function quietly(agent: AgentProcess) {
  await eventually(() => expect(held(agent).busy).toBe(0), { timeoutMs: 10_000 })
  return held(agent)
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  } catch {
    return 0
  }
}

/** What the kernel counts of the whole machine, where a leak outside of our names would show. */
function machine() {
  const count = (path: string): number => {
    try {
      return readFileSync(path, 'utf8').split('\n').length
    } catch {
      return 0
    }
  }
  return { mounts: count('/proc/self/mountinfo') }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

async function cycle(name: string): Promise<void> {
  await node.createPod(name, {
    container: { command: IDLE, volumeMounts: [{ name: 'v', mountPath: '/v' }] },
    volumes: [{ name: 'v', emptyDir: { medium: 'Memory' } }],
  })
  await node.ready(name, 120_000)
  await node.deletePod(name)
  await node.gone(name, 120_000)
}

async function cycles(prefix: string, count: number, onEach: (done: number) => void = () => undefined): Promise<void> {
  let next = 0
  let done = 0
  const worker = async (): Promise<void> => {
    while (next < count) {
      await cycle(`${prefix}-${next++}`)
      onEach(++done)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

it(
  `${CYCLES} pods made and removed leave nothing`,
  async () => {
    const agent = await node.startAgent()
    await node.createPod('keeper')
    await node.ready('keeper')
    await cycles('warm', WARM_CYCLES)
    const before = await node.inventory()
    const settled = () => eventually(async () => expect(await node.inventory()).toEqual(before), { timeoutMs: 30_000 })
    await settled()
    const start = await quietly(agent)
    const machineBefore = machine()
    const startedMs = systemClock.monotonicMs()

    const rssBytes: number[] = []
    await cycles('pod', CYCLES, (done) => {
      if (done % SAMPLE_EVERY !== 0) return
      const { own } = held(agent)
      rssBytes.push(own.rssBytes)
      if (process.env.DROVER_CYCLES_LOG === undefined) return
      const line = { done, seconds: (systemClock.monotonicMs() - startedMs) / 1000, ...own }
      appendFileSync(process.env.DROVER_CYCLES_LOG, `${JSON.stringify(line)}\n`)
    })
    await settled()
    await eventually(() => expect(held(agent).own.descriptors).toBeLessThanOrEqual(start.own.descriptors + 2), {
      timeoutMs: 10_000,
    })
    const end = await quietly(agent)
    expect(end.helpers).toBe(start.helpers)
    expect(end.helper.descriptors).toBeLessThanOrEqual(start.helper.descriptors)
    expect(median(rssBytes.slice(-LAST))).toBeLessThan(median(rssBytes.slice(0, LAST)) + GROWTH_BYTES)
    expect(end.helper.rssBytes).toBeLessThan(start.helper.rssBytes + (4 << 20))
    // Others on the machine mount and unmount too: only a leak by the pod would show.
    expect(machine().mounts - machineBefore.mounts).toBeLessThan(CYCLES / 2)
  },
  120_000 + CYCLES * 1_000,
)
