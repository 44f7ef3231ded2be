/** Event. Source: Kubernetes core/v1. Repeats of one event count up instead of adding objects. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { formatAge } from './pod_kind.ts'
import { count, ignored, kept, object, opt, text, time } from './schema.ts'

export const ObjectReference = object({
  apiVersion: opt(text),
  kind: opt(text),
  namespace: opt(text),
  name: opt(text),
  uid: opt(text),
  resourceVersion: opt(text),
  fieldPath: opt(text),
})
export type ObjectReference = Static<typeof ObjectReference>

const Time = opt(Type.Union([time, Type.Null()]))

export const Event = object({
  ...typeMeta('v1', 'Event'),
  involvedObject: ObjectReference,
  reason: opt(text),
  message: opt(text),
  type: opt(text),
  count: opt(count),
  firstTimestamp: Time,
  lastTimestamp: Time,
  eventTime: Time,
  source: opt(object({ component: opt(text), host: opt(text) })),
  reportingComponent: opt(text),
  reportingInstance: kept(text),
  action: opt(text),
  series: ignored(),
  related: ignored(),
})
export type Event = Static<typeof Event>

export const eventKind = defineKind<Event>({
  group: '',
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  singular: 'event',
  shortNames: ['ev'],
  namespaced: true,
  schema: Event,
  validate({ metadata, involvedObject }) {
    // Events of what has no namespace stand in "default", or where the client chose.
    const { namespace = '' } = involvedObject
    if (namespace === '' || namespace === metadata.namespace) return []
    const message = `must be that of the event, ${metadata.namespace}`
    return [{ path: 'involvedObject.namespace', reason: 'Invalid', message }]
  },
  columns: [
    {
      name: 'Last Seen',
      type: 'string',
      description: 'Time since it was last seen',
      value: (event, nowMs) => formatAge(nowMs - Date.parse(event.lastTimestamp ?? event.eventTime ?? '')),
    },
    { name: 'Type', type: 'string', description: 'Normal or Warning', value: (event) => event.type ?? '' },
    { name: 'Reason', type: 'string', description: 'Short reason', value: (event) => event.reason ?? '' },
    {
      name: 'Object',
      type: 'string',
      description: 'What it is about',
      value: ({ involvedObject }) => `${(involvedObject.kind ?? '').toLowerCase()}/${involvedObject.name ?? ''}`,
    },
    {
      name: 'Subobject',
      type: 'string',
      priority: 1,
      description: 'Which part of it',
      value: ({ involvedObject }) => involvedObject.fieldPath ?? '',
    },
    {
      name: 'Source',
      type: 'string',
      priority: 1,
      description: 'Who says so',
      value: ({ source, reportingComponent }) =>
        [source?.component || reportingComponent, source?.host].filter(Boolean).join(', '),
    },
    { name: 'Message', type: 'string', description: 'What happened', value: (event) => event.message ?? '' },
    {
      name: 'First Seen',
      type: 'string',
      priority: 1,
      description: 'Time since it was first seen',
      value: (event, nowMs) => formatAge(nowMs - Date.parse(event.firstTimestamp ?? event.eventTime ?? '')),
    },
    { name: 'Count', type: 'integer', priority: 1, description: 'How often', value: (event) => event.count ?? 1 },
    {
      name: 'Name',
      type: 'string',
      priority: 1,
      description: 'Of the event',
      value: ({ metadata }) => metadata.name ?? '',
    },
  ],
  hasOwnColumnsOnly: true,
  selectableFields: {
    'involvedObject.kind': (event) => event.involvedObject.kind ?? '',
    'involvedObject.namespace': (event) => event.involvedObject.namespace ?? '',
    'involvedObject.name': (event) => event.involvedObject.name ?? '',
    'involvedObject.uid': (event) => event.involvedObject.uid ?? '',
    'involvedObject.apiVersion': (event) => event.involvedObject.apiVersion ?? '',
    'involvedObject.resourceVersion': (event) => event.involvedObject.resourceVersion ?? '',
    'involvedObject.fieldPath': (event) => event.involvedObject.fieldPath ?? '',
    reason: (event) => event.reason ?? '',
    type: (event) => event.type ?? '',
    source: (event) => event.source?.component ?? '',
    reportingComponent: (event) => event.reportingComponent ?? '',
  },
})
