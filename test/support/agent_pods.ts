/** An agent over the real container runtime and real volumes; pods on the host's network, an image made on the spot. */
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { AgentOptions } from '../../src/agent/agent.ts'
import type { Drivers } from '../../src/agent/context.ts'
import type { Image } from '../../src/agent/images/images.ts'
import { createVolumeDriver } from '../../src/agent/volumes/driver.ts'
import type { Container, ContainerStatus, Pod, PodStatus } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { mountsBelow } from '../../src/base/mountinfo.ts'
import { run } from '../../src/base/process.ts'
import { readText } from '../../src/base/records.ts'
import type { DispatchOptions } from '../../src/dispatch/dispatch.ts'
import { FakeHost, fakeDrivers } from './fake_drivers.ts'
import { addressOf, holds, SessionHarness } from './node_session.ts'
import type { RuntimeHost } from './runtime_host.ts'

/** Drivers of one agent; images and network are of the host in memory, for which every name stands for busybox. */
export async function busyboxDrivers(runtimeHost: RuntimeHost): Promise<Drivers> {
  const fake = fakeDrivers(new FakeHost())
  const image: Image = {
    id: 'sha256:busybox',
    digest: '',
    names: ['docker.io/library/busybox:1'],
    sizeBytes: 1,
    createdAt: '2026-01-01T00:00:00Z',
    config: {
      env: ['PATH=/bin'],
      entrypoint: [],
      cmd: ['/bin/sleep', '1000'],
      workingDirectory: '/',
      user: '',
      stopSignal: '',
      exposedPorts: [],
      labels: {},
    },
    layerDirectories: [runtimeHost.layer],
  }
  const volumes = createVolumeDriver({
    dataDir: join(runtimeHost.directory, 'data'),
    clock: systemClock,
    log: silentLogger,
  })
  return {
    runtime: await runtimeHost.again(),
    images: { ...fake.images, find: async () => image },
    network: fake.network,
    volumes,
    dns: fake.dns,
  }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** Waits out a busy machine. */
const PATIENCE_MS = 20_000

/** A dispatch and an agent in this process, and pods on them. */
export class AgentPods {
  readonly harness = new SessionHarness()
  readonly #runtimeHost: RuntimeHost

  constructor(runtimeHost: RuntimeHost) {
    this.#runtimeHost = runtimeHost
  }

  async open(
    options: (harness: SessionHarness) => Partial<DispatchOptions> = () => ({}),
    agentOptions: Partial<AgentOptions> = {},
  ) {
    await this.harness.open()
    const dispatch = await this.harness.startDispatch(options(this.harness))
    const agent = await this.startAgent(addressOf(dispatch), agentOptions)
    return { dispatch, agent }
  }

  /** Also what pods of a test that failed have left mounted. */
  async close(): Promise<void> {
    await this.harness.close()
    const { directory } = this.#runtimeHost
    for (const { id } of await this.#runtimeHost.driver.listContainers()) {
      await this.#runtimeHost.driver.removeContainer(id)
    }
    const mounts = mountsBelow(readText('/proc/self/mountinfo') ?? '', join(directory, 'data/v'))
    if (mounts.length > 0) await run('umount', ['-l', ...mounts])
  }

  async startAgent(address: string, options: Partial<AgentOptions> = {}) {
    return this.harness.startAgent('n1', await busyboxDrivers(this.#runtimeHost), address, options)
  }

  async run(
    name: string,
    container: Partial<Container>,
    spec: Partial<Pod['spec']> = {},
    metadata: Partial<Pod['metadata']> = {},
  ): Promise<void> {
    const own = (each: Partial<Container>): Container => ({
      name: 'app',
      image: 'busybox:1',
      imagePullPolicy: 'IfNotPresent',
      ...each,
    })
    const pod: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', ...metadata },
      spec: {
        hostNetwork: true,
        ...spec,
        containers: [own(container), ...(spec.containers ?? []).map(own)],
        initContainers: (spec.initContainers ?? []).map(own),
      },
    }
    await this.harness.resources.create(podKind, pod)
    await this.harness.resources.modify<Pod>(podKind, 'default', name, 'all', (object) => ({
      ...object,
      spec: { ...object.spec, nodeName: 'n1' },
    }))
  }

  status(name: string): PodStatus | undefined {
    return this.harness.resources.get(podKind, 'default', name)?.status
  }

  container(name: string, container = 'app'): ContainerStatus | undefined {
    const { initContainerStatuses = [], containerStatuses = [] } = this.status(name) ?? {}
    return [...initContainerStatuses, ...containerStatuses].find((status) => status.name === container)
  }

  isReady(name: string): boolean {
    return this.status(name)?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True'
  }

  /** Runs a program in a running container and gives back what it says. */
  async exec(name: string, command: readonly string[], container = 'app'): Promise<string> {
    const id = this.container(name, container)?.containerID?.replace('runc://', '') ?? ''
    const { exitCode, output } = await this.#runtimeHost.driver.execSync(id, command, PATIENCE_MS)
    return exitCode === 0 ? output.trim() : `exit ${exitCode}: ${output.trim()}`
  }

  ready(name: string): Promise<void> {
    return this.holds(() => expect(this.isReady(name), JSON.stringify(this.status(name))).toBe(true))
  }

  async remove(name: string, gracePeriodSeconds = 2): Promise<void> {
    await this.harness.resources.delete(podKind, 'default', name, { gracePeriodSeconds })
    await this.holds(() => expect(this.status(name)).toBeUndefined())
  }

  async holds(check: () => unknown): Promise<void> {
    await holds(check, PATIENCE_MS)
  }
}
