/** Rules of probes, hooks and restarts. Source: Kubernetes `validation.go` (meanings, not code). */
import type { FieldError } from '../base/errors.ts'
import type { Container, LifecycleHandler, PodSpec, Probe } from './pod.ts'

const PROBE_ACTIONS = ['exec', 'httpGet', 'tcpSocket', 'grpc'] as const
const HOOK_ACTIONS = ['exec', 'httpGet', 'tcpSocket', 'sleep'] as const
const SIGNAL = /^SIG(RTMIN(\+\d{1,2})?|RTMAX(-\d{1,2})?|[A-Z][A-Z0-9]{1,7})$/

const invalid = (path: string, message: string): FieldError => ({ path, reason: 'Invalid', message })

function oneAction(given: readonly string[], allowed: readonly string[], path: string): FieldError[] {
  if (given.length === 1) return []
  return [{ path, reason: 'Required', message: `give exactly one of ${allowed.join(', ')}` }]
}

function commandErrors({ exec }: Pick<Probe, 'exec'>, path: string): FieldError[] {
  const empty = exec !== undefined && (exec.command ?? []).length === 0
  return empty ? [{ path: `${path}.exec.command`, reason: 'Required', message: 'name a program' }] : []
}

function portErrors(action: Pick<Probe, 'httpGet' | 'tcpSocket'>, container: Container, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const kind of ['httpGet', 'tcpSocket'] as const) {
    const port = action[kind]?.port
    const at = `${path}.${kind}.port`
    if (typeof port === 'number' && (port < 1 || port > 65_535)) errors.push(invalid(at, 'must be from 1 to 65535'))
    if (typeof port === 'string' && !/^\d+$/.test(port) && !container.ports?.some(({ name }) => name === port)) {
      errors.push(invalid(at, `container "${container.name}" has no port named "${port}"`))
    }
  }
  return errors
}

function probeErrors(container: Container, kind: keyof typeof PROBES, path: string): FieldError[] {
  const probe = container[kind]
  if (probe === undefined) return []
  const at = `${path}.${kind}`
  const given = PROBE_ACTIONS.filter((action) => probe[action] !== undefined)
  const errors = [
    ...oneAction(given, PROBE_ACTIONS, at),
    ...commandErrors(probe, at),
    ...portErrors(probe, container, at),
  ]
  const { mustSucceedOnce, endsContainer } = PROBES[kind]
  if (mustSucceedOnce && (probe.successThreshold ?? 1) !== 1) {
    errors.push(invalid(`${at}.successThreshold`, 'must be 1'))
  }
  const grace = probe.terminationGracePeriodSeconds
  const graceAt = `${at}.terminationGracePeriodSeconds`
  if (grace !== undefined && !endsContainer) {
    errors.push({ path: graceAt, reason: 'Forbidden', message: 'a readiness probe ends no container' })
  } else if (grace !== undefined && grace <= 0) errors.push(invalid(graceAt, 'must be more than 0'))
  return errors
}

const PROBES = {
  livenessProbe: { mustSucceedOnce: true, endsContainer: true },
  readinessProbe: { mustSucceedOnce: false, endsContainer: false },
  startupProbe: { mustSucceedOnce: true, endsContainer: true },
} as const

function hookErrors(
  handler: LifecycleHandler | undefined,
  { container, path, graceSeconds }: { container: Container; path: string; graceSeconds: number },
): FieldError[] {
  if (handler === undefined) return []
  const given = HOOK_ACTIONS.filter((action) => handler[action] !== undefined)
  const errors = [
    ...oneAction(given, HOOK_ACTIONS, path),
    ...commandErrors(handler, path),
    ...portErrors(handler, container, path),
  ]
  const seconds = handler.sleep?.seconds
  if (seconds !== undefined && (seconds < 0 || seconds > graceSeconds)) {
    errors.push(invalid(`${path}.sleep.seconds`, `must be from 0 to terminationGracePeriodSeconds (${graceSeconds})`))
  }
  return errors
}

export interface LifecycleContext {
  spec: PodSpec
  path: string
  isInit: boolean
}

export function validateLifecycle(container: Container, { spec, path, isInit }: LifecycleContext): FieldError[] {
  const errors: FieldError[] = []
  const { lifecycle, restartPolicy } = container
  if (restartPolicy !== undefined && !isInit) {
    errors.push({
      path: `${path}.restartPolicy`,
      reason: 'Forbidden',
      message: 'only init containers have one of their own; use spec.restartPolicy',
    })
  }
  if (isInit && restartPolicy === undefined) {
    for (const field of [...(Object.keys(PROBES) as (keyof typeof PROBES)[]), 'lifecycle'] as const) {
      if (container[field] === undefined) continue
      const message = 'an init container has one only with restartPolicy: Always'
      errors.push({ path: `${path}.${field}`, reason: 'Forbidden', message })
    }
    return errors
  }
  for (const kind of Object.keys(PROBES) as (keyof typeof PROBES)[]) errors.push(...probeErrors(container, kind, path))
  const graceSeconds = spec.terminationGracePeriodSeconds ?? 0
  for (const hook of ['postStart', 'preStop'] as const) {
    errors.push(...hookErrors(lifecycle?.[hook], { container, path: `${path}.lifecycle.${hook}`, graceSeconds }))
  }
  if (lifecycle?.stopSignal !== undefined && !SIGNAL.test(lifecycle.stopSignal)) {
    errors.push(invalid(`${path}.lifecycle.stopSignal`, `"${lifecycle.stopSignal}" is no signal; SIGTERM is one`))
  }
  return errors
}
