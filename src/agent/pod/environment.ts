/**
 * A container's environment and its `$(VAR)` references. Pure. Source: Kubernetes "Define Environment Variables for a
 * Container", "Dependent Environment Variables", "Downward API".
 */
import type { ConfigMap } from '../../api/configmap.ts'
import type { Container, EnvVar, Pod } from '../../api/pod.ts'
import type { Secret } from '../../api/secret.ts'
import { DroverError } from '../../base/errors.ts'
import { parseBytes, parseCpuMillis } from '../../base/quantity.ts'
import type { ServiceRow } from '../../rpc/tables.ts'
import { serviceLinks } from './service_links.ts'

export interface ConfigSources {
  configMap(name: string): ConfigMap | undefined
  secret(name: string): Secret | undefined
}

export interface EnvironmentContext {
  pod: Pod
  sources: ConfigSources
  podIP: string
  hostIP: string
  nodeName: string
  /** What stands in for limits that are not set: what the node says that pods can have. */
  nodeCpuMillis: number
  nodeMemoryBytes: number
  nodeStorageBytes: number
  /** Services that are known now. */
  services: readonly ServiceRow[]
}

type Values = Readonly<Record<string, string>>

/** Plain text of a ConfigMap's or Secret's keys. */
function configMapValues(map: ConfigMap): Values {
  return map.data ?? {}
}

function secretValues(secret: Secret): Values {
  const entries = Object.entries(secret.data ?? {})
  return Object.fromEntries(entries.map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]))
}

function configValues(
  { sources }: EnvironmentContext,
  kind: 'configmap' | 'secret',
  name: string,
  optional: boolean,
): Values | undefined {
  const object = kind === 'configmap' ? sources.configMap(name) : sources.secret(name)
  if (object !== undefined) return kind === 'configmap' ? configMapValues(object as ConfigMap) : secretValues(object)
  if (optional) return undefined
  throw new DroverError('notFound', `${kind} "${name}" not found`)
}

/** `name` and `value` of every variable, later ones winning. Throws `notFound` for what is missing, by name. */
export function resolveEnvironment(
  container: Container,
  imageEnv: readonly string[],
  context: EnvironmentContext,
): Map<string, string> {
  const { metadata, spec } = context.pod
  const links = { namespace: metadata.namespace ?? '', enabled: spec.enableServiceLinks !== false }
  // The services' variables come first: whoever sets one of these names means it.
  const env = serviceLinks(context.services, links)
  for (const entry of imageEnv) {
    const equals = entry.indexOf('=')
    if (equals > 0) env.set(entry.slice(0, equals), entry.slice(equals + 1))
  }
  for (const { prefix = '', configMapRef, secretRef } of container.envFrom ?? []) {
    const kind = configMapRef === undefined ? 'secret' : 'configmap'
    const reference = configMapRef ?? secretRef
    const values = configValues(context, kind, reference?.name ?? '', reference?.optional ?? false)
    for (const [key, value] of Object.entries(values ?? {})) env.set(`${prefix}${key}`, value)
  }
  for (const variable of container.env ?? []) {
    const value = variableValue(variable, container, env, context)
    if (value !== undefined) env.set(variable.name, value)
  }
  return env
}

function variableValue(
  { value, valueFrom }: EnvVar,
  container: Container,
  env: ReadonlyMap<string, string>,
  context: EnvironmentContext,
): string | undefined {
  if (valueFrom === undefined) return expand(value ?? '', env)
  const { configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef } = valueFrom
  if (fieldRef !== undefined) return fieldValue(fieldRef.fieldPath, context)
  if (resourceFieldRef !== undefined) {
    const { containerName, resource, divisor } = resourceFieldRef
    return resourceValue(context, containerName || container.name, resource, divisor)
  }
  const kind = configMapKeyRef === undefined ? 'secret' : 'configmap'
  const reference = configMapKeyRef ?? secretKeyRef
  if (reference === undefined) return ''
  const { name = '', key, optional = false } = reference
  const found = configValues(context, kind, name, optional)?.[key]
  if (found === undefined && !optional) throw new DroverError('notFound', `${kind} "${name}" has no key "${key}"`)
  return found
}

/** Values of `fieldRef`. Throws `invalid` for a path that is not offered. */
export function fieldValue(path: string, { pod, nodeName, podIP, hostIP }: EnvironmentContext): string {
  const { metadata, spec } = pod
  const keyed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path)
  if (keyed !== null) {
    const [, map, key = ''] = keyed
    return (map === 'labels' ? metadata.labels : metadata.annotations)?.[key] ?? ''
  }
  const values: Values = {
    'metadata.name': metadata.name ?? '',
    'metadata.namespace': metadata.namespace ?? '',
    'metadata.uid': metadata.uid ?? '',
    'spec.nodeName': nodeName,
    'spec.serviceAccountName': spec.serviceAccountName ?? 'default',
    'status.podIP': podIP,
    'status.podIPs': podIP,
    'status.hostIP': hostIP,
    'status.hostIPs': hostIP,
  }
  const value = values[path]
  if (value === undefined) {
    throw new DroverError('invalid', `fieldRef "${path}" is not offered; use one of ${Object.keys(values).join(', ')}`)
  }
  return value
}

/** A field as a file holds it: maps whole, a line a key, values quoted. */
export function fieldFile(path: string, context: EnvironmentContext): string {
  const { labels, annotations } = context.pod.metadata
  const map = path === 'metadata.labels' ? labels : path === 'metadata.annotations' ? annotations : undefined
  if (path !== 'metadata.labels' && path !== 'metadata.annotations') return fieldValue(path, context)
  const lines = Object.entries(map ?? {}).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  return lines.sort().join('\n')
}

/** In whole units, rounded up. Both are counted in whole thousandths or bytes first: a fraction of a core is none in floating point. */
export function resourceValue(
  { pod, nodeCpuMillis, nodeMemoryBytes, nodeStorageBytes }: EnvironmentContext,
  containerName: string,
  resource: string,
  divisor: string | number | undefined,
): string {
  const containers = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]
  const container = containers.find(({ name }) => name === containerName)
  const [list, name = ''] = resource.split('.')
  if (container === undefined || (list !== 'limits' && list !== 'requests')) {
    throw new DroverError('invalid', `resourceFieldRef "${containerName}: ${resource}" is not offered`)
  }
  const whole = name === 'cpu' ? parseCpuMillis : parseBytes
  const onNode: Readonly<Record<string, number>> = {
    cpu: nodeCpuMillis,
    memory: nodeMemoryBytes,
    'ephemeral-storage': nodeStorageBytes,
  }
  const quantity = container.resources?.[list]?.[name]
  const amount = quantity === undefined ? (list === 'limits' ? (onNode[name] ?? 0) : 0) : whole(quantity)
  const unit = divisor === undefined ? 0 : whole(divisor)
  return String(Math.ceil(amount / (unit === 0 ? whole(1) : unit)))
}

/** Replaces `$(NAME)` by its value; `$$(NAME)` stands for itself; a name that is not set is left as it is. */
export function expand(text: string, env: ReadonlyMap<string, string>): string {
  return text.replace(/\$(\$|\(([^()$]+)\))/g, (whole: string, rest: string, name: string | undefined) => {
    if (rest === '$') return '$'
    return env.get(name ?? '') ?? whole
  })
}
