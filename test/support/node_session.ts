/** A control plane's end of node sessions on the memory store, and agents on hosts in memory, joined by real gRPC. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Agent, type AgentOptions, createAgent } from '../../src/agent/agent.ts'
import type { Drivers } from '../../src/agent/context.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { nodeKind } from '../../src/api/node.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { type CertificateAndKey, createCa, issueCertificate } from '../../src/base/pki.ts'
import { systemRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { createDispatch, type Dispatch, type DispatchOptions } from '../../src/dispatch/dispatch.ts'
import { createResources } from '../../src/resources/create.ts'
import type { Resources } from '../../src/resources/resources.ts'
import type { ClusterConfig } from '../../src/rpc/tables.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Fence, Store } from '../../src/store/store.ts'
import { eventually } from './eventually.ts'
import { FakeHost, fakeDrivers } from './fake_drivers.ts'

const HOUR_MS = 3_600_000

export const CLUSTER: ClusterConfig = {
  clusterName: 'drvt',
  clusterCidr: '10.244.0.0/16',
  serviceCidr: '10.96.0.0/16',
  nodePortRange: { from: 30_000, to: 32_767 },
  clusterDomain: 'cluster.local',
}

export interface Stoppable {
  stop(): Promise<void>
}

export interface RecordedEvent {
  kind: string
  name: string
  reason: string
  message: string
}

/** Everything a test starts, ended in reverse order by `close`. */
export class SessionHarness {
  readonly events: RecordedEvent[] = []
  readonly #stops: (() => Promise<void>)[] = []
  #ca: CertificateAndKey | undefined
  #resources: Resources | undefined
  #store: Store | undefined

  get resources(): Resources {
    if (this.#resources === undefined) throw new Error('open the harness first')
    return this.#resources
  }

  get ca(): CertificateAndKey {
    if (this.#ca === undefined) throw new Error('open the harness first')
    return this.#ca
  }

  async open(): Promise<void> {
    this.#ca = await createCa('drvt', { clock: systemClock })
    const store = createMemoryStore({ clock: systemClock })
    this.#store = store
    const resources = createResources({
      store,
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
      serviceCidr: CLUSTER.serviceCidr,
      nodePortRange: CLUSTER.nodePortRange,
    })
    this.#resources = resources
    this.#start([resources])
    await resources.ready()
    await resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } })
  }

  /** Leadership, for tests that run a controller. */
  async fence(): Promise<Fence> {
    if (this.#store === undefined) throw new Error('open the harness first')
    return (await this.#store.campaign('/test/leader', 'test', new AbortController().signal)).fence
  }

  async close(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop()
  }

  async startDispatch(options: Partial<DispatchOptions> = {}): Promise<Dispatch & Stoppable> {
    const dispatch = createDispatch({
      resources: this.resources,
      events: {
        record: (about, _type, reason, message) => {
          this.events.push({ kind: about.kind, name: about.metadata.name ?? '', reason, message })
        },
      },
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
      registry: new Registry(),
      listen: { host: '127.0.0.1', port: 0 },
      tls: await this.certificate('drvt-server', []),
      cluster: CLUSTER,
      serverId: 'server-1',
      heartbeatIntervalMs: 100,
      notReadyAfterMs: 600,
      ...options,
    })
    const stop = this.#start([dispatch.service])
    await eventually(() => dispatch.address())
    return { ...dispatch, stop }
  }

  async startAgent(
    nodeName: string,
    on: FakeHost | Drivers,
    addresses: string | string[],
    options: Partial<AgentOptions> = {},
  ): Promise<Agent & Stoppable> {
    const dataDir = await mkdtemp(join(tmpdir(), 'drvt-agent-'))
    const agent = createAgent({
      nodeName,
      server: { address: addresses },
      tls: await this.nodeCertificate(nodeName),
      drivers: on instanceof FakeHost ? fakeDrivers(on) : on,
      dataDir,
      nodeAddress: '127.0.0.1',
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
      registry: new Registry(),
      version: 'v0.0.0-test',
      http: { host: '127.0.0.1', port: 0 },
      ...options,
    })
    const stopServices = this.#start([agent.service])
    const stop = async (): Promise<void> => {
      await stopServices()
      await rm(dataDir, { recursive: true, force: true })
    }
    this.#stops.push(stop)
    return { ...agent, stop }
  }

  nodeCertificate(nodeName: string) {
    return this.certificate(`system:node:${nodeName}`, ['system:nodes'])
  }

  async certificate(commonName: string, organizations: string[]) {
    if (this.#ca === undefined) throw new Error('open the harness first')
    const issued = await issueCertificate(this.#ca, {
      commonName,
      organizations,
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1'],
      usages: ['server', 'client'],
      validityMs: HOUR_MS,
      clock: systemClock,
    })
    return { ca: this.#ca.certPem, cert: issued.certPem, key: issued.keyPem }
  }

  /** Plays the node lifecycle controller. */
  async giveCidr(nodeName: string, podCIDR = '10.244.0.0/24'): Promise<void> {
    await eventually(() => this.resources.get(nodeKind, '', nodeName))
    await this.resources.modify(nodeKind, '', nodeName, 'main', (node) => ({
      ...node,
      spec: { ...node.spec, podCIDR },
    }))
  }

  #start(services: Parameters<typeof runServices>[0]): () => Promise<void> {
    const control = new AbortController()
    const done = runServices(services, { clock: systemClock, random: systemRandom, log: silentLogger }, control.signal)
    const stop = async (): Promise<void> => {
      control.abort()
      await done
    }
    this.#stops.push(stop)
    return stop
  }
}

export function addressOf(dispatch: Dispatch): string {
  const { host, port } = dispatch.address()
  return `${host}:${port}`
}

/** `eventually` for assertions: holds when they no longer throw. */
export async function holds(check: () => unknown, timeoutMs = 5_000): Promise<void> {
  await eventually(
    async () => {
      await check()
      return true
    },
    { timeoutMs, intervalMs: 10 },
  )
}
