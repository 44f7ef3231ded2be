/** What an agent's upgrade and a host's reboot leave of its pods. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { nodeKind } from '../../src/api/node.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { SAMPLE_IMAGE } from '../../src/local/sample_image.ts'
import { listOf } from '../support/agent_containers.ts'
import { AgentNode, emptyRunDirectory } from '../support/agent_node.ts'
import { ECHO, EchoClient } from '../support/echo_client.ts'
import { eventually } from '../support/eventually.ts'
import { holds } from '../support/node_session.ts'

let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.create()
})
afterEach(() => node.remove())

const versionOf = () => node.harness.resources.get(nodeKind, '', 'n1')?.status?.nodeInfo?.kubeletVersion

async function logsOf(pod: string): Promise<string> {
  const request = { namespace: 'default', pod, container: 'main' }
  const stream = await node.dispatch.gateway.open('n1', 'logs', request, new AbortController().signal)
  stream.end()
  let text = ''
  for await (const { channel, data } of stream.frames) if (channel === CHANNEL.stdout) text += Buffer.from(data)
  return text
}

it.each(['SIGTERM', 'SIGKILL'] as const)('an agent is upgraded in place, ended by %s', async (signal) => {
  const old = await node.startAgent({ version: 'v1.0.0' })
  await node.createPod('echo', { container: { command: ECHO } })
  await node.createPod('counting', {
    container: { command: ['sh', '-c', 'i=0; while true; do i=$((i + 1)); echo $i; sleep 0.05; done'] },
  })
  await node.ready('counting')
  const { podIP = '' } = (await node.ready('echo')).status ?? {}
  await eventually(() => expect(versionOf()).toBe('v1.0.0'))
  const client = new EchoClient(node.namespace, podIP)
  try {
    await client.check()
    const before = await listOf(node)
    const inventory = await node.inventory()
    const statuses = ['echo', 'counting'].map((name) => node.pod(name)?.status)

    await old.kill(signal)
    await client.check()
    await node.startAgent({ version: 'v1.1.0' })
    await eventually(() => expect(versionOf()).toBe('v1.1.0'), { timeoutMs: 20_000 })
    await client.check()
    // It must have looked at all pods before what it left alone means anything: it takes a new one.
    await node.createPod('later')
    await node.ready('later')

    const after = (await listOf(node)).filter(({ podUid }) => podUid !== node.pod('later')?.metadata.uid)
    expect(after).toEqual(before)
    expect(['echo', 'counting'].map((name) => node.pod(name)?.status)).toEqual(statuses)
    await node.deletePod('later')
    await node.gone('later')
    await eventually(async () => expect(await node.inventory()).toEqual(inventory), { timeoutMs: 20_000 })
    // Not a line was lost between the two.
    const lines = (await logsOf('counting')).trim().split('\n').map(Number)
    expect(lines.length).toBeGreaterThan(3)
    expect(lines).toEqual(lines.map((_, index) => index + 1))
    await client.check()
  } finally {
    client.close()
  }
})

it('after a reboot every pod runs again on what the disk kept', async () => {
  // A mount namespace of its own plays the machine: when its last process ends, all mounts and namespaces are gone.
  const boot = (id: string): string[] => {
    const path = join(node.directory, 'boot-id')
    writeFileSync(path, `${id}\n`)
    const script = `mount --bind ${path} /proc/sys/kernel/random/boot_id && exec "$@"`
    return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'boot']
  }
  const kept = join(node.directory, 'kept')
  mkdirSync(kept)
  const first = await node.startAgent({ enter: boot('11111111-0000-4000-8000-000000000001') })
  const volume = { name: 'scratch', emptyDir: {} }
  await node.createPod('data', {
    initContainers: [
      {
        name: 'first',
        image: SAMPLE_IMAGE,
        command: ['sh', '-c', 'echo init >> /kept/log'],
        volumeMounts: [{ name: 'kept', mountPath: '/kept' }],
      },
    ],
    container: {
      command: [
        'sh',
        '-c',
        'was=$(cat /scratch/note); echo written > /scratch/note; echo $was >> /kept/log; trap "exit 0" TERM; sleep 1000000 & wait',
      ],
      volumeMounts: [
        { name: 'scratch', mountPath: '/scratch' },
        { name: 'kept', mountPath: '/kept' },
      ],
    },
    volumes: [volume, { name: 'kept', hostPath: { path: kept } }],
  })
  await node.createPod('going')
  await node.ready('data')
  await node.ready('going')
  const log = (text: string) => holds(async () => expect(await readFile(join(kept, 'log'), 'utf8')).toBe(text))
  await log('init\n\n')

  await first.kill()
  // Wanted no more while the machine was off.
  await node.deletePod('going')
  await node.killContainers()
  emptyRunDirectory(node)
  await node.makeNamespace()
  expect(await node.inventory()).not.toEqual(expect.arrayContaining([expect.stringMatching(/^(mount|cgroup|monitor)/)]))

  await node.startAgent({ enter: boot('22222222-0000-4000-8000-000000000002') })
  await holds(() => {
    const status = node.pod('data')?.status?.containerStatuses?.[0]
    expect(status).toMatchObject({ restartCount: 1, ready: true })
    expect(status?.lastState?.terminated).toBeDefined()
  }, 30_000)
  // What the volume held is there still, and nothing runs twice.
  await log('init\n\nwritten\n')
  await node.gone('going')
  expect(node.monitors()).toHaveLength(1)
  const { podIP = '' } = node.pod('data')?.status ?? {}
  const ping = await node.namespace.exec(['busybox', 'ping', '-c', '1', '-W', '3', podIP])
  expect(ping.exitCode).toBe(0)
  await node.deletePod('data')
  await node.gone('data')
  expect(await node.inventory()).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/^(cgroup|monitor|address|data\/|run\/)/)]),
  )
})
