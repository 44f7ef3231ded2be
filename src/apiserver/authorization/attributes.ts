/**
 * What a request is about, as roles name it. Paths of resources that are not in the table of kinds (reviews, Drover's
 * own) are read by their form alone, so that roles can name those too. Pure.
 * Source: k8s.io/apiserver/pkg/endpoints/request `RequestInfo`.
 */
import type { Target } from '../router.ts'
import type { Attributes } from './rules.ts'

const NAMESPACE_SUBRESOURCES: ReadonlySet<string> = new Set(['status', 'finalize'])
const VERBS: Readonly<Record<string, readonly [string, string]>> = {
  GET: ['get', 'list'],
  HEAD: ['get', 'list'],
  POST: ['create', 'create'],
  PUT: ['update', 'update'],
  PATCH: ['patch', 'patch'],
  DELETE: ['delete', 'deletecollection'],
}

export interface AttributesInput {
  target: Target | undefined
  verb: string
  method: string
  path: string
}

export function attributesOf({ target, verb, method, path }: AttributesInput): Attributes {
  if (target === undefined) return pathAttributes(method, verb, path)
  const { kind, subresource, name } = target
  const { group, plural } = kind
  // A role in a namespace may say what becomes of the namespace itself.
  const namespace = group === '' && plural === 'namespaces' ? name : target.namespace
  return { verb, group, plural, subresource, namespace, name, path }
}

function pathAttributes(method: string, verb: string, path: string): Attributes {
  const none = { verb, group: '', plural: '', subresource: '', namespace: '', name: '', path }
  const segments = path.split('/').slice(1)
  if (segments.at(-1) === '') segments.pop()
  const root = segments.shift()
  if (root !== 'api' && root !== 'apis') return none
  const group = root === 'api' ? '' : (segments.shift() ?? '')
  segments.shift()
  if (segments.length === 0 || segments.includes('')) return none
  const [first = '', second = '', third = ''] = segments
  const isScoped = first === 'namespaces' && segments.length > 2 && !NAMESPACE_SUBRESOURCES.has(third)
  const [plural = '', name = '', subresource = ''] = isScoped ? segments.slice(2) : segments
  const [one, many] = VERBS[method] ?? [verb, verb]
  const namespace = isScoped ? second : ''
  return { verb: name === '' ? many : one, group, plural, subresource, namespace, name, path }
}
