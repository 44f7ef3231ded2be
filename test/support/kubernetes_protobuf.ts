/**
 * Bodies as Go's typed clients write them: an envelope and a message in which every plain field stands, empty or not.
 * Field numbers are those of Kubernetes' `generated.proto`, written down here a second time: a mistake in the server's
 * table must not be made again by its test.
 */
import { ProtoWriter } from '../../src/apiserver/protobuf_wire.ts'

/** k8s.io/apimachinery/pkg/runtime `Unknown`, behind its magic. */
export function envelope(apiVersion: string, kind: string, raw: ProtoWriter): Buffer {
  const type = new ProtoWriter().string(1, apiVersion).string(2, kind)
  const unknown = new ProtoWriter().message(1, type).message(2, raw).string(3, '').string(4, '')
  return Buffer.concat([Buffer.from('k8s\0'), unknown.finish()])
}

function entries(writer: ProtoWriter, number: number, map: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1))) {
    writer.message(number, new ProtoWriter().string(1, key).string(2, value))
  }
}

export interface MetaFields {
  name?: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  labels?: Readonly<Record<string, string>>
}

export function objectMeta({ name = '', namespace = '', uid = '', resourceVersion = '', labels = {} }: MetaFields) {
  const meta = new ProtoWriter().string(1, name).string(2, '').string(3, namespace).string(4, '').string(5, uid)
  // The generation is written as 0, and so is the time of creation: as an empty message.
  meta.string(6, resourceVersion).bool(7, false).message(8, new ProtoWriter())
  entries(meta, 11, labels)
  return meta
}

export interface SecretFields extends MetaFields {
  type: string
  data: Readonly<Record<string, string>>
}

export function secretBody({ type, data, ...meta }: SecretFields): Buffer {
  const secret = new ProtoWriter().message(1, objectMeta(meta))
  entries(secret, 2, data)
  return envelope('v1', 'Secret', secret.string(3, type))
}

export function deleteOptionsBody(apiVersion: string, propagationPolicy?: string): Buffer {
  const options = new ProtoWriter()
  if (propagationPolicy !== undefined) options.string(4, propagationPolicy)
  return envelope(apiVersion, 'DeleteOptions', options)
}

export interface AccessFields {
  namespace?: string
  verb: string
  group?: string
  resource: string
  subresource?: string
  name?: string
}

/** authorization.k8s.io/v1 `SelfSubjectAccessReview`. */
export function accessReviewBody({
  namespace = '',
  verb,
  group = '',
  resource,
  subresource = '',
  name = '',
}: AccessFields): Buffer {
  const attributes = new ProtoWriter().string(1, namespace).string(2, verb).string(3, group).string(4, '')
  attributes.string(5, resource).string(6, subresource).string(7, name)
  const status = new ProtoWriter().bool(1, false).string(2, '').string(3, '').bool(4, false)
  const review = new ProtoWriter()
    .message(1, objectMeta({}))
    .message(2, new ProtoWriter().message(1, attributes))
    .message(3, status)
  return envelope('authorization.k8s.io/v1', 'SelfSubjectAccessReview', review)
}
