/**
 * Names of images, as people write them and as registries know them. Pure.
 * Source: the reference grammar of distribution (`domain/path:tag@digest`) and Docker's defaults for what is left out.
 */
import { DroverError } from '../../base/errors.ts'

export interface Reference {
  /** Host, with a port where one was given; Docker Hub is `docker.io`. */
  registry: string
  repository: string
  /** Empty when the reference has a digest: the digest alone decides. */
  tag: string
  /** `sha256:…` or empty. */
  digest: string
}

const DEFAULT_REGISTRY = 'docker.io'
const HOST =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
const DIGEST = /^sha256:[0-9a-f]{64}$/
const MAX_NAME_LENGTH = 255

/** Reads a reference as people write it: `busybox` is `docker.io/library/busybox:latest`. Throws `invalid`. */
export function parseReference(text: string): Reference {
  const refuse = (why: string): never => {
    throw new DroverError(
      'invalid',
      `"${text}" is not an image reference: ${why}; write for example busybox, busybox:1.36 or registry.example.com:5000/team/app:v1`,
    )
  }
  const at = text.indexOf('@')
  const digest = at < 0 ? '' : text.slice(at + 1)
  const named = at < 0 ? text : text.slice(0, at)
  if (at >= 0 && !DIGEST.test(digest)) refuse(`"${digest}" is not a digest (sha256: and 64 lower-case hex digits)`)
  // A colon before the last slash belongs to the host's port.
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1)
  const tag = colon < 0 ? '' : named.slice(colon + 1)
  const name = colon < 0 ? named : named.slice(0, colon)
  if (colon >= 0 && !TAG.test(tag)) refuse(`"${tag}" is not a tag`)
  if (name === '') refuse('it has no name')
  if (/^[0-9a-f]{64}$/.test(name)) refuse('64 hex digits are an image ID, not a name')
  const { registry, repository } = splitName(name)
  if (!HOST.test(registry)) refuse(`"${registry}" is not a registry host`)
  for (const component of repository.split('/')) {
    if (COMPONENT.test(component)) continue
    const hint = component !== component.toLowerCase() ? ' (names are lower-case)' : ''
    refuse(component === '' ? 'a part of its name is empty' : `"${component}" cannot be part of a name${hint}`)
  }
  if (registry.length + 1 + repository.length > MAX_NAME_LENGTH) refuse(`it is longer than ${MAX_NAME_LENGTH}`)
  return { registry, repository, tag: digest !== '' ? '' : tag || 'latest', digest }
}

function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/')
  const head = slash < 0 ? '' : name.slice(0, slash)
  const isHost = /[.:]/.test(head) || head === 'localhost' || head !== head.toLowerCase()
  if (!isHost) return { registry: DEFAULT_REGISTRY, repository: slash < 0 ? `library/${name}` : name }
  const rest = name.slice(slash + 1)
  if (head !== DEFAULT_REGISTRY && head !== 'index.docker.io') return { registry: head, repository: rest }
  return { registry: DEFAULT_REGISTRY, repository: rest.includes('/') ? rest : `library/${rest}` }
}

/** The full form, the one that is stored and compared. */
export function formatReference(reference: Reference): string {
  const { registry, repository, tag, digest } = reference
  return digest !== '' ? `${registry}/${repository}@${digest}` : `${registry}/${repository}:${tag}`
}

/** `sha256:…`, complete: what names a blob. */
export function isDigest(text: unknown): text is string {
  return typeof text === 'string' && DIGEST.test(text)
}

/** The hex digits of a text that could be an image's ID or the start of one, else undefined. */
export function idPrefix(text: string): string | undefined {
  const hex = text.startsWith('sha256:') ? text.slice(7) : text
  return /^[0-9a-f]{4,64}$/.test(hex) ? hex : undefined
}
