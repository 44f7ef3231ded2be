/**
 * What is served: legacy lists, and aggregated discovery in one answer each for /api and /apis. All of it follows from
 * the table of kinds, so it is encoded once. Clients revalidate by ETag.
 * Source: k8s.io/api/apidiscovery/v2, k8s.io/apimachinery/pkg/apis/meta/v1 `APIResourceList`.
 */
import { apiVersionOf, type KindDefinition } from '../api/kind.ts'
import { KINDS } from '../api/kinds.ts'
import { type MediaRange, parseAccept } from './codec.ts'
import { type Document, jsonDocument, sendDocument } from './document.ts'
import type { Exchange } from './exchange.ts'
import { REVIEWS } from './reviews.ts'
import { SHOWN_KINDS, subresourcesOf } from './router.ts'
import { HttpError } from './status_error.ts'
import { USAGE_GROUP, USAGE_KINDS, USAGE_VERSION } from './usage.ts'

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']

/** Of kinds that are shown and not stored. */
export const READ_VERBS = ['get', 'list', 'watch']

/** Kinds of sub-resources that are not the parent's own. */
const SUBRESOURCE_KINDS: Readonly<Record<string, { group: string; version: string; kind: string }>> = {
  scale: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
  eviction: { group: 'policy', version: 'v1', kind: 'Eviction' },
  binding: { group: '', version: 'v1', kind: 'Binding' },
  token: { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' },
  exec: { group: '', version: 'v1', kind: 'PodExecOptions' },
  attach: { group: '', version: 'v1', kind: 'PodAttachOptions' },
  portforward: { group: '', version: 'v1', kind: 'PodPortForwardOptions' },
}

interface Served {
  group: string
  version: string
  kind: string
  plural: string
  singular: string
  namespaced: boolean
  shortNames: readonly string[]
  categories: readonly string[]
  verbs: readonly string[]
  subresources: { name: string; kind: { group: string; version: string; kind: string }; verbs: readonly string[] }[]
}

function servedKind(definition: KindDefinition): Served {
  const { group, version, kind, plural, singular, namespaced, shortNames, categories } = definition
  const subresources = [...subresourcesOf(definition)].map(([name, verbs]) => {
    const own = SUBRESOURCE_KINDS[name] ?? { group, version, kind }
    return { name, kind: own, verbs }
  })
  return { group, version, kind, plural, singular, namespaced, shortNames, categories, verbs: VERBS, subresources }
}

function allServed(): Served[] {
  const reviews = REVIEWS.map(({ group, plural, kind, namespaced }) => ({
    group,
    version: 'v1',
    kind,
    plural,
    singular: kind.toLowerCase(),
    namespaced,
    shortNames: [],
    categories: [],
    verbs: ['create'],
    subresources: [],
  }))
  const usage = USAGE_KINDS.map(({ kind, plural, namespaced }) => ({
    group: USAGE_GROUP,
    version: USAGE_VERSION,
    kind,
    plural,
    singular: '',
    namespaced,
    shortNames: [],
    categories: [],
    verbs: ['get', 'list'],
    subresources: [],
  }))
  const shown = SHOWN_KINDS.map((kind) => ({ ...servedKind(kind), verbs: READ_VERBS }))
  return [...KINDS.map(servedKind), ...shown, ...reviews, ...usage]
}

function legacyResources(served: readonly Served[]): object[] {
  return served.flatMap((one) => [
    {
      name: one.plural,
      singularName: one.singular,
      namespaced: one.namespaced,
      kind: one.kind,
      verbs: one.verbs,
      ...(one.shortNames.length > 0 ? { shortNames: one.shortNames } : {}),
      ...(one.categories.length > 0 ? { categories: one.categories } : {}),
    },
    ...one.subresources.map(({ name, kind, verbs }) => ({
      name: `${one.plural}/${name}`,
      singularName: '',
      namespaced: one.namespaced,
      ...(kind.group === one.group ? {} : { group: kind.group, version: kind.version }),
      kind: kind.kind,
      verbs,
    })),
  ])
}

function aggregatedResource(one: Served): object {
  return {
    resource: one.plural,
    responseKind: { group: one.group, version: one.version, kind: one.kind },
    scope: one.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: one.singular,
    verbs: one.verbs,
    ...(one.shortNames.length > 0 ? { shortNames: one.shortNames } : {}),
    ...(one.categories.length > 0 ? { categories: one.categories } : {}),
    ...(one.subresources.length > 0
      ? {
          subresources: one.subresources.map(({ name, kind, verbs }) => ({
            subresource: name,
            responseKind: kind,
            verbs,
          })),
        }
      : {}),
  }
}

interface GroupVersions {
  group: string
  versions: Map<string, Served[]>
}

function byGroup(): GroupVersions[] {
  const groups = new Map<string, GroupVersions>()
  for (const one of allServed()) {
    const found = groups.get(one.group) ?? { group: one.group, versions: new Map<string, Served[]>() }
    groups.set(one.group, found)
    found.versions.set(one.version, [...(found.versions.get(one.version) ?? []), one])
  }
  return [...groups.values()]
}

function aggregated(groups: readonly GroupVersions[], version: string): object {
  const items = groups.map(({ group, versions }) => ({
    metadata: group === '' ? { creationTimestamp: null } : { name: group, creationTimestamp: null },
    versions: [...versions].map(([name, served]) => ({
      version: name,
      freshness: 'Current',
      resources: served.map(aggregatedResource),
    })),
  }))
  return { kind: 'APIGroupDiscoveryList', apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items }
}

function apiGroup({ group, versions }: GroupVersions): object {
  const all = [...versions.keys()].map((version) => ({ groupVersion: `${group}/${version}`, version }))
  return { name: group, versions: all, preferredVersion: all[0] }
}

export interface Discovery {
  /** Answers and returns true when the path is one of discovery. */
  handle(exchange: Exchange): Promise<boolean>
}

/** Plain JSON under its path; aggregated forms under path and version. */
function allDocuments(): Map<string, Document> {
  const groups = byGroup()
  const core = groups.filter(({ group }) => group === '')
  const named = groups.filter(({ group }) => group !== '')
  const documents = new Map<string, Document>()
  for (const version of ['v2', 'v2beta1']) {
    documents.set(`/api ${version}`, jsonDocument(aggregated(core, version)))
    documents.set(`/apis ${version}`, jsonDocument(aggregated(named, version)))
  }
  documents.set('/api', jsonDocument({ kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }))
  documents.set('/apis', jsonDocument({ kind: 'APIGroupList', apiVersion: 'v1', groups: named.map(apiGroup) }))
  for (const entry of groups) {
    if (entry.group !== '') {
      documents.set(`/apis/${entry.group}`, jsonDocument({ kind: 'APIGroup', apiVersion: 'v1', ...apiGroup(entry) }))
    }
    for (const [version, served] of entry.versions) {
      const groupVersion = apiVersionOf({ group: entry.group, version })
      const list = { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources: legacyResources(served) }
      documents.set(entry.group === '' ? `/api/${version}` : `/apis/${groupVersion}`, jsonDocument(list))
    }
  }
  const paths = [...new Set([...documents.keys()].map((key) => key.split(' ')[0] ?? key))]
  documents.set('/', jsonDocument({ paths: [...paths, ...OTHER_PATHS].sort() }))
  return documents
}

/** What is served beside resources. */
const OTHER_PATHS = [
  '/healthz',
  '/livez',
  '/metrics',
  '/openapi/v2',
  '/openapi/v3',
  '/openid/v1/jwks',
  '/readyz',
  '/version',
]

/** The aggregated version that the client would take, or undefined for plain JSON. */
function aggregatedVersion(ranges: readonly MediaRange[]): string | undefined {
  for (const { type, params } of ranges) {
    const version = params.get('v')
    const isDiscovery = params.get('g') === 'apidiscovery.k8s.io' && params.get('as') === 'APIGroupDiscoveryList'
    if (type === 'application/json' && isDiscovery && (version === 'v2' || version === 'v2beta1')) return version
    if (!params.has('as') && ['application/json', 'application/*', '*/*'].includes(type)) return undefined
  }
  throw new HttpError(406, 'NotAcceptable', 'discovery can be served as application/json only')
}

export function createDiscovery(): Discovery {
  const documents = allDocuments()
  return {
    async handle(exchange) {
      const path = exchange.path.length > 1 ? exchange.path.replace(/\/$/, '') : exchange.path
      const plain = documents.get(path)
      if (plain === undefined || (exchange.method !== 'GET' && exchange.method !== 'HEAD')) return false
      const canAggregate = documents.has(`${path} v2`)
      const version = aggregatedVersion(parseAccept(exchange.headers.accept))
      const found = canAggregate && version !== undefined ? documents.get(`${path} ${version}`) : undefined
      const type =
        found === undefined
          ? 'application/json'
          : `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`
      await sendDocument(exchange, found ?? plain, type)
      return true
    },
  }
}
