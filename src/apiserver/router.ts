/**
 * A path to what it names. `/api/v1/namespaces/N/pods/NAME/log` is resource, namespace, name and sub-resource; anything
 * that fits no kind stays a plain path. Source: k8s.io/apiserver/pkg/endpoints/request `RequestInfo`.
 */
import { endpointsKind } from '../api/endpoints.ts'
import type { KindDefinition } from '../api/kind.ts'
import { findKind } from '../api/kinds.ts'
import { DroverError } from '../base/errors.ts'

export interface Target {
  kind: KindDefinition
  /** Empty for cluster-wide objects and for lists over all namespaces. */
  namespace: string
  /** Empty for collections. */
  name: string
  /** Empty for the object itself. */
  subresource: string
}

/** A `pods/exec` path may go on behind the sub-resource in Kubernetes (proxies); here it may not. */
const NAMESPACE_SUBRESOURCES: ReadonlySet<string> = new Set(['status', 'finalize'])

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw new DroverError('invalid', `the path segment "${segment}" is not valid percent-encoding`, { cause })
  }
}

/** What the path names, or undefined when it is no resource that is served here. */
export function parseTarget(path: string): Target | undefined {
  const segments = path.split('/').slice(1).map(decode)
  if (segments.at(-1) === '') segments.pop()
  const root = segments.shift()
  if (root !== 'api' && root !== 'apis') return undefined
  const group = root === 'api' ? '' : (segments.shift() ?? '')
  const version = segments.shift()
  if (version === undefined || segments.length === 0 || segments.includes('')) return undefined
  if (root === 'apis' && group === '') return undefined
  return parseResource(group, version, segments)
}

/** Kinds that are shown and not stored. */
export const SHOWN_KINDS: readonly KindDefinition[] = [endpointsKind as KindDefinition]

function findShown(group: string, version: string, plural: string): KindDefinition | undefined {
  return SHOWN_KINDS.find((kind) => kind.group === group && kind.version === version && kind.plural === plural)
}

function parseResource(group: string, version: string, segments: string[]): Target | undefined {
  const [first = '', second = '', third = ''] = segments
  const scoped = first === 'namespaces' && segments.length > 2 && !NAMESPACE_SUBRESOURCES.has(third)
  const namespace = scoped ? second : ''
  const [plural = '', name = '', subresource = '', ...rest] = scoped ? segments.slice(2) : segments
  const kind = findKind(group, version, plural) ?? findShown(group, version, plural)
  if (kind === undefined || rest.length > 0) return undefined
  if (scoped && !kind.namespaced) return undefined
  if (!scoped && kind.namespaced && name !== '') return undefined
  return { kind, namespace, name, subresource }
}

/** Sub-resources of a kind, with the verbs that each takes. */
export function subresourcesOf(kind: KindDefinition): Map<string, string[]> {
  const found = new Map<string, string[]>()
  if (kind.group === '' && kind.plural === 'pods') {
    found.set('attach', ['create', 'get'])
    found.set('binding', ['create'])
    found.set('eviction', ['create'])
    found.set('exec', ['create', 'get'])
    found.set('log', ['get'])
    found.set('portforward', ['create', 'get'])
  }
  if (kind.group === '' && kind.plural === 'serviceaccounts') found.set('token', ['create'])
  if (kind.group === '' && kind.plural === 'namespaces') found.set('finalize', ['update'])
  if (kind.hasScale) found.set('scale', ['get', 'patch', 'update'])
  if (kind.hasStatus) found.set('status', ['get', 'patch', 'update'])
  return found
}

const isTrue = (value: string | null): boolean => value === 'true' || value === '1'

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/**
 * The verb as authorization and metrics name it. A method that means nothing here is its own verb, or `other` when it is
 * none of HTTP's: HTTP/2 lets clients make them up, and metrics must not grow with them.
 */
export function verbOf(method: string, target: Target | undefined, query: URLSearchParams): string {
  const known = target === undefined ? undefined : resourceVerb(method, target, query)
  return known ?? (METHODS.has(method) ? method.toLowerCase() : 'other')
}

function resourceVerb(method: string, target: Target, query: URLSearchParams): string | undefined {
  const one = target.name !== ''
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (isTrue(query.get('watch')) && target.subresource === '') return 'watch'
      return one ? 'get' : 'list'
    case 'POST':
      return !one || target.subresource !== '' ? 'create' : undefined
    case 'PUT':
      return one ? 'update' : undefined
    case 'PATCH':
      return one ? 'patch' : undefined
    case 'DELETE':
      return one ? 'delete' : 'deletecollection'
    default:
      return undefined
  }
}
