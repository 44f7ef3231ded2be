/** Down leaves what it should, `--purge` leaves nothing, and clusters by name do not mind each other. */
import { afterAll, describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { LocalCluster, output } from '../support/local_cluster.ts'
import { machineState } from '../support/machine_state.ts'

const first = new LocalCluster()
const second = new LocalCluster()

afterAll(async () => {
  await first.remove()
  await second.remove()
})

const curl = (cluster: LocalCluster): Promise<string> =>
  output('curl', ['-sS', '--max-time', '5', `http://${cluster.hostAddress(1)}:30080/`])

describe('a local cluster', () => {
  it('stands beside another, stops, comes back with its state, and goes without a trace', async () => {
    const marks = [first.name, second.name]
    const before = await machineState(marks)
    await first.start('--nodes', '2', '--sample')
    await second.start('--nodes', '1', '--sample')
    expect(await curl(first)).toContain(`on ${first.name}-`)
    expect(await curl(second)).toContain(`on ${second.name}-1`)

    expect((await first.down()).code).toBe(0)
    expect((await machineState([first.name])).processes).toEqual([])
    expect(await curl(second)).toContain(`on ${second.name}-1`)
    const again = await first.start()
    expect(again.stderr).toContain('2/2 ready')
    // Ready is not only what was stored before: each node answers.
    const { items } = JSON.parse(await first.ask('image', 'ls', '-o', 'json')) as { items: { node: string }[] }
    expect(items.map(({ node }) => node).sort()).toEqual([`${first.name}-1`, `${first.name}-2`])
    await first.ask('rollout', 'status', 'deploy/hello', '--timeout', '60')
    await eventually(async () => (await curl(first)).includes(`on ${first.name}-`), { timeoutMs: 30_000 })

    expect((await first.down('--purge')).code).toBe(0)
    expect((await second.down('--purge')).code).toBe(0)
    expect(await machineState(marks)).toEqual(before)
  })
})
