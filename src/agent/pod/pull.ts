/**
 * Gets a container's image here, by its pull policy. Pulls run beside the worker, which is woken when one is done, so
 * that a slow registry never keeps a pod from being deleted.
 */
import { accountsFor, type DockerConfigEntry, dockerConfigEntries } from '../../api/docker_config.ts'
import type { Container, Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { AgentContext } from '../context.ts'
import type { CredentialsFor } from '../images/images.ts'
import { attemptKey, type ImageFact } from './facts.ts'

export interface PullRequest {
  agent: AgentContext
  pod: Pod
  container: Container
  attempt: number
  images: Map<string, ImageFact>
  signal: AbortSignal
  wake(): void
}

type Fail = (reason: string, message: string, retryAfterSeconds?: number) => void

const FIRST_BACKOFF_MS = 10_000
const MAX_BACKOFF_MS = 300_000
/** For one repository; those that come after are not tried: each is a login that the registry counts. */
const MAX_CREDENTIALS = 16

/** Longer where the registry says when to come back, but no registry keeps a pod waiting for ever. */
export function pullDelayMs(failures: number, retryAfterSeconds = 0): number {
  const plain = FIRST_BACKOFF_MS * 2 ** Math.min(20, failures - 1)
  return Math.min(MAX_BACKOFF_MS, Math.max(plain, retryAfterSeconds * 1000))
}

export async function pullImage(request: PullRequest): Promise<void> {
  const { agent, pod, container, attempt, images } = request
  const { image = '', name, imagePullPolicy: policy = 'IfNotPresent' } = container
  const key = attemptKey(name, attempt)
  const before = images.get(key)
  const failures = before?.state === 'failed' ? before.failures + 1 : 1
  const fail: Fail = (reason, message, retryAfterSeconds) => {
    const failedAtMs = agent.clock.monotonicMs()
    images.set(key, {
      state: 'failed',
      reason,
      message,
      failedAtMs,
      failures,
      retryAtMs: failedAtMs + pullDelayMs(failures, retryAfterSeconds),
    })
    agent.events.record(pod, 'Warning', 'Failed', message)
  }
  try {
    if (policy !== 'Always' && (await agent.drivers.images.find(image)) !== undefined) {
      images.set(key, { state: 'present' })
      return
    }
  } catch (thrown) {
    const { message } = DroverError.from(thrown)
    fail('InvalidImageName', `Failed to apply image "${image}": ${message}`)
    return
  }
  if (policy === 'Never') {
    fail('ErrImageNeverPull', `Container image "${image}" is not present with pull policy of Never`)
    return
  }
  images.set(key, { state: 'pulling' })
  void pullNow(request, key, fail)
}

async function pullNow(
  { agent, pod, container, images, signal, wake }: PullRequest,
  key: string,
  fail: Fail,
): Promise<void> {
  const { image = '' } = container
  const startedMs = agent.clock.monotonicMs()
  agent.events.record(pod, 'Normal', 'Pulling', `Pulling image "${image}"`)
  try {
    const credentials = pullCredentials(pod, agent)
    await agent.drivers.images.pull(image, { signal, credentials })
    agent.imagesChanged()
    images.set(key, { state: 'present' })
    const seconds = ((agent.clock.monotonicMs() - startedMs) / 1000).toFixed(1)
    agent.events.record(pod, 'Normal', 'Pulled', `Pulled image "${image}" in ${seconds} s`)
  } catch (thrown) {
    const error = DroverError.from(thrown)
    if (error.code === 'cancelled') images.delete(key)
    else if (error.code === 'invalid' && /reference|image name/i.test(error.message)) {
      fail('InvalidImageName', `Failed to apply image "${image}": ${error.message}`)
    } else fail('ErrImagePull', `Failed to pull image "${image}": ${error.message}`, error.retryAfterSeconds)
  }
  wake()
}

/** What the pod's pull secrets have for a repository. Source: Kubernetes "Pull an Image from a Private Registry". */
export function pullCredentials(pod: Pod, agent: Pick<AgentContext, 'desired'>): CredentialsFor {
  const entries = (pod.spec.imagePullSecrets ?? []).flatMap(({ name = '' }) => {
    const data = agent.desired.secret(pod.metadata.namespace ?? '', name)?.data ?? {}
    const encoded = data['.dockerconfigjson'] ?? data['.dockercfg']
    return encoded === undefined ? [] : secretEntries(Buffer.from(encoded, 'base64').toString('utf8'))
  })
  return (registryHost, repository) => accountsFor(entries, registryHost, repository).slice(0, MAX_CREDENTIALS)
}

function secretEntries(text: string): DockerConfigEntry[] {
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch {
    // A secret that cannot be read gives no credentials; the registry's refusal then names the image.
    return []
  }
  if (!isObject(config)) return []
  return dockerConfigEntries(isObject(config.auths) ? config.auths : config)
}
