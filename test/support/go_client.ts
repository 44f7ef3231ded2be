/**
 * Requests as programs built on client-go send them: which media types, which parameters, how they list and watch. What
 * a typed client, the dynamic client and kubectl's resource helper do differently has a method each.
 * Source: k8s.io/client-go (gentype, dynamic, tools/cache reflector), k8s.io/cli-runtime/pkg/resource `Helper`.
 */
import { ADMIN_TOKEN, type Answer, type Harness } from './apiserver_harness.ts'
import { eventually } from './eventually.ts'
import { type OpenWatch, openWatch } from './watch_lines.ts'

/** A typed client prefers protobuf for what it sends and takes. */
const TYPED = 'application/vnd.kubernetes.protobuf,application/json'
const TABLE =
  'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json'
const DISCOVERY =
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json'
const PROTOBUF = 'application/vnd.kubernetes.protobuf'

export interface Listed {
  items: { metadata: { name: string; resourceVersion: string; labels?: Record<string, string> } }[]
  metadata: { resourceVersion: string }
}

export type KubeJson = Record<string, unknown> & {
  metadata: { name: string; namespace?: string; [key: string]: unknown }
}

export class GoClient {
  readonly #harness: Harness
  readonly #agent: string
  readonly #token: string
  readonly #watches: OpenWatch[] = []

  constructor(harness: Harness, agent: string, token = ADMIN_TOKEN) {
    this.#harness = harness
    this.#agent = agent
    this.#token = token
  }

  #headers(accept: string): Record<string, string> {
    return { accept, 'accept-encoding': 'gzip', 'user-agent': this.#agent }
  }

  #call(method: string, path: string, accept: string, body?: string | Buffer, type?: string): Promise<Answer> {
    const headers = { ...this.#headers(accept), ...(type === undefined ? {} : { 'content-type': type }) }
    return this.#harness.call(path, { method, headers, token: this.#token, ...(body === undefined ? {} : { body }) })
  }

  /** `kubernetes.Interface`: bodies in protobuf. */
  typed(method: string, path: string, body?: Buffer): Promise<Answer> {
    return this.#call(method, path, TYPED, body, body === undefined ? undefined : PROTOBUF)
  }

  /** `dynamic.Interface` and kubectl's resource helper: JSON both ways. */
  json(method: string, path: string, body?: object): Promise<Answer> {
    const text = body === undefined ? undefined : JSON.stringify(body)
    return this.#call(method, path, 'application/json', text, text === undefined ? undefined : 'application/json')
  }

  patch(path: string, type: 'json' | 'merge' | 'strategic-merge', body: unknown): Promise<Answer> {
    return this.#call('PATCH', path, 'application/json', JSON.stringify(body), `application/${type}-patch+json`)
  }

  /** Server-side apply; the body is JSON under YAML's name, as all Go clients send it. */
  apply(path: string, object: object): Promise<Answer> {
    return this.#call('PATCH', path, 'application/json', JSON.stringify(object), 'application/apply-patch+yaml')
  }

  table(path: string): Promise<Answer> {
    return this.#call('GET', path, TABLE)
  }

  discovery(path: string): Promise<Answer> {
    return this.#call('GET', path, DISCOVERY)
  }

  delete(path: string, apiVersion: string, propagationPolicy: string): Promise<Answer> {
    return this.json('DELETE', path, { kind: 'DeleteOptions', apiVersion, propagationPolicy })
  }

  /** A reflector since client-go 1.35: one stream, first all that is there, then changes. Resolves when the first part is over. */
  async watchList(path: string, query = '', accept = TYPED): Promise<OpenWatch> {
    const watch = this.#watch(
      `${path}?allowWatchBookmarks=true&${query}resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=421&watch=true`,
      accept,
    )
    await eventually(
      () => watch.lines.some(({ object }) => object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true'),
      { timeoutMs: 10_000 },
    )
    return watch
  }

  /** A reflector before that: a list from whatever the server has at hand, then a watch from its revision. */
  async listAndWatch(path: string, query = '', accept = TYPED): Promise<{ list: Listed; watch: OpenWatch }> {
    const { json, status } = await this.#call('GET', `${path}?${query}limit=500&resourceVersion=0`, accept)
    if (status !== 200) throw new Error(`list of ${path}: ${status} ${JSON.stringify(json)}`)
    const list = json as unknown as Listed
    const watch = this.resume(path, list.metadata.resourceVersion, accept, query)
    await eventually(() => watch.head()[':status'] !== undefined, { timeoutMs: 10_000 })
    return { list, watch }
  }

  /** What a reflector does when its watch has ended: on from where it was. */
  resume(path: string, revision: string, accept = TYPED, query = ''): OpenWatch {
    const rest = `${query}resourceVersion=${revision}&timeoutSeconds=421&watch=true`
    return this.#watch(`${path}?allowWatchBookmarks=true&${rest}`, accept)
  }

  #watch(path: string, accept: string): OpenWatch {
    const headers = { ...this.#headers(accept), authorization: `Bearer ${this.#token}` }
    const watch = openWatch(this.#harness.session(), path, headers)
    this.#watches.push(watch)
    return watch
  }

  close(): void {
    for (const { stream } of this.#watches) stream.close()
  }
}
