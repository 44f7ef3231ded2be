/**
 * A local cluster of three hosts that is measured from outside: through its API, over one kept connection and one watch,
 * as any client would see it.
 */

import type { Deployment } from '../../src/api/deployment.ts'
import { deploymentKind } from '../../src/api/deployment.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { loadKubeconfig } from '../../src/cli/kubeconfig.ts'
import { jsonLines, type ObjectList, RestClient, resourcePath, type WatchEvent } from '../../src/cli/rest_client.ts'
import { SAMPLE_IMAGE, sampleRootfs } from '../../src/local/sample_image.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster } from '../support/local_cluster.ts'

/** What every measured pod runs: it does nothing, and ends at once when told to. */
export const COMMAND = ['sh', '-c', 'trap "exit 0" TERM; sleep 1000000 & wait']

export interface PodChoices {
  command?: readonly string[]
  runtimeClassName?: string
}

const NAMESPACE = 'default'
const TIMEOUT_MS = 180_000

const path = (name?: string) => resourcePath(deploymentKind, NAMESPACE, name)

export class BenchCluster {
  readonly local = new LocalCluster(`drvb-${systemClock.now().toString(36).slice(-6)}`)
  #client: RestClient | undefined

  get client(): RestClient {
    this.#client ??= new RestClient(loadKubeconfig({ cluster: this.local.name, env: {} }), () => undefined)
    return this.#client
  }

  /** Brings it up with the image on every node. */
  async start(...flags: string[]): Promise<void> {
    await this.local.start(...flags)
    const query = { verb: 'import', reference: SAMPLE_IMAGE }
    const options = { query, body: await sampleRootfs(), contentType: 'application/x-tar', timeoutMs: 0 }
    const answer = await this.client.open('POST', '/apis/drover.dev/v1/images', options)
    for await (const line of jsonLines<{ node: string; ok?: boolean; error?: string }>(answer)) {
      if (line.ok === false) throw new Error(`${line.node}: ${line.error}`)
    }
  }

  async remove(): Promise<void> {
    this.#client?.close()
    await this.local.remove()
  }

  /** Milliseconds from sending the Deployment until a watch says that all replicas are ready. */
  async apply(name: string, replicas: number, choices: PodChoices = {}): Promise<number> {
    const ready = await this.watchReady(name, replicas)
    const startedMs = systemClock.monotonicMs()
    try {
      await this.client.call('POST', path(), { body: manifest(name, replicas, choices) })
      return (await ready.reached) - startedMs
    } finally {
      ready.stop()
    }
  }

  /** Milliseconds until a watch says that as many replicas are ready. */
  async scale(name: string, replicas: number): Promise<number> {
    const ready = await this.watchReady(name, replicas)
    const startedMs = systemClock.monotonicMs()
    try {
      const options = { body: { spec: { replicas } }, contentType: 'application/merge-patch+json' }
      await this.client.call('PATCH', path(name), options)
      const readyMs = (await ready.reached) - startedMs
      if (replicas === 0) await this.#noPods()
      return readyMs
    } finally {
      ready.stop()
    }
  }

  /** Deletes it and waits until its pods are gone from the API, hence from the nodes. */
  async delete(name: string): Promise<void> {
    await this.client.call('DELETE', path(name))
    await this.#noPods()
  }

  async pods(): Promise<ObjectList<import('../../src/api/pod.ts').Pod>> {
    return this.client.call('GET', resourcePath(podKind, NAMESPACE))
  }

  async #noPods(): Promise<void> {
    await eventually(async () => (await this.pods()).items.length === 0, { timeoutMs: TIMEOUT_MS, intervalMs: 50 })
  }

  /** Watches from now on; `reached` is the clock's reading when the wanted state was seen. */
  async watchReady(name: string, replicas: number): Promise<{ reached: Promise<number>; stop(): void }> {
    const list = await this.client.call<ObjectList<Deployment>>('GET', path())
    const over = new AbortController()
    const query = {
      watch: true,
      resourceVersion: list.metadata.resourceVersion,
      fieldSelector: `metadata.name=${name}`,
    }
    const stream = await this.client.open('GET', path(), { query, timeoutMs: 0, signal: over.signal })
    // The watch has taken the connection that was open; what is measured next shall not begin with a TLS handshake.
    await this.client.call('GET', '/version')
    const deadline = systemClock.schedule(TIMEOUT_MS, () => stream.destroy(new Error(`${name}: not ready in time`)))
    const reached = (async () => {
      for await (const event of jsonLines<WatchEvent<Deployment>>(stream)) {
        const { spec, status, metadata } = event.object
        const current = spec.replicas === replicas && (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0)
        if (current && (status?.readyReplicas ?? 0) === replicas) return systemClock.monotonicMs()
      }
      throw new Error(`the watch on ${name} ended`)
    })()
    reached.catch(() => undefined)
    return {
      reached,
      stop: () => {
        deadline.cancel()
        over.abort()
      },
    }
  }
}

function manifest(name: string, replicas: number, choices: PodChoices): object {
  const { command = COMMAND, runtimeClassName } = choices
  const runtime = runtimeClassName === undefined ? {} : { runtimeClassName }
  const container = { name: 'main', image: SAMPLE_IMAGE, command }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { containers: [container], ...runtime } },
    },
  }
}
