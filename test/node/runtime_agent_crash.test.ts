/**
 * The agent is killed with SIGKILL at each step of its plan in turn, while pods come and go. DROVER_ROUNDS sets how many
 * are killed (100 and more visit every step several times).
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { SAMPLE_IMAGE } from '../../src/local/sample_image.ts'
import { listOf } from '../support/agent_containers.ts'
import { AgentNode, type AgentProcess, IDLE } from '../support/agent_node.ts'
import { ECHO, EchoClient } from '../support/echo_client.ts'
import { eventually } from '../support/eventually.ts'

const ROUNDS = Number(process.env.DROVER_ROUNDS ?? 6)
/** Calls that change the host in a round of adopting, making and removing, begun and ended. */
const MOMENTS = 60

let node: AgentNode
beforeAll(async () => {
  node = await AgentNode.create()
})
afterAll(() => node.remove())

/** With an init container, two containers and two volumes, so that the plan has many steps. */
async function createWork(name: string): Promise<void> {
  const container = (own: string, command: string[]) => ({
    name: own,
    image: SAMPLE_IMAGE,
    command,
    volumeMounts: [{ name: 'settings', mountPath: '/settings' }],
  })
  await node.createPod(name, {
    initContainers: [container('first', ['true'])],
    containers: [container('main', IDLE), container('aside', IDLE)],
    volumes: [
      { name: 'settings', configMap: { name: 'settings' } },
      { name: 'scratch', emptyDir: { medium: 'Memory' } },
    ],
  })
}

/** Two of one name that run at once. */
async function doubles(): Promise<string[]> {
  const running = (await listOf(node)).filter(({ phase }) => phase === 'running')
  const names = running.map(({ podUid, name }) => `${podUid}/${name}`)
  const monitors = node.monitors()
  return [
    ...names.filter((name, index) => names.indexOf(name) !== index),
    ...monitors.filter((id, index) => monitors.indexOf(id) !== index),
  ]
}

it(
  'an agent killed at any step loses, doubles and orphans nothing, and breaks no connection',
  async () => {
    let agent: AgentProcess = await node.startAgent()
    await node.harness.resources.create(configMapKind, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings', namespace: 'default' },
      data: { a: '1' },
    })
    await node.createPod('keeper', { container: { command: ECHO } })
    const keeper = await node.ready('keeper')
    const echo = new EchoClient(node.namespace, keeper.status?.podIP ?? '')
    await echo.check()
    const before = await node.inventory()
    await agent.kill()

    let kills = 0
    let over = false
    const agents = (async () => {
      while (!over) {
        const last = kills >= ROUNDS
        // In the first visits exactly between steps, then a little after, inside of them.
        const moment = 1 + ((kills * 11) % MOMENTS)
        const killAfterMs = kills < MOMENTS ? 0 : 1 + ((kills * 7) % 23)
        agent = await node.startAgent(last ? {} : { killAtMoment: moment, killAfterMs })
        await agent.exited
        if (!over) kills++
        expect(await doubles()).toEqual([])
      }
    })()
    agents.catch(() => undefined)
    try {
      for (let i = 0; kills < ROUNDS || i < 1; i++) {
        const name = `work-${i}`
        await createWork(name)
        await node.ready(name, 60_000)
        await node.deletePod(name)
        await node.gone(name, 60_000)
        await echo.check()
        await eventually(async () => expect(await node.inventory()).toEqual(before), { timeoutMs: 30_000 })
      }
    } finally {
      over = true
      await agent.kill()
    }
    await agents
    expect(await doubles()).toEqual([])
    const [now] = (await listOf(node)).filter(({ name }) => name === 'main')
    expect(now?.attempt).toBe(0)
    expect(node.pod('keeper')?.status?.containerStatuses?.[0]?.restartCount).toBe(0)
    await echo.check()
    echo.close()
  },
  60_000 + ROUNDS * 15_000,
)
