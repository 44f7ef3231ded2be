/** What a container uses, on the agent's /metrics under cAdvisor's names, while it does so: numbers of a real kernel. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { DiskUse } from '../../src/agent/usage/disk_use.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { readText } from '../../src/base/records.ts'
import { SAMPLE_IMAGE } from '../../src/local/sample_image.ts'
import { AgentNode } from '../support/agent_node.ts'
import { freePort } from '../support/agent_pods.ts'
import { eventually } from '../support/eventually.ts'

const MiB = 2 ** 20
let node: AgentNode
let port: number
beforeAll(async () => {
  node = await AgentNode.create()
  port = await freePort()
  await node.startAgent({ httpPort: port })
})
afterAll(() => node.remove())

interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

/** What a scrape gives, in Prometheus' text form. */
async function scrape(): Promise<Sample[]> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  return text.split('\n').flatMap((line): Sample[] => {
    const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (name === undefined) return []
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', text = '']) => [key, text])
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }]
  })
}

it('tells processor, memory, network, disk and pressure of each container and pod, and nothing once they are gone', async () => {
  // It writes past the cache, works until its limit stops it, and is two processes.
  const script = ['dd if=/dev/zero of=/file bs=1048576 count=2 conv=fsync', 'sleep 1000 & while true; do :; done'].join(
    '; ',
  )
  await node.createPod('busy', {
    container: { command: ['sh', '-c', script], resources: { limits: { cpu: '100m', memory: '64Mi' } } },
  })
  const { metadata, status } = await node.ready('busy')
  const ping = ['busybox', 'ping', '-q', '-i', '0.05', '-c', '10', '-s', '1000', status?.podIP ?? '']
  expect((await node.namespace.exec(ping)).exitCode).toBe(0)

  const own = (samples: readonly Sample[]) =>
    samples.filter(({ labels }) => labels.pod === 'busy' && labels.namespace === 'default')
  const valueIn = (samples: readonly Sample[], name: string): number => {
    const found = own(samples).filter((sample) => sample.name === name)
    expect(found, name).toHaveLength(1)
    return found[0]?.value ?? Number.NaN
  }
  const samples = await eventually(
    async () => {
      const now = await scrape()
      const throttled = valueIn(now, 'container_cpu_cfs_throttled_seconds_total')
      return valueIn(now, 'container_cpu_usage_seconds_total') > 0.2 && throttled > 0.2 ? now : undefined
    },
    { timeoutMs: 30_000 },
  )
  const value = (name: string): number => valueIn(samples, name)

  const cpu = own(samples).find(({ name }) => name === 'container_cpu_usage_seconds_total')
  const id = status?.containerStatuses?.[0]?.containerID?.replace('runc://', '') ?? ''
  expect(cpu?.labels).toEqual({
    container: 'main',
    id: `${node.cgroupParent}/${metadata.uid}/${id}`,
    image: SAMPLE_IMAGE,
    name: id,
    namespace: 'default',
    pod: 'busy',
  })
  const memory = value('container_memory_usage_bytes')
  expect(memory).toBeGreaterThan(MiB / 10)
  expect(memory).toBeLessThanOrEqual(64 * MiB)
  for (const part of ['working_set_bytes', 'rss', 'cache']) {
    expect(value(`container_memory_${part}`)).toBeGreaterThan(0)
    expect(value(`container_memory_${part}`)).toBeLessThanOrEqual(memory)
  }
  expect(value('container_processes')).toBe(2)
  expect(value('container_cpu_cfs_throttled_periods_total')).toBeLessThanOrEqual(
    value('container_cpu_cfs_periods_total'),
  )
  const startedMs = Date.parse(status?.containerStatuses?.[0]?.state?.running?.startedAt ?? '')
  expect(Math.abs(value('container_start_time_seconds') - startedMs / 1_000)).toBeLessThanOrEqual(1)
  // Of a file system in memory no disk hears.
  expect(value('container_fs_writes_bytes_total')).toBeGreaterThanOrEqual(0)

  // Ten questions and ten answers of 1,000 bytes and their headers.
  for (const direction of ['receive', 'transmit']) {
    expect(value(`container_network_${direction}_packets_total`)).toBeGreaterThanOrEqual(10)
    expect(value(`container_network_${direction}_bytes_total`)).toBeGreaterThanOrEqual(10_280)
    expect(value(`container_network_${direction}_errors_total`)).toBe(0)
    expect(value(`container_network_${direction}_packets_dropped_total`)).toBe(0)
  }
  // Kernels that tell of pressure do so of every cgroup of the second version, beside those of the first, too.
  if (readText('/proc/pressure/cpu') !== undefined && readText('/proc/self/cgroup')?.includes('0::') === true) {
    for (const what of ['cpu', 'memory', 'io']) {
      for (const how of ['waiting', 'stalled']) value(`container_pressure_${what}_${how}_seconds_total`)
    }
    // It waits for its limit most of the time.
    expect(value('container_pressure_cpu_waiting_seconds_total')).toBeGreaterThan(0.1)
  }
  expect(samples).toContainEqual({ name: 'machine_cpu_cores', labels: {}, value: expect.any(Number) })

  await node.deletePod('busy')
  await node.gone('busy')
  await eventually(async () => expect(own(await scrape())).toEqual([]), { timeoutMs: 10_000 })
})

it('counts what a container has written to its own layer', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'drvt-disk-'))
  try {
    for (const name of ['a', 'b']) mkdirSync(join(directory, name))
    writeFileSync(join(directory, 'a/file'), Buffer.alloc(3 * MiB, 1))
    const layers = new Map(['a', 'b', 'gone'].map((name) => [name, join(directory, name)]))
    const disk = new DiskUse({ clock: systemClock, log: silentLogger, layers: async () => layers })
    expect(disk.bytesOf('a')).toBeUndefined()
    await disk.walk()
    expect(disk.bytesOf('a')).toBeGreaterThanOrEqual(3 * MiB)
    expect(disk.bytesOf('b')).toBeLessThan(MiB)
    expect(disk.bytesOf('gone')).toBeUndefined()
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
