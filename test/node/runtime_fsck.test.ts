/** Damage of each kind is planted on a node under its agent; the node's check finds it, and mends it when asked to. */
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { podLink } from '../../src/agent/network/names.ts'
import { run, runOk } from '../../src/base/process.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import type { NodeDamage } from '../../src/rpc/tables.ts'
import { listOf } from '../support/agent_containers.ts'
import { AgentNode, commandLines } from '../support/agent_node.ts'
import { ECHO, EchoClient } from '../support/echo_client.ts'
import { eventually } from '../support/eventually.ts'

let node: AgentNode
let uid = ''
let client: EchoClient
beforeAll(async () => {
  node = await AgentNode.create()
  await node.startAgent()
  await node.createPod('keeper', { container: { command: ECHO } })
  const { metadata, status } = await node.ready('keeper')
  uid = metadata.uid ?? ''
  client = new EchoClient(node.namespace, status?.podIP ?? '')
  await client.check()
})
afterAll(async () => {
  client.close()
  await node.remove()
})

async function fsck(repair: boolean): Promise<NodeDamage[]> {
  const stream = await node.dispatch.gateway.open('n1', 'nodeFsck', { repair }, new AbortController().signal)
  stream.end()
  let text = ''
  for await (const { channel, data } of stream.frames) if (channel === CHANNEL.stdout) text += Buffer.from(data)
  return JSON.parse(text) as NodeDamage[]
}

/** Ports of the planted interfaces differ too, until the agent itself has seen to them. */
const parts = (damage: readonly NodeDamage[]) =>
  damage
    .filter(({ part }) => part !== 'network')
    .map(({ part, subject }) => `${part} ${subject}`)
    .sort()

it('finds nothing on a node that is well', async () => {
  expect(await fsck(false)).toEqual([])
  expect(await fsck(true)).toEqual([])
})

it('finds damage of each kind without touching it, mends it, and leaves what is well alone', async () => {
  const before = await node.inventory()
  const [keeper] = await listOf(node)
  if (keeper === undefined) throw new Error('the pod has no container')
  const run_ = (name: string) => join(node.directory, 'run', name)

  // A container, its overlay and its cgroup, of a pod that nobody knows.
  const orphan = join(node.directory, 'data/c/orphan-0')
  mkdirSync(join(orphan, 'rootfs'), { recursive: true })
  const meta = { id: 'orphan-0', podUid: 'nobody', name: 'main', attempt: 0, annotations: {}, tty: false, stdin: false }
  writeFileSync(join(orphan, 'meta.json'), JSON.stringify(meta))
  await runOk('mount', ['-t', 'tmpfs', 'drvt', join(orphan, 'rootfs')])
  mkdirSync(join(node.directory, 'data/v/forgotten/volumes/x'), { recursive: true })
  // A mount where no container is, a half-made directory, and files of none.
  const bare = join(node.directory, 'data/c/bare')
  mkdirSync(bare)
  await runOk('mount', ['-t', 'tmpfs', 'drvt', bare])
  mkdirSync(join(node.directory, 'data/c/.new-x'))
  writeFileSync(run_('exits/ghost-1'), '0')
  mkdirSync(run_('c/ghost-1'))
  // cgroups of nobody, one with a process in it.
  const [root = ''] = node.cgroups().map((path) => path.slice(0, path.indexOf(node.cgroupParent)))
  const parent = join(root, node.cgroupParent)
  mkdirSync(join(parent, 'nobodys/inner'), { recursive: true })
  mkdirSync(join(parent, uid, 'none-7'))
  const sleeper = node.namespace.start(['sleep', '1000'])
  await writeFile(join(parent, 'nobodys/inner/cgroup.procs'), String(sleeper.pid))
  // A monitor of a container that is not there.
  const exits = run_('exits')
  const fake = join(node.directory, 'conmon-fake')
  cpSync('/bin/busybox', join(node.directory, 'busybox'))
  writeFileSync(fake, 'while true; do sleep 1000; done')
  const monitor = node.namespace.start([
    join(node.directory, 'busybox'),
    'sh',
    fake,
    `--exit-dir=${exits}`,
    '--cid=lost-3',
  ])
  // Namespaces that nothing holds any more but the pod's processes, and its shared memory.
  const pins = ['net', 'uts', 'shm'].map((name) => run_(`s/${uid}/${name}`))
  await runOk('umount', ['-l', ...pins])
  // Interfaces: one of nobody, one without a name, and the pod's own changed inside.
  const host = ['-n', basename(node.directory)]
  await runOk('ip', [...host, 'link', 'add', 'dv00000000000a', 'type', 'veth', 'peer', 'name', 'drvt-a'])
  await runOk('ip', [...host, 'link', 'add', podLink('nobody2'), 'type', 'veth', 'peer', 'name', 'drvt-b'])
  await runOk('ip', [...host, 'link', 'set', podLink('nobody2'), 'alias', 'pod nobody2 10.244.0.77'])
  await runOk('nsenter', [`--net=/proc/${keeper.pid}/ns/net`, 'ip', 'route', 'del', 'default'])

  const found = await fsck(false)
  expect(found.every(({ mended }) => mended === undefined)).toBe(true)
  const expected = [
    'addresses interface dv00000000000a',
    `addresses interface of pod ${uid}`,
    'cgroups nobodys',
    `cgroups ${uid}/none-7`,
    'containers .new-x',
    'containers bare',
    'containers pod forgotten',
    'containers pod nobody',
    'containers pod nobody2',
    `files ${run_('c/ghost-1')}`,
    `files ${run_('exits/ghost-1')}`,
    `mounts ${bare}`,
    `mounts shared memory of pod ${uid}`,
    `namespaces net of pod ${uid}`,
    `namespaces uts of pod ${uid}`,
    `processes ${monitor.pid}`,
  ]
  expect(parts(found)).toEqual(expected.sort())

  const mended = await fsck(true)
  expect(mended.filter((damage) => damage.mended !== true)).toEqual([])
  expect(parts(mended)).toEqual(expected)
  expect(await fsck(false)).toEqual([])
  expect(await node.inventory()).toEqual(before)
  expect((await listOf(node)).map(({ pid, id }) => ({ pid, id }))).toEqual([{ pid: keeper.pid, id: keeper.id }])
  expect(commandLines().some(({ pid }) => pid === sleeper.pid || pid === monitor.pid)).toBe(false)
  // What was pinned again is what the pod lives in, and its connection has lived through it all.
  const own = await run('stat', ['-Lc', '%i', run_(`s/${uid}/net`), `/proc/${keeper.pid}/ns/net`])
  expect(new Set(own.stdout.trim().split('\n')).size).toBe(1)
  rmSync(fake)
})

it('knows who holds the process namespace that a pod shares: a copy and an orphan go, a lost pin comes back', async () => {
  await node.createPod('sharer', { shareProcessNamespace: true })
  const { metadata } = await node.ready('sharer')
  const own = join(node.directory, 'run/s', metadata.uid ?? '', 'pid')
  expect(await fsck(false)).toEqual([])
  const before = (await run('stat', ['-Lc', '%i', own])).stdout
  const plant = (pin: string) => node.namespace.start(['env', `DROVER_PID_NAMESPACE=${pin}`, 'sleep', '1000'])
  const copy = plant(own)
  const orphan = plant(join(node.directory, 'run/s/nobody3/pid'))
  // Of another node of this machine.
  const others = plant('/run/drvt-other/s/nobody3/pid')
  await runOk('umount', ['-l', own])
  const damage = [`namespaces pid of pod ${metadata.uid}`, `processes ${copy.pid}`, `processes ${orphan.pid}`].sort()
  expect(parts(await fsck(false))).toEqual(damage)
  const mended = await fsck(true)
  expect(mended.filter((each) => each.mended !== true)).toEqual([])
  expect(await fsck(false)).toEqual([])
  expect((await run('stat', ['-Lc', '%i', own])).stdout).toBe(before)
  const alive = commandLines().map(({ pid }) => pid)
  expect([copy, orphan, others].map(({ pid }) => alive.includes(pid ?? 0))).toEqual([false, false, true])
  others.kill('SIGKILL')
})

it('tells of rules and devices that somebody changed, before the agent has seen to them', async () => {
  for (const [damage, words] of [
    [['nft', 'flush', 'chain', 'ip', 'drover', 'prerouting'], /rule|table|service/],
    [['ip', 'link', 'del', 'drover.vx'], /drover\.vx|device|link|peer/],
  ] as const) {
    // The agent looks every two seconds, too: when it was first, there is nothing to tell and it is broken again.
    const told = await eventually(
      async () => {
        await node.namespace.exec([...damage])
        return (await fsck(false)).find(({ part }) => part === 'network')
      },
      { timeoutMs: 30_000 },
    )
    expect(`${told.subject} ${told.problem}`).toMatch(words)
    expect(told.mended).toBeUndefined()
    await eventually(async () => expect(await fsck(true)).toEqual([]), { timeoutMs: 20_000 })
  }
})

it('rules and devices that somebody changed come back, by the check or by the agent before it', async () => {
  const list = async () => (await node.namespace.exec(['nft', 'list', 'ruleset'])).stdout
  const before = await list()
  await node.namespace.exec(['nft', 'flush', 'table', 'ip', 'drover'])
  await node.namespace.exec(['ip', 'link', 'del', 'drover.vx'])
  await fsck(true)
  expect(await fsck(false)).toEqual([])
  expect(await list()).toBe(before)
  expect((await node.namespace.exec(['ip', 'link', 'show', 'drover.vx'])).exitCode).toBe(0)
  expect(await readFile(join(node.directory, 'agent.log'), 'utf8')).not.toContain('"level":"error"')
})
