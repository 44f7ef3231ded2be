/**
 * What every object has. Source: Kubernetes API conventions and `k8s.io/apimachinery/pkg/apis/meta/v1/types.go`.
 */
import type { Static } from 'typebox'
import Type from 'typebox'
import { ATOMIC, bool, int64, kept, listByKey, object, oneOf, opt, setOf, stringMap, text, time } from './schema.ts'

export const OwnerReference = object(
  {
    apiVersion: text,
    kind: text,
    name: text,
    uid: text,
    controller: opt(bool),
    blockOwnerDeletion: opt(bool),
  },
  ATOMIC,
)
export type OwnerReference = Static<typeof OwnerReference>

export const ObjectMeta = object({
  name: opt(text),
  generateName: opt(text),
  namespace: opt(text),
  uid: opt(text),
  resourceVersion: opt(text),
  generation: opt(int64),
  creationTimestamp: opt(Type.Union([time, Type.Null()])),
  deletionTimestamp: opt(time),
  deletionGracePeriodSeconds: opt(int64),
  labels: opt(stringMap),
  annotations: opt(stringMap),
  ownerReferences: opt(listByKey(OwnerReference, 'uid')),
  finalizers: opt(setOf(text)),
  managedFields: opt(Type.Array(Type.Unknown())),
  selfLink: opt(text),
})
export type ObjectMeta = Static<typeof ObjectMeta>

/** Metadata of a template: what its copies get. */
export const TemplateMeta = ObjectMeta

export const LabelSelectorRequirement = object({
  key: text,
  operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist'),
  values: opt(Type.Array(text)),
})
export type LabelSelectorRequirement = Static<typeof LabelSelectorRequirement>

export const LabelSelector = object(
  {
    matchLabels: opt(stringMap),
    matchExpressions: opt(Type.Array(LabelSelectorRequirement)),
  },
  ATOMIC,
)
export type LabelSelector = Static<typeof LabelSelector>

export const Condition = object({
  type: text,
  status: oneOf('True', 'False', 'Unknown'),
  reason: opt(text),
  message: opt(text),
  lastTransitionTime: opt(Type.Union([time, Type.Null()])),
  lastUpdateTime: opt(Type.Union([time, Type.Null()])),
  lastProbeTime: kept(Type.Union([time, Type.Null()])),
  lastHeartbeatTime: kept(Type.Union([time, Type.Null()])),
  observedGeneration: opt(int64),
})
export type Condition = Static<typeof Condition>

/** Any stored object, as code sees it that works for every kind. */
export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
  spec?: unknown
  status?: unknown
}

/** An object that has been stored: these fields are always there. */
export type Stored<T extends KubeObject> = T & {
  metadata: { name: string; uid: string; resourceVersion: string; creationTimestamp: string }
}

/** Top-level fields of every kind. */
export const typeMeta = (apiVersion: string, kind: string) => ({
  apiVersion: Type.Unsafe<string>({ type: 'string', const: apiVersion }),
  kind: Type.Unsafe<string>({ type: 'string', const: kind }),
  metadata: ObjectMeta,
})
