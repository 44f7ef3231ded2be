/** Requests as malformed and hostile clients send them: every endpoint, every part of a request, alone and together. */
import fc from 'fast-check'
import { apiVersionOf, type KindDefinition } from '../../src/api/kind.ts'
import { KINDS } from '../../src/api/kinds.ts'
import { subresourcesOf } from '../../src/apiserver/router.ts'
import { mutate, oddValue, pathInto } from './mutate.ts'
import { SAMPLES } from './samples.ts'

export interface HostileRequest {
  method: string
  path: string
  headers: Record<string, string>
  body: Buffer | undefined
}

const OTHER_PATHS = [
  ...['/', '/api', '/apis', '/api/v1', '/apis/apps/v1', '/version', '/healthz', '/livez/x', '/readyz', '/metrics'],
  ...['/openapi/v2', '/openapi/v3', '/openapi/v3/api/v1', '/openapi/v3/../../x', '/openid/v1/jwks', '/nothing'],
  ...['/apis/drover.dev/v1/cluster', '/apis/drover.dev/v1/plan', '/.well-known/openid-configuration'],
  ...['/apis/drover.dev/v1/namespaces/default/pods/web/why', '/apis/drover.dev/v1/namespaces/%/pods/%/why'],
  ...['/apis/metrics.k8s.io/v1beta1/nodes', '/apis/metrics.k8s.io/v1beta1/namespaces/%zz/pods/web'],
  ...['selfsubjectaccessreviews', 'subjectaccessreviews', 'localsubjectaccessreviews', 'selfsubjectrulesreviews'].map(
    (review) => `/apis/authorization.k8s.io/v1/${review}`,
  ),
  ...['tokenreviews', 'selfsubjectreviews'].map((review) => `/apis/authentication.k8s.io/v1/${review}`),
]

const ODD_SEGMENTS = [
  ...['', '.', '..', '%', '%2e%2e', '%00', '%ff', '%E2%98%83', 'a'.repeat(300), 'A B', '__proto__', 'constructor'],
  ...['*', 'web%2fx', '~1', '{name}', '-', '0', 'toString', 'status'],
]
const ODD_TEXT = [
  ...[
    '',
    '0',
    '-1',
    '1',
    '9'.repeat(14),
    '1e9',
    'true',
    'false',
    'x',
    'All',
    'Exact',
    'NotOlderThan',
    'Orphan',
    'null',
  ],
  ...['a=b', 'a in (b,c)', 'a notin (', '!a', ',,,,', 'a=b=c', 'metadata.name=web', 'spec.nodeName!=x', 'status.phase'],
  ...[`${'a,'.repeat(3_000)}a`, `${'('.repeat(3_000)}`, ' '.repeat(3_000), `a in (${'b,'.repeat(2_000)}b)`],
  ...['eyJ2IjoiZHJvdmVyL3YxIiwicnYiOjEsInN0YXJ0IjoiYSJ9', '%', '%00', 'Strict', 'Ignore', '[]', '{}', '\u2603', '..'],
]
const PARAMETERS = [
  ...['labelSelector', 'fieldSelector', 'limit', 'continue', 'resourceVersionMatch', 'sendInitialEvents', 'dryRun'],
  ...['fieldManager', 'force', 'fieldValidation', 'gracePeriodSeconds', 'propagationPolicy', 'orphanDependents'],
  ...[
    'pretty',
    'includeObject',
    'allowWatchBookmarks',
    'container',
    'tailLines',
    'sinceSeconds',
    'sinceTime',
    'follow',
  ],
  ...['previous', 'command', 'stdin', 'ports', 'hash', 'verbose', 'exclude', '__proto__'],
]
const BODY_TYPES = ['application/json', 'application/json', 'application/yaml']
const PATCH_TYPES = [
  ...['application/json-patch+json', 'application/merge-patch+json', 'application/strategic-merge-patch+json'],
  ...['application/apply-patch+yaml', 'application/apply-patch+yaml'],
]
const ODD_TYPES = [
  ...[...BODY_TYPES, ...PATCH_TYPES, 'application/vnd.kubernetes.protobuf', 'text/plain'],
  ...['application/apply-patch+json', '', ';', 'application/json; charset=klingon'],
]
const ACCEPTS = [
  ...['*/*', 'application/json', 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json', 'text/html', ''],
  ...['application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io', 'application/vnd.kubernetes.protobuf', ';;;'],
  ...['application/com.github.proto-openapi.spec.v2@v1.0+protobuf', 'application/json;as=Table;v=v9;g=x', ','],
  ...['application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList', `${'a/b,'.repeat(1_000)}`],
]
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']
const ODD_METHODS = ['HEAD', 'OPTIONS', 'TRACE', 'BREW']
/** Few names, so that requests meet one another's objects and the store stays small. */
const NAMES = ['web', 'db', 'c', 'late']

const oneOf = <T>(values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values)
/** Mostly the plain thing, now and then an odd one. */
const mostly = <T>(plain: fc.Arbitrary<T>, odd: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 6, arbitrary: plain }, { weight: 1, arbitrary: odd })

/** A collection is what is posted to, and a name what is changed; anything is read and deleted. */
const NAMELESS_OF_TEN: Readonly<Record<string, number>> = { POST: 8, PUT: 1, PATCH: 1, GET: 3, DELETE: 1 }

function resourcePath(kind: KindDefinition, method: string): fc.Arbitrary<string> {
  const root = kind.group === '' ? '/api/v1' : `/apis/${apiVersionOf(kind)}`
  const namespace = kind.namespaced ? oneOf(['default', 'default', 'kube-system', 'none']) : fc.constant('')
  const name = mostly(oneOf(NAMES), oneOf(ODD_SEGMENTS))
  const subresource = mostly(fc.constant(''), oneOf([...subresourcesOf(kind).keys(), 'nonsense']))
  const nameless = NAMELESS_OF_TEN[method] ?? 3
  return fc
    .record({
      namespace: mostly(namespace, oneOf(ODD_SEGMENTS)),
      name: fc.oneof({ weight: 10 - nameless, arbitrary: name }, { weight: nameless, arbitrary: fc.constant('') }),
      subresource,
    })
    .map((at) => {
      const scope = kind.namespaced ? `/namespaces/${at.namespace}` : ''
      const own = at.name === '' ? '' : `/${at.name}${at.subresource === '' ? '' : `/${at.subresource}`}`
      return `${root}${scope}/${kind.plural}${own}`
    })
}

const operation = fc.record(
  {
    op: oneOf(['add', 'remove', 'replace', 'move', 'copy', 'test', 'steal']),
    path: oneOf([
      '',
      '/',
      '/spec',
      '/metadata/labels/a',
      '/metadata/name',
      '/spec/-',
      '/a/b/c',
      '/__proto__/x',
      'x',
      '/spec/replicas',
    ]),
    from: oneOf(['', '/spec', '/metadata', '/none']),
    value: oddValue,
  },
  { requiredKeys: ['op'] },
)

/** Without a namespace: the request's path says it. */
export function sampleNamed(sample: object, name: string): object {
  const { namespace: _, ...metadata } = (sample as { metadata?: { namespace?: string } }).metadata ?? {}
  return { ...sample, metadata: { ...metadata, name } }
}

function objectOf(kind: KindDefinition): fc.Arbitrary<unknown> {
  const sample = SAMPLES[kind.kind] ?? {}
  return fc
    .record({ name: oneOf(NAMES), path: pathInto, put: oddValue, times: fc.nat(2) })
    .map(({ name, path, put, times }) => {
      const named = sampleNamed(sample, name)
      return times === 0 ? named : mutate(named, times === 1 ? path : path.slice(0, 2), put)
    })
}

const garbage = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.concat([Buffer.from('k8s\0'), Buffer.from(bytes)])),
  oneOf([
    ...['', '{', '[', 'null', '1', '"x"', '{"a":', '{"metadata":null}', '{"metadata":[]}', '{"__proto__":{"x":1}}'],
    ...['['.repeat(5_000), `${'{"a":'.repeat(500)}1${'}'.repeat(500)}`, '\ud800', '{"metadata":{"name":{}}}'],
    ...['a: &a [x]\nb: [*a, *a]', 'a: b: c', '- - - -', '%YAML 9', '!!js/function x', '? ? ?', '\t', '[1,2', '&a [*a]'],
    ...['{"items":[{}]}', '{"dryRun":["x"]}', '{"spec":{"containers":null}}', `"${'x'.repeat(10_000)}"`],
  ]).map((text) => Buffer.from(text)),
)

function bodyOf(kind: KindDefinition): fc.Arbitrary<Buffer | undefined> {
  const json = fc
    .oneof(
      { weight: 5, arbitrary: objectOf(kind) },
      { weight: 2, arbitrary: fc.array(operation, { maxLength: 6 }) },
      { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 4 }) },
    )
    .map((value) => Buffer.from(JSON.stringify(value)))
  return fc.oneof(
    { weight: 6, arbitrary: json },
    { weight: 2, arbitrary: garbage },
    { weight: 1, arbitrary: fc.constant(undefined) },
  )
}

const oddQuery = fc
  .array(fc.tuple(oneOf(PARAMETERS), oneOf(ODD_TEXT)), { maxLength: 3 })
  .map((pairs) => pairs.map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll('%2C', ',')}`).join('&'))

/** Any odd parameter is enough to be refused: what lies behind is only met without. */
const query = fc.oneof({ weight: 2, arbitrary: fc.constant('') }, { weight: 1, arbitrary: oddQuery })

/** Nearly every request has a type and a taste; the rest is rare, for each of them ends most requests by itself. */
const rarely = (...values: string[]): fc.Arbitrary<string | undefined> =>
  fc.oneof({ weight: 40, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: oneOf(values) })

const headersOf = (method: string): fc.Arbitrary<Record<string, string>> =>
  fc
    .record({
      'content-type': mostly(oneOf(method === 'PATCH' ? PATCH_TYPES : BODY_TYPES), oneOf(ODD_TYPES)),
      accept: mostly(oneOf(ACCEPTS.slice(0, 3)), oneOf(ACCEPTS)),
      'accept-encoding': oneOf(['gzip', 'gzip;q=x', '', 'br']),
      'user-agent': oneOf(['kubectl/v1.32', '', '/', 'x'.repeat(2_000)]),
      'if-none-match': oneOf(['*', '"x"', '']),
      'impersonate-user': rarely('', 'someone', 'system:node:n1', 'x'.repeat(1_000)),
      'impersonate-group': rarely('', 'system:masters', 'g'),
      'content-length': rarely('5', '-1', 'x', '99999999999'),
      range: rarely('bytes=0-1'),
      expect: rarely('100-continue', 'x'),
      'x-latin': rarely('\xe9\xff'),
    })
    .map((given) =>
      Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined)),
    )

/** Watches end by themselves: the tester takes the head of their answer and goes. */
const watch = oneOf(['', '', '', '', 'watch=true&timeoutSeconds=1', 'watch=1&timeoutSeconds=0', 'watch=x'])

export const hostileRequest: fc.Arbitrary<HostileRequest> = fc
  .tuple(oneOf(KINDS), mostly(oneOf(METHODS), oneOf(ODD_METHODS)))
  .chain(([kind, method]) =>
    fc
      .record({
        path: fc.oneof(
          { weight: 8, arbitrary: resourcePath(kind, method) },
          { weight: 1, arbitrary: oneOf(OTHER_PATHS) },
        ),
        query,
        watch,
        headers: headersOf(method),
        body: bodyOf(kind),
      })
      .map(({ path, query, watch, headers, body }) => {
        const all = [query, watch].filter((part) => part !== '').join('&')
        const bodiless = ['GET', 'HEAD', 'TRACE'].includes(method)
        return { method, path: all === '' ? path : `${path}?${all}`, headers, body: bodiless ? undefined : body }
      }),
  )

/** What puts back what earlier requests have deleted: there must be something to be hostile to. */
export const replenishing: readonly HostileRequest[] = KINDS.flatMap((kind) => {
  const sample = SAMPLES[kind.kind]
  if (sample === undefined) return []
  const root = kind.group === '' ? '/api/v1' : `/apis/${apiVersionOf(kind)}`
  const path = `${root}${kind.namespaced ? '/namespaces/default' : ''}/${kind.plural}`
  const headers = { 'content-type': 'application/json' }
  return NAMES.map((name) => {
    return { method: 'POST', path, headers, body: Buffer.from(JSON.stringify(sampleNamed(sample, name))) }
  })
})
