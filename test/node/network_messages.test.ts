/** What messages to the kernel make for a pod is what `ip` and `nft` would have made of the same words. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createGuard } from '../../src/agent/network/guard.ts'
import { BRIDGE } from '../../src/agent/network/names.ts'
import { portCommand } from '../../src/agent/network/plan_node.ts'
import { deleteLink, makePodLink, type PodLink } from '../../src/agent/network/pod_link_messages.ts'
import { createPrograms, type Programs } from '../../src/agent/network/programs.ts'
import { silentLogger } from '../../src/base/log.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'

const ID = (process.pid % 0xffff).toString(16)
const LINK: PodLink = {
  name: 'dv0123456789ab',
  alias: 'pod 00000000-0000-4000-8000-000000000001 10.244.1.5',
  bridge: BRIDGE,
  mtu: 1450,
  mac: '0a:58:0a:f4:01:05',
  address: '10.244.1.5',
  gateway: '10.244.1.1',
  isolated: true,
}

let host: TestNamespace
let pod: TestNamespace
let programs: Programs

beforeAll(async () => {
  host = await createNamespace(`drvt${ID}-linkhost`)
  pod = await createNamespace(`drvt${ID}-linkpod`)
  programs = createPrograms(host.path)
  await programs.ip([`link add ${BRIDGE} address 0a:58:0a:f4:01:01 type bridge`, `link set dev ${BRIDGE} up`])
})

afterAll(async () => {
  await pod.remove()
  await host.remove()
})

async function makeByProgram({ name, alias, bridge, mtu, mac, address, gateway, isolated }: PodLink): Promise<void> {
  await programs.ip([
    `link add ${name} mtu ${mtu} type veth peer name eth0 address ${mac} mtu ${mtu} netns ${pod.path}`,
    `link set dev ${name} alias "${alias}" addrgenmode none master ${bridge} up`,
    portCommand(name, isolated),
  ])
  await programs.ipIn(pod.path, [
    'link set dev lo up',
    `addr add ${address}/32 dev eth0`,
    'link set dev eth0 up',
    `route add ${gateway} dev eth0 scope link`,
    `route add default via ${gateway} dev eth0`,
  ])
}

/** All that `ip` tells of both ends, without what is another with each interface. */
async function look(): Promise<unknown> {
  const inside = (...args: string[]) => programs.jsonIn(pod.path, 'ip', ['-j', '-d', ...args])
  const told = await Promise.all([
    programs.json('ip', ['-j', '-d', 'link', 'show', 'dev', LINK.name]),
    inside('addr', 'show'),
    inside('route', 'show', 'table', 'all'),
  ])
  const ofEach = [
    'ifindex',
    'link_index',
    'link_netnsid',
    'hello_timer',
    'message_age_timer',
    'hold_timer',
    'forward_delay_timer',
  ]
  return JSON.parse(
    JSON.stringify(told, (key, value: unknown) => {
      // A veth end's own address is random on the host, and the port's number follows the order.
      if (ofEach.includes(key) || key === 'no' || key === 'id' || (key === 'address' && value !== LINK.mac))
        return undefined
      return value
    }),
  )
}

describe("a pod's interface", () => {
  it('is what the program would make, inside and outside', async () => {
    await makeByProgram(LINK)
    const wanted = await look()
    expect(JSON.stringify(wanted)).toContain('"isolated":true')
    await programs.calls([deleteLink(LINK.name)])
    await expect(look()).rejects.toThrow('does not exist')
    await programs.calls(makePodLink(LINK, pod.path))
    expect(await look()).toEqual(wanted)
  })

  it('is not made twice, and what is refused is named', async () => {
    await expect(programs.calls(makePodLink(LINK, pod.path))).rejects.toThrow(`add link ${LINK.name}: File exists`)
    await programs.calls([deleteLink(LINK.name)])
    await expect(programs.calls([deleteLink(LINK.name)])).rejects.toThrow(`delete link ${LINK.name}: No such device`)
    await expect(programs.calls(makePodLink({ ...LINK, bridge: 'nowhere' }, pod.path))).rejects.toThrow(
      `set link ${LINK.name} master nowhere: No such device`,
    )
  })
})

describe("the guard's elements", () => {
  it('come and go by messages alone once the table is there, and are what `nft` would have written', async () => {
    let held: Record<string, string> = { first: '10.244.1.2' }
    let scripts = 0
    const nft = async (script: string): Promise<void> => {
      scripts++
      await programs.nft(script)
    }
    const guard = createGuard({ programs: { ...programs, nft }, log: silentLogger, held: () => held })
    await guard.ensure()
    expect(scripts).toBe(1)
    for (const next of [
      { first: '10.244.1.2', second: '10.244.1.3' },
      { second: '10.244.1.4', third: '10.244.1.2' },
      Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`pod-${i}`, `10.244.1.${i + 10}`])),
      {},
    ]) {
      held = next
      await guard.ensure()
      expect(await guard.missing()).toBe('')
    }
    expect(scripts).toBe(1)
  })

  it('are compared with the kernel when it refuses them', async () => {
    let held: Record<string, string> = { first: '10.244.1.2' }
    const guard = createGuard({ programs, log: silentLogger, held: () => held })
    await guard.ensure()
    await programs.nft('flush set bridge drover pods\n')
    held = { second: '10.244.1.3' }
    await guard.ensure()
    expect(await guard.missing()).toBe('')
  })
})
