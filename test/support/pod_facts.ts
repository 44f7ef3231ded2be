/** Facts of a pod as a table of plans needs them. */
import { exitTimes, NOTE, type PodFacts } from '../../src/agent/pod/facts.ts'
import type { Plan } from '../../src/agent/pod/plan_pod.ts'
import type { ContainerState } from '../../src/agent/runtime/runtime.ts'
import type { Pod } from '../../src/api/pod.ts'

export const NOW = 1_000_000

export function podOf(spec: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', uid: 'u1' },
    spec: { containers: [{ name: 'app', image: 'app:1' }], restartPolicy: 'Always', ...spec },
  }
}

/** One that is deleted without grace. */
export function forced(spec: Partial<Pod['spec']> = {}): Pod {
  const pod = podOf(spec)
  return { ...pod, metadata: { ...pod.metadata, deletionGracePeriodSeconds: 0 } }
}

export function factsOf(overrides: Partial<PodFacts> = {}): PodFacts {
  return {
    pod: podOf(),
    uid: 'u1',
    terminateByMs: undefined,
    networkReady: true,
    prepared: true,
    volumesStale: false,
    preparing: undefined,
    released: false,
    cleaned: false,
    containers: [],
    images: new Map(),
    blocked: new Map(),
    probes: new Map(),
    stops: new Map(),
    hooks: new Map(),
    exitedAtMs: exitTimes(overrides.containers ?? [], { nowMs: NOW, wallMs: NOW }, new Map()),
    nowMs: NOW,
    ...overrides,
  }
}

export function container(name: string, attempt: number, extra: Partial<ContainerState> = {}): ContainerState {
  return {
    id: `${name}-${attempt}`,
    podUid: 'u1',
    name,
    attempt,
    phase: 'running',
    startedAtMs: NOW - 1_000,
    annotations: { [NOTE.image]: `${name}:1`, [NOTE.crashes]: String(attempt) },
    ...extra,
  }
}

export const exited = (name: string, attempt: number, code: number, agoMs = 0): ContainerState =>
  container(name, attempt, { phase: 'exited', exit: { code, oomKilled: false, finishedAtMs: NOW - agoMs } })

export const present = (...keys: string[]): PodFacts['images'] =>
  new Map(keys.map((key) => [key, { state: 'present' as const }]))

export const brief = ({ step, againAtMs }: Plan): string => {
  if (step === undefined) return againAtMs === undefined ? 'rest' : `wait ${againAtMs - NOW}`
  const { type, ...rest } = step
  return [type, ...Object.values(rest)].join(' ')
}
