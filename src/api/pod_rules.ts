/**
 * Defaults and rules of pods and pod templates, shared by every kind that holds a template.
 * Source: Kubernetes `pkg/apis/core/v1/defaults.go` and `validation.go` (meanings, not code).
 */
import type { FieldError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { parseQuantity } from '../base/quantity.ts'
import { CONFIG_KEY, ENV_NAME, isDnsLabel, isDnsSubdomain, isLabelKey, isLabelValue } from './names.ts'
import { nodeSelectorErrors } from './node_selector.ts'
import type { Container, LifecycleHandler, Pod, PodSpec, PodTemplateSpec, Probe, ResourceRequirements } from './pod.ts'
import { validatePodDns } from './pod_dns.ts'
import { validateLifecycle } from './pod_lifecycle_rules.ts'
import { validatePorts } from './pod_port_rules.ts'
import { validatePodSecurity } from './pod_security_rules.ts'
import { validateMount, validateSharing, validateVolume } from './pod_volume_rules.ts'

export const DEFAULT_GRACE_SECONDS = 30

/** The tag decides: an image that may move is looked up each time. */
function defaultPullPolicy(image: string | undefined): 'Always' | 'IfNotPresent' {
  if (image === undefined || image.includes('@')) return 'IfNotPresent'
  const tag = /:([^/:]+)$/.exec(image)?.[1]
  return tag === undefined || tag === 'latest' ? 'Always' : 'IfNotPresent'
}

function defaultProbe(probe: Probe | undefined): void {
  if (probe === undefined) return
  probe.timeoutSeconds ||= 1
  probe.periodSeconds ||= 10
  probe.successThreshold ||= 1
  probe.failureThreshold ||= 3
  if (probe.httpGet !== undefined) {
    probe.httpGet.path ||= '/'
    probe.httpGet.scheme ||= 'HTTP'
  }
  if (probe.grpc !== undefined) probe.grpc.service ??= ''
}

function defaultHook(handler: LifecycleHandler | undefined): void {
  if (handler?.httpGet === undefined) return
  handler.httpGet.path ||= '/'
  handler.httpGet.scheme ||= 'HTTP'
}

function defaultResources(resources: ResourceRequirements | undefined): void {
  if (resources?.limits === undefined) return
  resources.requests = { ...resources.limits, ...resources.requests }
}

function defaultContainer(container: Container): void {
  container.imagePullPolicy ||= defaultPullPolicy(container.image)
  container.terminationMessagePath ||= '/dev/termination-log'
  container.terminationMessagePolicy ||= 'File'
  for (const port of container.ports ?? []) port.protocol ||= 'TCP'
  container.resources ??= {}
  defaultResources(container.resources)
  defaultProbe(container.livenessProbe)
  defaultProbe(container.readinessProbe)
  defaultProbe(container.startupProbe)
  defaultHook(container.lifecycle?.postStart)
  defaultHook(container.lifecycle?.preStop)
  for (const { valueFrom } of container.env ?? []) {
    if (valueFrom?.fieldRef !== undefined) valueFrom.fieldRef.apiVersion ||= 'v1'
  }
}

/** Of something else, or of the pod itself: where one is empty, whoever reads it takes it for absent. */
const NAMES = [
  'hostname',
  'subdomain',
  'nodeName',
  'serviceAccountName',
  'serviceAccount',
  'priorityClassName',
] as const

/** An empty text is as good as none, as in Kubernetes, whose clients write both where they mean the default. */
export function defaultPodSpec(spec: PodSpec): void {
  for (const name of NAMES) if (spec[name] === '') delete spec[name]
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) defaultContainer(container)
  spec.restartPolicy ||= 'Always'
  spec.terminationGracePeriodSeconds ??= DEFAULT_GRACE_SECONDS
  spec.dnsPolicy ||= 'ClusterFirst'
  spec.schedulerName ||= 'default-scheduler'
  spec.securityContext ??= {}
  spec.enableServiceLinks ??= true
  for (const volume of spec.volumes ?? []) {
    if (Object.keys(volume).length === 1) volume.emptyDir = {}
    if (volume.configMap !== undefined) volume.configMap.defaultMode ??= 0o644
    if (volume.secret !== undefined) volume.secret.defaultMode ??= 0o644
    if (volume.hostPath !== undefined) volume.hostPath.type ??= ''
    if (volume.downwardAPI !== undefined) volume.downwardAPI.defaultMode ??= 0o644
    if (volume.projected !== undefined) volume.projected.defaultMode ??= 0o644
    for (const { serviceAccountToken } of volume.projected?.sources ?? []) {
      if (serviceAccountToken !== undefined) serviceAccountToken.expirationSeconds ??= 3_600
    }
  }
  if (spec.hostNetwork === true) {
    for (const container of spec.containers)
      for (const port of container.ports ?? []) port.hostPort ??= port.containerPort
  }
}

export function validateLabels(labels: Record<string, string> | undefined, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isLabelKey(key)) errors.push({ path, reason: 'Invalid', message: `"${key}" is not a label key` })
    if (!isLabelValue(value)) {
      errors.push({
        path: `${path}[${key}]`,
        reason: 'Invalid',
        message: `"${value}" is not a label value: at most 63 letters, digits, "-", "_" or ".", ends alphanumeric`,
      })
    }
  }
  return errors
}

function validateResources(resources: ResourceRequirements | undefined, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const [name, request] of Object.entries(resources?.requests ?? {})) {
    const limit = resources?.limits?.[name]
    if (parseQuantity(request) < 0) {
      errors.push({ path: `${path}.requests[${name}]`, reason: 'Invalid', message: 'must not be negative' })
    }
    if (limit !== undefined && parseQuantity(request) > parseQuantity(limit)) {
      errors.push({
        path: `${path}.requests[${name}]`,
        reason: 'Invalid',
        message: `${request} is more than the limit ${limit}`,
      })
    }
  }
  return errors
}

function duplicates<T>(items: readonly T[], keyOf: (item: T) => string, path: string): FieldError[] {
  const seen = new Set<string>()
  const errors: FieldError[] = []
  for (const [index, item] of items.entries()) {
    const key = keyOf(item)
    if (seen.has(key)) errors.push({ path: `${path}[${index}]`, reason: 'Duplicate', message: `"${key}" stands twice` })
    seen.add(key)
  }
  return errors
}

function validateEnv(container: Container, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const [index, variable] of (container.env ?? []).entries()) {
    const at = `${path}.env[${index}]`
    if (!ENV_NAME.test(variable.name)) {
      errors.push({ path: `${at}.name`, reason: 'Invalid', message: `"${variable.name}" is not a variable name` })
    }
    if (variable.value && variable.valueFrom !== undefined) {
      errors.push({ path: `${at}.valueFrom`, reason: 'Forbidden', message: 'give value or valueFrom, not both' })
    }
  }
  return errors
}

function validateContainer(container: Container, path: string, volumes: ReadonlySet<string>): FieldError[] {
  const errors: FieldError[] = []
  if (!isDnsLabel(container.name)) {
    errors.push({
      path: `${path}.name`,
      reason: 'Invalid',
      message: `"${container.name}" must be lower case letters, digits and "-", at most 63, and start and end alphanumeric`,
    })
  }
  if (container.image === undefined || container.image.trim() === '') {
    errors.push({ path: `${path}.image`, reason: 'Required', message: 'name an image' })
  }
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    errors.push(...validateMount(mount, { container, path: `${path}.volumeMounts[${index}]`, volumes }))
  }
  errors.push(...duplicates(container.volumeMounts ?? [], (mount) => mount.mountPath, `${path}.volumeMounts`))
  errors.push(...validateEnv(container, path))
  errors.push(...validateResources(container.resources, `${path}.resources`))
  return errors
}

/** Amounts that a pod takes beside its containers'. */
export function overheadErrors(overhead: Readonly<Record<string, string | number>>, path: string): FieldError[] {
  return Object.entries(overhead).flatMap(([name, amount]) =>
    parseQuantity(amount) < 0
      ? [{ path: `${path}[${name}]`, reason: 'Invalid' as const, message: 'must not be negative' }]
      : [],
  )
}

function validateGates({ readinessGates = [] }: PodSpec, path: string): FieldError[] {
  return readinessGates.flatMap(({ conditionType }, index) =>
    isLabelKey(conditionType)
      ? []
      : [
          {
            path: `${path}.readinessGates[${index}].conditionType`,
            reason: 'Invalid' as const,
            message: `"${conditionType}" is not the name of a condition, such as example.com/registered`,
          },
        ],
  )
}

function validateRuntime({ runtimeClassName, overhead = {} }: PodSpec, path: string): FieldError[] {
  const errors = overheadErrors(overhead, `${path}.overhead`)
  if (runtimeClassName === undefined || isDnsSubdomain(runtimeClassName)) return errors
  const message = `"${runtimeClassName}" is not the name of a RuntimeClass`
  return [...errors, { path: `${path}.runtimeClassName`, reason: 'Invalid', message }]
}

export function validatePodSpec(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (spec.containers.length === 0) {
    errors.push({ path: `${path}.containers`, reason: 'Required', message: 'a pod has at least one container' })
  }
  const volumes = new Set((spec.volumes ?? []).map((volume) => volume.name))
  for (const [index, volume] of (spec.volumes ?? []).entries()) {
    errors.push(...validateVolume(volume, `${path}.volumes[${index}]`))
  }
  for (const [index, container] of spec.containers.entries()) {
    const at = `${path}.containers[${index}]`
    errors.push(...validateContainer(container, at, volumes))
    errors.push(...validateLifecycle(container, { spec, path: at, isInit: false }))
  }
  for (const [index, container] of (spec.initContainers ?? []).entries()) {
    const at = `${path}.initContainers[${index}]`
    errors.push(...validateContainer(container, at, volumes))
    errors.push(...validateLifecycle(container, { spec, path: at, isInit: true }))
  }
  const all = [...(spec.initContainers ?? []), ...spec.containers]
  errors.push(...duplicates(all, (container) => container.name, `${path}.containers`))
  errors.push(...duplicates(spec.volumes ?? [], (volume) => volume.name, `${path}.volumes`))
  for (const field of ['hostname', 'subdomain'] as const) {
    if (spec[field] && !isDnsLabel(spec[field])) {
      errors.push({ path: `${path}.${field}`, reason: 'Invalid', message: `"${spec[field]}" is not a DNS label` })
    }
  }
  errors.push(...validatePodDns(spec, path), ...validateSharing(spec, path), ...validatePodSecurity(spec, path))
  errors.push(...validateRuntime(spec, path), ...validatePorts(spec, path), ...validateGates(spec, path))
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  if (required !== undefined) {
    const at = `${path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`
    errors.push(...nodeSelectorErrors(required, at))
  }
  if (spec.activeDeadlineSeconds !== undefined && spec.activeDeadlineSeconds < 1) {
    errors.push({ path: `${path}.activeDeadlineSeconds`, reason: 'Invalid', message: 'must be at least 1' })
  }
  if ((spec.terminationGracePeriodSeconds ?? 0) < 0) {
    errors.push({
      path: `${path}.terminationGracePeriodSeconds`,
      reason: 'Invalid',
      message: 'must not be negative',
    })
  }
  return errors
}

/** Rules of a template inside a controller: those that keep their pods running take only pods that are restarted. */
export function validateTemplate(
  template: PodTemplateSpec,
  path: string,
  restartPolicies: readonly string[] = ['Always'],
): FieldError[] {
  const errors = validatePodSpec(template.spec, `${path}.spec`)
  errors.push(...validateLabels(template.metadata?.labels, `${path}.metadata.labels`))
  if (!restartPolicies.includes(template.spec.restartPolicy ?? '')) {
    errors.push({
      path: `${path}.spec.restartPolicy`,
      reason: 'NotSupported',
      message: `"${template.spec.restartPolicy}" is not supported here; only ${restartPolicies.join(' or ')}`,
    })
  }
  return errors
}

/** A pod's spec is fixed but for images, added tolerations and the binding, which only ever goes from none to one. */
export function validatePodUpdate(pod: Pod, old: Pod): FieldError[] {
  const frozen = (spec: PodSpec): unknown => ({
    ...spec,
    containers: spec.containers.map(({ image: _image, ...rest }) => rest),
    initContainers: spec.initContainers?.map(({ image: _image, ...rest }) => rest),
    tolerations: undefined,
    nodeName: undefined,
    terminationGracePeriodSeconds: undefined,
    activeDeadlineSeconds: undefined,
  })
  const errors: FieldError[] = []
  if (!jsonEqual(frozen(pod.spec), frozen(old.spec))) {
    errors.push({
      path: 'spec',
      reason: 'Forbidden',
      message: 'a pod may not change but for its images and added tolerations; replace it instead',
    })
  }
  const [before, after] = [old.spec.activeDeadlineSeconds, pod.spec.activeDeadlineSeconds]
  if (before !== undefined && (after === undefined || after > before)) {
    errors.push({ path: 'spec.activeDeadlineSeconds', reason: 'Forbidden', message: 'may only become shorter' })
  }
  if (old.spec.nodeName && pod.spec.nodeName !== old.spec.nodeName) {
    errors.push({ path: 'spec.nodeName', reason: 'Forbidden', message: 'a bound pod does not move' })
  }
  return errors
}

/** Keys of ConfigMaps and Secrets: they become file names. */
/** Of a ConfigMap or a Secret, as Kubernetes bounds them. */
const MAX_DATA_BYTES = 1 << 20

/** `decoded`: bytes of all values. */
export function validateDataSize(decoded: number): FieldError[] {
  if (decoded <= MAX_DATA_BYTES) return []
  return [{ path: 'data', reason: 'TooLong', message: `may have at most ${MAX_DATA_BYTES} bytes, has ${decoded}` }]
}

const textBytes = (map: Readonly<Record<string, string>> = {}): number =>
  Object.values(map).reduce((sum, value) => sum + Buffer.byteLength(value), 0)

const base64Bytes = (map: Readonly<Record<string, string>> = {}): number =>
  Object.values(map).reduce((sum, value) => sum + Buffer.byteLength(value, 'base64'), 0)

export function dataBytes(given: {
  text?: Readonly<Record<string, string>> | undefined
  base64?: Readonly<Record<string, string>> | undefined
}): number {
  return textBytes(given.text) + base64Bytes(given.base64)
}

export function validateConfigKeys(keys: readonly string[], path: string): FieldError[] {
  return keys
    .filter((key) => !CONFIG_KEY.test(key) || key === '.' || key.startsWith('..'))
    .map((key) => ({ path: `${path}[${key}]`, reason: 'Invalid', message: 'use letters, digits, "-", "_" or "."' }))
}
