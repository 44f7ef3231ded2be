/** Hosts with network drivers and pods that answer, on a real underlay, for tests of the network in the kernel. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNetworkDriver, type NetworkDriverOptions } from '../../src/agent/network/driver.ts'
import type { NodeNetworkConfig } from '../../src/agent/network/network.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { createHostsNetwork } from '../../src/local/hosts_network.ts'
import type { ClusterConfig, PeerRow, ServiceEndpoint, ServiceRow } from '../../src/rpc/tables.ts'
import { eventually } from './eventually.ts'
import { type Listening, listenIn } from './namespace_news.ts'
import {
  ask,
  createNamespace,
  enterNamespace,
  startAnswering,
  TCP_PORT,
  type TestNamespace,
  UDP_PORT,
} from './netns.ts'

export type Driver = ReturnType<typeof createNetworkDriver>

export interface TestHost {
  name: string
  namespace: TestNamespace
  config: NodeNetworkConfig
  driver: Driver
}

export interface TestPod {
  uid: string
  host: TestHost
  address: string
  namespace: TestNamespace
}

export const CLUSTER_IP = '10.96.0.10'

export class NetworkHosts {
  readonly id: string
  readonly hosts: TestHost[] = []
  readonly pods = new Map<string, TestPod>()
  readonly #cluster: ClusterConfig
  readonly #network
  readonly #listening: Listening[] = []
  #directory = ''

  /** `mark`: a hexadecimal digit that tells this test's hosts from other tests' of the same process. */
  constructor(mark: string, cluster: Partial<ClusterConfig> = {}) {
    this.id = `${mark}${(process.pid % 0xffff).toString(16).padStart(4, '0')}`
    this.#cluster = {
      clusterName: `drvt${this.id}`,
      clusterCidr: '10.244.0.0/16',
      serviceCidr: '10.96.0.0/16',
      nodePortRange: { from: 30000, to: 32767 },
      clusterDomain: 'cluster.local',
      ...cluster,
    }
    this.#network = createHostsNetwork({ clusterName: this.#cluster.clusterName, id: this.id, clock: systemClock })
  }

  observe() {
    return this.#network.observe()
  }

  async open(names: readonly string[], options: Partial<NetworkDriverOptions> = {}): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'drvt-hosts-'))
    const state = await this.#network.ensure(names)
    for (const [i, { name, namespacePath, address }] of state.hosts.entries()) {
      const namespace = enterNamespace(namespacePath)
      const config = { cluster: this.#cluster, nodeName: name, nodeAddress: address, podCidr: `10.244.${i + 1}.0/24` }
      this.hosts.push({ name, namespace, config, driver: this.makeDriver(namespacePath, name, options) })
    }
    await Promise.all(
      this.hosts.map(async ({ driver, config }) => {
        await driver.initialize()
        await driver.ensureNode(config)
        await driver.applyPeers(this.peers())
      }),
    )
  }

  makeDriver(namespacePath: string, name: string, options: Partial<NetworkDriverOptions> = {}): Driver {
    const listening = listenIn(namespacePath)
    this.#listening.push(listening)
    return createNetworkDriver({
      dataDir: join(this.#directory, name),
      log: silentLogger,
      clock: systemClock,
      namespacePath,
      manageSysctls: true,
      news: listening.ask,
      ...options,
    })
  }

  peers(): PeerRow[] {
    return this.hosts.map(({ config: { nodeName, nodeAddress, podCidr } }) => ({
      nodeName,
      address: nodeAddress,
      podCidr,
    }))
  }

  host(index: number): TestHost {
    const found = this.hosts[index]
    if (found === undefined) throw new Error(`no host ${index}`)
    return found
  }

  pod(name: string): TestPod {
    const found = this.pods.get(name)
    if (found === undefined) throw new Error(`no pod ${name}`)
    return found
  }

  /** A pod that answers on TCP_PORT and UDP_PORT with its name. */
  async addPod(name: string, hostIndex: number): Promise<TestPod> {
    const host = this.host(hostIndex)
    const namespace = await createNamespace(`drvt${this.id}-${name}`)
    const uid = `uid-${name}-${this.id}`
    const { address } = await host.driver.ensurePod(uid, namespace.path)
    const pod = { uid, host, address, namespace }
    this.pods.set(name, pod)
    startAnswering(namespace, name)
    const listening = ['ss', '-Hltn', `sport = :${TCP_PORT}`]
    await eventually(async () => (await namespace.exec(listening)).stdout !== '', { timeoutMs: 20_000 })
    return pod
  }

  async removePod(name: string): Promise<void> {
    const { uid, host, namespace } = this.pod(name)
    this.pods.delete(name)
    await namespace.remove()
    await host.driver.removePod(uid)
  }

  endpoint(name: string, port = TCP_PORT): ServiceEndpoint {
    const { address, host } = this.pod(name)
    return { address, port, nodeName: host.config.nodeName, ready: true }
  }

  /** TCP 80 and UDP 53 of one address, led to these pods. */
  service(change: Partial<ServiceRow>, names: readonly string[]): ServiceRow {
    const port = (name: string, protocol: 'TCP' | 'UDP', number: number, target: number) => ({
      name,
      protocol,
      port: number,
      nodePort: 0,
      endpoints: names.map((pod) => this.endpoint(pod, target)),
    })
    return {
      namespace: 'default',
      name: 'web',
      clusterIP: CLUSTER_IP,
      externalIPs: [],
      sessionAffinitySeconds: 0,
      externalTrafficPolicy: 'Cluster',
      internalTrafficPolicy: 'Cluster',
      ports: [port('http', 'TCP', 80, TCP_PORT), port('dns', 'UDP', 53, UDP_PORT)],
      ...change,
    }
  }

  async applyServices(...rows: ServiceRow[]): Promise<void> {
    await Promise.all(this.hosts.map(({ driver }) => driver.applyServices(rows)))
  }

  /** Who answers a pod, or a host, on TCP: a pod's name, or the error. */
  async answer(from: TestNamespace | undefined, address: string, port = TCP_PORT): Promise<string> {
    const [answer] = await ask(from, { address, port })
    return answer?.name ?? answer?.error ?? 'nothing'
  }

  async close(): Promise<void> {
    for (const { namespace } of this.pods.values()) await namespace.remove()
    for (const { driver, namespace } of this.hosts) {
      await driver.teardown()
      await namespace.remove()
    }
    for (const listening of this.#listening) listening.close()
    await this.#network.remove()
    await rm(this.#directory, { recursive: true, force: true })
  }
}
