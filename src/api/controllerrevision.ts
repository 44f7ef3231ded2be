/**
 * ControllerRevision: a template as it once stood, so that a StatefulSet or DaemonSet can go back to it. `data` is a
 * strategic merge patch of the owner that kubectl applies as it is. Source: Kubernetes apps/v1.
 */
import Type, { type Static } from 'typebox'
import { jsonEqual } from '../base/json.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { int64, object, opt } from './schema.ts'

export const ControllerRevision = object({
  ...typeMeta('apps/v1', 'ControllerRevision'),
  data: opt(Type.Unknown()),
  revision: int64,
})
export type ControllerRevision = Static<typeof ControllerRevision>

export const controllerRevisionKind = defineKind<ControllerRevision>({
  group: 'apps',
  version: 'v1',
  kind: 'ControllerRevision',
  plural: 'controllerrevisions',
  singular: 'controllerrevision',
  namespaced: true,
  schema: ControllerRevision,
  validate: ({ revision }) =>
    revision >= 0 ? [] : [{ path: 'revision', reason: 'Invalid', message: 'must not be negative' }],
  validateUpdate: (revision, old) =>
    jsonEqual(revision.data, old.data)
      ? []
      : [{ path: 'data', reason: 'Forbidden', message: 'is fixed: a revision is what once was' }],
  columns: [
    {
      name: 'Controller',
      type: 'string',
      description: 'Whose revision it is',
      value: ({ metadata }) => {
        const owner = metadata.ownerReferences?.find(({ controller }) => controller === true)
        return owner === undefined
          ? '<none>'
          : `${owner.kind.toLowerCase()}.${owner.apiVersion.split('/')[0]}/${owner.name}`
      },
    },
    { name: 'Revision', type: 'integer', description: 'Its number', value: ({ revision }) => revision },
  ],
})
