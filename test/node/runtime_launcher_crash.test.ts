/**
 * What starts programs for the agent is killed at any moment of pods' starts and ends. The agent goes on, and what was
 * under way in the helper's hands, which may come to life after the agent has given it up, is found. DROVER_ROUNDS sets
 * how often.
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { SAMPLE_IMAGE } from '../../src/local/sample_image.ts'
import { listOf } from '../support/agent_containers.ts'
import { AgentNode, IDLE } from '../support/agent_node.ts'
import { eventually } from '../support/eventually.ts'
import { killLauncher, launcherOf } from '../support/launchers.ts'

const ROUNDS = Number(process.env.DROVER_ROUNDS ?? 10)
/** A pod's start takes about this long here; the moments are spread over it. */
const SPAN_MS = 120

let node: AgentNode
beforeAll(async () => {
  node = await AgentNode.create()
})
afterAll(() => node.remove())

it(
  'a helper that is killed at any moment costs no pod, and what it was making does not stay',
  async () => {
    const agent = await node.startAgent()
    const agentPid = agent.child.pid ?? 0
    const killHelper = async (): Promise<void> => {
      await eventually(() => killLauncher(agentPid), { timeoutMs: 20_000 })
    }
    await node.createPod('keeper')
    await node.ready('keeper')
    const before = await node.inventory()
    for (let round = 0; round < ROUNDS; round++) {
      const name = `work-${round}`
      const momentMs = (round * SPAN_MS) / ROUNDS
      await eventually(() => launcherOf(agentPid), { timeoutMs: 20_000 })
      await node.createPod(name, {
        containers: ['main', 'aside'].map((own) => ({ name: own, command: IDLE, image: SAMPLE_IMAGE })),
      })
      await sleep(systemClock, momentMs)
      await killHelper()
      await node.ready(name, 60_000)
      const running = (await listOf(node)).filter(({ phase }) => phase === 'running').map(({ name }) => name)
      expect(running.sort()).toEqual(['aside', 'main', 'main'])
      await node.deletePod(name)
      await sleep(systemClock, momentMs / 2)
      await killHelper()
      await node.gone(name, 60_000)
      await eventually(async () => expect(await node.inventory()).toEqual(before), { timeoutMs: 30_000 })
    }
    expect(agent.child.exitCode).toBeNull()
    expect(node.pod('keeper')?.status?.containerStatuses?.[0]?.restartCount).toBe(0)
  },
  60_000 + ROUNDS * 30_000,
)
