/**
 * A local cluster of three hosts that is measured from outside: through its API, over one kept connection and one watch,
 * as any client would see it.
 */

import { isPodReady } from '../../src/api/conditions.ts'
import type { Deployment } from '../../src/api/deployment.ts'
import { deploymentKind } from '../../src/api/deployment.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import type { Pod } from '../../src/api/pod.ts'
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
const podPath = (name?: string) => resourcePath(podKind, NAMESPACE, name)

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
    return this.#apply(path(), manifest(name, replicas, choices), await this.watchReady(name, replicas))
  }

  /** Milliseconds from sending a pod of its own until a watch says that it is ready. */
  async applyPod(name: string, choices: PodChoices = {}): Promise<number> {
    const body = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: podSpec(choices) }
    return this.#apply(podPath(), body, await this.#watch<Pod>(podPath(), name, isPodReady))
  }

  async #apply(to: string, body: object, ready: Reached): Promise<number> {
    const startedMs = systemClock.monotonicMs()
    try {
      await this.client.call('POST', to, { body })
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

  async deletePod(name: string): Promise<void> {
    await this.client.call('DELETE', podPath(name))
    await this.#noPods()
  }

  async pods(): Promise<ObjectList<Pod>> {
    return this.client.call('GET', podPath())
  }

  async #noPods(): Promise<void> {
    await eventually(async () => (await this.pods()).items.length === 0, { timeoutMs: TIMEOUT_MS, intervalMs: 50 })
  }

  watchReady(name: string, replicas: number): Promise<Reached> {
    return this.#watch<Deployment>(path(), name, ({ spec, status, metadata }) => {
      const current = spec.replicas === replicas && (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0)
      return current && (status?.readyReplicas ?? 0) === replicas
    })
  }

  /** Watches from now on. */
  async #watch<T extends KubeObject>(at: string, name: string, isReached: (object: T) => boolean): Promise<Reached> {
    const list = await this.client.call<ObjectList<T>>('GET', at)
    const over = new AbortController()
    const query = {
      watch: true,
      resourceVersion: list.metadata.resourceVersion,
      fieldSelector: `metadata.name=${name}`,
    }
    const stream = await this.client.open('GET', at, { query, timeoutMs: 0, signal: over.signal })
    // The watch has taken the connection that was open; what is measured next shall not begin with a TLS handshake.
    await this.client.call('GET', '/version')
    const deadline = systemClock.schedule(TIMEOUT_MS, () => stream.destroy(new Error(`${name}: not ready in time`)))
    const reached = (async () => {
      for await (const { object } of jsonLines<WatchEvent<T>>(stream)) {
        if (isReached(object)) return systemClock.monotonicMs()
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

/** `reached` is the clock's reading when the wanted state was seen. */
interface Reached {
  reached: Promise<number>
  stop(): void
}

function podSpec({ command = COMMAND, runtimeClassName }: PodChoices): object {
  const runtime = runtimeClassName === undefined ? {} : { runtimeClassName }
  return { containers: [{ name: 'main', image: SAMPLE_IMAGE, command }], ...runtime }
}

function manifest(name: string, replicas: number, choices: PodChoices): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: podSpec(choices) },
    },
  }
}
