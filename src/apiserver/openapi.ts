/**
 * The OpenAPI documents, made from the kinds' schemas when first asked for and kept. Current kubectl reads version 3 for
 * `explain`, patches and to learn that the server validates; kubectl before 1.27 reads version 2, as protobuf only.
 */
import { apiVersionOf, type KindDefinition } from '../api/kind.ts'
import { KINDS } from '../api/kinds.ts'
import { parseAccept } from './codec.ts'
import { createDocument, type Document, jsonDocument, sendDocument } from './document.ts'
import type { Exchange } from './exchange.ts'
import { type Dialect, type OpenApi, SchemaWriter } from './openapi_schema.ts'
import { encodeOpenApiV2 } from './openapi_v2_protobuf.ts'

/** What clients ask for; the `@` is no valid media type, so the answer's own name has a dot there, as in Kubernetes. */
const PROTOBUF_ASKED = new Set([
  'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
  'application/com.github.proto-openapi.spec.v2.v1.0+protobuf',
])
const PROTOBUF = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf'
const GVK = 'x-kubernetes-group-version-kind'
const PATCHES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
]
const WRITE_PARAMETERS = ['dryRun', 'fieldManager', 'fieldValidation', 'pretty']
const READ_PARAMETERS = ['pretty']
const LIST_PARAMETERS = [
  'allowWatchBookmarks',
  'continue',
  'fieldSelector',
  'labelSelector',
  'limit',
  'resourceVersion',
  'resourceVersionMatch',
  'sendInitialEvents',
  'timeoutSeconds',
  'watch',
]

function componentName(kind: KindDefinition): string {
  const group = kind.group === '' ? 'core' : (kind.group.split('.')[0] ?? kind.group)
  return `io.k8s.api.${group}.${kind.version}.${kind.kind}`
}

function gvkOf({ group, version, kind }: KindDefinition): { group: string; version: string; kind: string } {
  return { group, version, kind }
}

function addKind(writer: SchemaWriter, kind: KindDefinition): void {
  const name = componentName(kind)
  const root = writer.writeRoot(kind.schema)
  // apiVersion and kind are known from the path; Kubernetes leaves them optional.
  const required = Array.isArray(root.required) ? root.required.filter((key) => !OPTIONAL_TOP.has(key)) : []
  const { required: _all, ...rest } = root
  writer.add(name, { ...rest, ...(required.length > 0 ? { required } : {}), [GVK]: [gvkOf(kind)] })
  writer.add(`${name}List`, {
    type: 'object',
    required: ['items'],
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object', properties: { continue: { type: 'string' }, resourceVersion: { type: 'string' } } },
      items: { type: 'array', items: writer.reference(name) },
    },
    [GVK]: [{ ...gvkOf(kind), kind: `${kind.kind}List` }],
  })
}

const OPTIONAL_TOP: ReadonlySet<unknown> = new Set(['apiVersion', 'kind', 'metadata'])

function pathsOf(kind: KindDefinition): { collection: string; item: string } {
  const root = kind.group === '' ? `/api/${kind.version}` : `/apis/${apiVersionOf(kind)}`
  const collection = `${root}${kind.namespaced ? '/namespaces/{namespace}' : ''}/${kind.plural}`
  return { collection, item: `${collection}/{name}` }
}

interface Operation {
  action: string
  parameters: readonly string[]
  consumes?: readonly string[]
  /** Component of the answer. */
  answer: string
}

function operationsOf(kind: KindDefinition): Record<string, Record<string, Operation>> {
  const { collection, item } = pathsOf(kind)
  const answer = componentName(kind)
  const json = ['application/json', 'application/yaml']
  return {
    [collection]: {
      get: { action: 'list', parameters: LIST_PARAMETERS, answer: `${answer}List` },
      post: { action: 'post', parameters: WRITE_PARAMETERS, consumes: json, answer },
      delete: { action: 'deletecollection', parameters: LIST_PARAMETERS, answer },
    },
    [item]: {
      get: { action: 'get', parameters: READ_PARAMETERS, answer },
      put: { action: 'put', parameters: WRITE_PARAMETERS, consumes: json, answer },
      patch: { action: 'patch', parameters: [...WRITE_PARAMETERS, 'force'], consumes: PATCHES, answer },
      delete: { action: 'delete', parameters: ['dryRun', 'gracePeriodSeconds', 'propagationPolicy'], answer },
    },
  }
}

function pathParameters(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '')
}

function writePaths(kind: KindDefinition, writer: SchemaWriter, dialect: Dialect): OpenApi {
  const paths: OpenApi = {}
  for (const [path, operations] of Object.entries(operationsOf(kind))) {
    const parameter = (name: string, place: string): OpenApi => ({
      name,
      in: place,
      ...(place === 'path' ? { required: true } : {}),
      ...(dialect === 'v3' ? { schema: { type: 'string', uniqueItems: true } } : { type: 'string', uniqueItems: true }),
    })
    const item: OpenApi = { parameters: pathParameters(path).map((name) => parameter(name, 'path')) }
    for (const [method, { action, parameters, consumes, answer }] of Object.entries(operations)) {
      const schema = writer.reference(answer)
      const content = { 'application/json': { schema } }
      const response = dialect === 'v3' ? { description: 'OK', content } : { description: 'OK', schema }
      const body = Object.fromEntries(
        (consumes ?? []).map((type) => [type, { schema: method === 'patch' ? { type: 'object' } : schema }]),
      )
      item[method] = {
        operationId: `${action}${kind.group.split('.')[0] ?? ''}${kind.version}${kind.kind}`,
        parameters: parameters.map((name) => parameter(name, 'query')),
        ...(consumes === undefined
          ? {}
          : dialect === 'v3'
            ? { requestBody: { required: true, content: body } }
            : { consumes }),
        ...(dialect === 'v3' ? {} : { produces: ['application/json'] }),
        responses: { '200': response },
        'x-kubernetes-action': action,
        [GVK]: gvkOf(kind),
      }
    }
    paths[path] = item
  }
  return paths
}

function buildV3(kinds: readonly KindDefinition[], version: string): OpenApi {
  const writer = new SchemaWriter('v3')
  for (const kind of kinds) addKind(writer, kind)
  const paths = Object.assign({}, ...kinds.map((kind) => writePaths(kind, writer, 'v3'))) as OpenApi
  const components = { schemas: Object.fromEntries(writer.components) }
  return { openapi: '3.0.0', info: { title: 'Drover', version }, paths, components }
}

export function buildV2(version: string): OpenApi {
  const writer = new SchemaWriter('v2')
  for (const kind of KINDS) addKind(writer, kind)
  const paths = Object.assign({}, ...KINDS.map((kind) => writePaths(kind, writer, 'v2'))) as OpenApi
  return {
    swagger: '2.0',
    info: { title: 'Drover', version },
    paths,
    definitions: Object.fromEntries(writer.components),
  }
}

function v3Documents(version: string): Map<string, Document> {
  const byGroupVersion = new Map<string, KindDefinition[]>()
  for (const kind of KINDS) {
    const key = kind.group === '' ? `api/${kind.version}` : `apis/${apiVersionOf(kind)}`
    byGroupVersion.set(key, [...(byGroupVersion.get(key) ?? []), kind])
  }
  const documents = new Map<string, Document>()
  const paths: OpenApi = {}
  for (const [key, kinds] of byGroupVersion) {
    const made = jsonDocument(buildV3(kinds, version))
    documents.set(`/openapi/v3/${key}`, made)
    paths[key] = { serverRelativeURL: `/openapi/v3/${key}?hash=${made.etag.replaceAll('"', '')}` }
  }
  documents.set('/openapi/v3', jsonDocument({ paths }))
  return documents
}

export interface OpenApiServer {
  /** Answers and returns true when the path is one of OpenAPI. */
  handle(exchange: Exchange): Promise<boolean>
}

export function createOpenApi(version: string): OpenApiServer {
  let v3: Map<string, Document> | undefined
  let v2: { json: Document; protobuf: Document } | undefined
  const old = (): { json: Document; protobuf: Document } => {
    const made = buildV2(version)
    return { json: jsonDocument(made), protobuf: createDocument(encodeOpenApiV2(made)) }
  }
  return {
    async handle(exchange) {
      const { path } = exchange
      if (path === '/openapi/v2') {
        v2 ??= old()
        const wantsProtobuf = PROTOBUF_ASKED.has(parseAccept(exchange.headers.accept)[0]?.type ?? '')
        if (wantsProtobuf) await sendDocument(exchange, v2.protobuf, PROTOBUF)
        else await sendDocument(exchange, v2.json, 'application/json')
        return true
      }
      if (path !== '/openapi/v3' && !path.startsWith('/openapi/v3/')) return false
      v3 ??= v3Documents(version)
      const found = v3.get(path)
      if (found === undefined) return false
      // A document named by its hash never changes.
      const lasting = exchange.query.has('hash') ? { 'cache-control': 'public, immutable' } : {}
      await sendDocument(exchange, found, 'application/json', lasting)
      return true
    },
  }
}
