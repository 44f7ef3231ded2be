/**
 * What a pod's volumes are made from, and when they must be looked at again: when a ConfigMap or Secret has changed, when
 * the pod's labels or annotations have and a file holds them, and before a token ends.
 */

import { DEFAULT_SERVICE_ACCOUNT } from '../../api/names.ts'
import type { Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import type { AgentContext } from '../context.ts'
import type { VolumeSources } from '../volumes/volumes.ts'
import { startEarly } from './early.ts'
import { type ConfigSources, type EnvironmentContext, fieldFile, resourceValue } from './environment.ts'
import type { Prepared } from './notes.ts'
import { tokenRefreshMs } from './token_age.ts'

export interface PodVolumes {
  /** Host path by volume name. */
  volumes: ReadonlyMap<string, string>
  /** Host path of the files by which the pod speaks to the API; undefined: it shall have none. */
  access: string | undefined
  /** What they were made from. */
  configRevision: number
  described: string
  /** When a token in them must be renewed, on the monotonic clock; known once they are written. */
  due(): number | undefined
  /** Resolves when the files in `access` are there: a token comes from a server, and the container's making can go on meanwhile. */
  written: Promise<unknown>
}

/** A renewal that failed is tried again; the token that stands is good for a while yet. */
const RENEW_AGAIN_MS = 10_000
/** A pod that began without its token gets it as soon as a server is there. */
const ASK_AGAIN_MS = 1_000

export async function ensureVolumes(agent: AgentContext, pod: Pod): Promise<PodVolumes> {
  const { volumes } = agent.drivers
  const { configRevision } = agent.desired
  const described = description(pod)
  const tokens = new Tokens(agent, pod)
  const opening = pod.spec.automountServiceAccountToken === true ? openAccess(agent, pod, tokens) : undefined
  const parts = [volumes.ensureVolumes(pod, volumeSources(agent, pod, tokens)), opening] as const
  const [paths, access] = await Promise.all(parts).catch(async (error: unknown) => {
    // Nothing is written any more when a failure is told.
    await opening?.then(({ written }) => written).catch(() => undefined)
    throw error
  })
  return {
    volumes: paths,
    access: access?.directory,
    configRevision,
    described,
    due: () => tokens.dueMs,
    written: access?.written ?? Promise.resolve(),
  }
}

/** The directory as soon as it is there, and its files when they are. */
async function openAccess(agent: AgentContext, pod: Pod, tokens: Tokens) {
  const make = (current: string | undefined) => accessFiles(agent, pod, tokens, current)
  const { known, done } = startEarly<string>((tell) => agent.drivers.volumes.ensureAccess(pod, make, tell))
  return { written: done, directory: await known }
}

/** Whether what the volumes were made from has changed. */
export function areVolumesStale(pod: Pod | undefined, prepared: Prepared | undefined, configRevision: number): boolean {
  if (pod === undefined || prepared === undefined) return false
  if (usesConfig(pod) && prepared.configRevision !== configRevision) return true
  return prepared.described !== description(pod)
}

function usesConfig({ spec }: Pod): boolean {
  return (spec.volumes ?? []).some(
    ({ configMap, secret, projected }) =>
      configMap ?? secret ?? projected?.sources?.some((source) => source.configMap ?? source.secret),
  )
}

/** The labels and annotations of a pod that has them in files; empty for any other. */
function description({ metadata, spec }: Pod): string {
  const shown = (spec.volumes ?? []).some(
    ({ downwardAPI, projected }) => downwardAPI ?? projected?.sources?.some((source) => source.downwardAPI),
  )
  return shown ? JSON.stringify([metadata.labels, metadata.annotations]) : ''
}

export function configSources({ desired }: AgentContext, { metadata }: Pod): ConfigSources {
  const namespace = metadata.namespace ?? ''
  return {
    configMap: (name) => desired.configMap(namespace, name),
    secret: (name) => desired.secret(namespace, name),
  }
}

export function environmentContext(agent: AgentContext, pod: Pod, podIP: string): EnvironmentContext {
  return {
    pod,
    sources: configSources(agent, pod),
    podIP,
    hostIP: agent.nodeAddress,
    nodeName: agent.nodeName,
    nodeCpuMillis: agent.nodeCpuMillis,
    nodeMemoryBytes: agent.nodeMemoryBytes,
    nodeStorageBytes: agent.nodeStorageBytes,
    services: agent.desired.services(),
  }
}

function volumeSources(agent: AgentContext, pod: Pod, tokens: Tokens): VolumeSources {
  // Files are made beside the pod's address: nothing in them may need it.
  const context = environmentContext(agent, pod, '')
  return {
    ...configSources(agent, pod),
    volume: (claimName) => agent.desired.volumeOf(pod.metadata.namespace ?? '', claimName),
    field: (path) => fieldFile(path, context),
    resource: ({ containerName = '', resource, divisor }) => resourceValue(context, containerName, resource, divisor),
    token: (wish, current) => tokens.get(wish, current),
  }
}

async function accessFiles(
  agent: AgentContext,
  pod: Pod,
  tokens: Tokens,
  current: string | undefined,
): Promise<Record<string, string>> {
  const files = { 'ca.crt': agent.clusterCa(), namespace: pod.metadata.namespace ?? '' }
  try {
    return { ...files, token: await tokens.get({}, current) }
  } catch (thrown) {
    const error = DroverError.from(thrown)
    // Without a server a pod still starts: most never speak to the API.
    if (error.code !== 'unavailable' && error.code !== 'timeout') throw error
    tokens.again(ASK_AGAIN_MS)
    return files
  }
}

/** The tokens of one look at a pod's volumes, and when the first of them must be renewed. */
class Tokens {
  readonly #agent: AgentContext
  readonly #pod: Pod
  dueMs: number | undefined

  constructor(agent: AgentContext, pod: Pod) {
    this.#agent = agent
    this.#pod = pod
  }

  again(delayMs: number): void {
    const atMs = this.#agent.clock.monotonicMs() + delayMs
    this.dueMs = Math.min(this.dueMs ?? atMs, atMs)
  }

  async get(wish: { audience?: string; expirationSeconds?: number }, current: string | undefined): Promise<string> {
    const { clock, requestToken, log } = this.#agent
    const leftMs = current === undefined ? 0 : tokenRefreshMs(current, clock.now())
    if (current !== undefined && leftMs > 0) {
      this.again(leftMs)
      return current
    }
    const { metadata, spec } = this.#pod
    const { namespace = '', name = '', uid = '' } = metadata
    try {
      const token = await requestToken({
        namespace,
        podName: name,
        podUid: uid,
        serviceAccount: spec.serviceAccountName ?? DEFAULT_SERVICE_ACCOUNT,
        audiences: wish.audience ? [wish.audience] : [],
        expirationSeconds: wish.expirationSeconds ?? 0,
      })
      this.again(Math.max(RENEW_AGAIN_MS, tokenRefreshMs(token, clock.now())))
      return token
    } catch (error) {
      if (current === undefined) throw error
      log.warn({ pod: `${namespace}/${name}`, err: error }, 'cannot renew a token; will try again')
      this.again(RENEW_AGAIN_MS)
      return current
    }
  }
}
