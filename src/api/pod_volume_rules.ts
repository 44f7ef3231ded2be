/** Rules of volumes, their mounts, and what a pod shares with its host. Source: Kubernetes `validation.go` (meanings, not code). */
import type { FieldError } from '../base/errors.ts'
import { isDnsLabel, isDnsSubdomain } from './names.ts'
import type { Container, DownwardFile, PodSpec, ProjectedSource, Volume, VolumeMount } from './pod.ts'

const VOLUME_SOURCES = [
  'emptyDir',
  'hostPath',
  'configMap',
  'secret',
  'persistentVolumeClaim',
  'projected',
  'downwardAPI',
] as const
const PROJECTED_SOURCES = ['configMap', 'secret', 'downwardAPI', 'serviceAccountToken'] as const
/** What may change in a pod's life, and what is known before it has an address. */
const DOWNWARD_FIELD = /^metadata\.(name|namespace|uid|labels|annotations|(labels|annotations)\['[^']+'\])$/
const MIN_TOKEN_SECONDS = 600
const MAX_TOKEN_SECONDS = 2 ** 32

const invalid = (path: string, message: string): FieldError => ({ path, reason: 'Invalid', message })
const required = (path: string, message: string): FieldError => ({ path, reason: 'Required', message })

function leadsOut(path: string): boolean {
  return path.startsWith('/') || path.split('/').includes('..')
}

function filePathErrors(file: string, path: string): FieldError[] {
  if (file === '') return [required(path, 'name a file')]
  return leadsOut(file) || file.startsWith('..') ? [invalid(path, `"${file}" must be relative, without ".."`)] : []
}

function modeErrors(mode: number | undefined, path: string): FieldError[] {
  return mode !== undefined && (mode < 0 || mode > 0o777) ? [invalid(path, 'must be from 0 to 0777 (octal)')] : []
}

function keyFileErrors(items: readonly { path: string; mode?: number }[] | undefined, path: string): FieldError[] {
  return (items ?? []).flatMap((item, index) => [
    ...filePathErrors(item.path, `${path}[${index}].path`),
    ...modeErrors(item.mode, `${path}[${index}].mode`),
  ])
}

function downwardErrors(items: readonly DownwardFile[] | undefined, path: string): FieldError[] {
  const errors = keyFileErrors(items, path)
  for (const [index, { fieldRef, resourceFieldRef }] of (items ?? []).entries()) {
    const at = `${path}[${index}]`
    if ((fieldRef === undefined) === (resourceFieldRef === undefined)) {
      errors.push(required(at, 'give one of fieldRef and resourceFieldRef'))
    }
    if (fieldRef !== undefined && !DOWNWARD_FIELD.test(fieldRef.fieldPath)) {
      const message = `"${fieldRef.fieldPath}" is not offered in files; metadata's name, namespace, uid, labels and annotations are`
      errors.push({ path: `${at}.fieldRef.fieldPath`, reason: 'NotSupported', message })
    }
    if (resourceFieldRef !== undefined && !resourceFieldRef.containerName) {
      errors.push(required(`${at}.resourceFieldRef.containerName`, 'a volume belongs to no container: name one'))
    }
  }
  return errors
}

function projectedErrors(source: ProjectedSource, path: string): FieldError[] {
  const given = PROJECTED_SOURCES.filter((kind) => source[kind] !== undefined)
  if (given.length !== 1) return [required(path, `give exactly one of ${PROJECTED_SOURCES.join(', ')}`)]
  const { configMap, secret, downwardAPI, serviceAccountToken } = source
  const errors = [
    ...keyFileErrors(configMap?.items, `${path}.configMap.items`),
    ...keyFileErrors(secret?.items, `${path}.secret.items`),
    ...downwardErrors(downwardAPI?.items, `${path}.downwardAPI.items`),
  ]
  if (serviceAccountToken === undefined) return errors
  const { path: file, expirationSeconds = MIN_TOKEN_SECONDS } = serviceAccountToken
  errors.push(...filePathErrors(file, `${path}.serviceAccountToken.path`))
  if (expirationSeconds < MIN_TOKEN_SECONDS || expirationSeconds > MAX_TOKEN_SECONDS) {
    errors.push(
      invalid(
        `${path}.serviceAccountToken.expirationSeconds`,
        `must be from ${MIN_TOKEN_SECONDS} to ${MAX_TOKEN_SECONDS}`,
      ),
    )
  }
  return errors
}

export function validateVolume(volume: Volume, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (!isDnsLabel(volume.name)) errors.push(invalid(`${path}.name`, `"${volume.name}" is not a DNS label`))
  const { name: _name, ...sources } = volume
  const given = Object.keys(sources)
  const honoured = VOLUME_SOURCES.filter((source) => volume[source] !== undefined)
  if (given.length > 1) {
    errors.push({ path, reason: 'Forbidden', message: `give one source, not ${given.join(' and ')}` })
  } else if (honoured.length === 0) {
    const message = `Drover has no ${given[0]} volumes; it has ${VOLUME_SOURCES.join(', ')}`
    errors.push({ path: `${path}.${given[0]}`, reason: 'NotSupported', message })
  }
  const { persistentVolumeClaim: claim, configMap, secret, downwardAPI, projected } = volume
  if (claim !== undefined && !isDnsSubdomain(claim.claimName)) {
    errors.push(invalid(`${path}.persistentVolumeClaim.claimName`, `"${claim.claimName}" is not the name of a claim`))
  }
  for (const source of ['configMap', 'secret', 'downwardAPI', 'projected'] as const) {
    errors.push(...modeErrors(volume[source]?.defaultMode, `${path}.${source}.defaultMode`))
  }
  errors.push(
    ...keyFileErrors(configMap?.items, `${path}.configMap.items`),
    ...keyFileErrors(secret?.items, `${path}.secret.items`),
    ...downwardErrors(downwardAPI?.items, `${path}.downwardAPI.items`),
    ...(projected?.sources ?? []).flatMap((source, index) =>
      projectedErrors(source, `${path}.projected.sources[${index}]`),
    ),
  )
  return errors
}

export interface MountContext {
  container: Container
  path: string
  volumes: ReadonlySet<string>
}

export function validateMount(mount: VolumeMount, { container, path, volumes }: MountContext): FieldError[] {
  const errors: FieldError[] = []
  if (!volumes.has(mount.name)) errors.push(invalid(`${path}.name`, `the pod has no volume "${mount.name}"`))
  if (mount.mountPath === '' || mount.mountPath.includes(':')) {
    errors.push(invalid(`${path}.mountPath`, 'must be a path without ":"'))
  }
  if (mount.subPath && leadsOut(mount.subPath)) {
    errors.push(invalid(`${path}.subPath`, 'must be relative and without ".."'))
  }
  if (mount.subPathExpr && leadsOut(mount.subPathExpr)) {
    errors.push(invalid(`${path}.subPathExpr`, 'must be relative and without ".."'))
  }
  if (mount.subPath && mount.subPathExpr) errors.push(invalid(`${path}.subPathExpr`, 'give subPath or subPathExpr'))
  const { mountPropagation = 'None', recursiveReadOnly = 'Disabled' } = mount
  if (mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true) {
    const message = 'Bidirectional is for privileged containers'
    errors.push({ path: `${path}.mountPropagation`, reason: 'Forbidden', message })
  }
  if (recursiveReadOnly !== 'Disabled' && (mount.readOnly !== true || mountPropagation !== 'None')) {
    const message = 'needs readOnly: true and no mountPropagation'
    errors.push({ path: `${path}.recursiveReadOnly`, reason: 'Forbidden', message })
  }
  return errors
}

/** What a pod shares: of one namespace there can be only one owner. */
export function validateSharing(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (spec.hostPID === true && spec.shareProcessNamespace === true) {
    errors.push(invalid(`${path}.shareProcessNamespace`, 'ShareProcessNamespace and HostPID cannot both be enabled'))
  }
  if (spec.hostUsers !== false) return errors
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const) {
    if (spec[field] !== true) continue
    errors.push({ path: `${path}.${field}`, reason: 'Forbidden', message: 'does not go with hostUsers: false' })
  }
  for (const list of ['initContainers', 'containers'] as const) {
    for (const [index, { volumeDevices }] of (spec[list] ?? []).entries()) {
      if (!Array.isArray(volumeDevices) || volumeDevices.length === 0) continue
      const at = `${path}.${list}[${index}].volumeDevices`
      errors.push({ path: at, reason: 'Forbidden', message: 'do not go with hostUsers: false' })
    }
  }
  return errors
}
