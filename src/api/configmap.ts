/** ConfigMap. Source: Kubernetes v1. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { dataBytes, validateConfigKeys, validateDataSize } from './pod_rules.ts'
import { base64, bool, object, opt, stringMap, text } from './schema.ts'

export const ConfigMap = object({
  ...typeMeta('v1', 'ConfigMap'),
  data: opt(stringMap),
  binaryData: opt(Type.Record(text, base64)),
  immutable: opt(bool),
})
export type ConfigMap = Static<typeof ConfigMap>

export const configMapKind = defineKind<ConfigMap>({
  group: '',
  version: 'v1',
  kind: 'ConfigMap',
  plural: 'configmaps',
  singular: 'configmap',
  shortNames: ['cm'],
  namespaced: true,
  schema: ConfigMap,
  validate: (map) => [
    ...(isDnsSubdomain(map.metadata.name ?? '')
      ? []
      : [{ path: 'metadata.name', reason: 'Invalid' as const, message: 'must be a DNS subdomain' }]),
    ...validateConfigKeys(Object.keys(map.data ?? {}), 'data'),
    ...validateConfigKeys(Object.keys(map.binaryData ?? {}), 'binaryData'),
    ...validateDataSize(dataBytes({ text: map.data, base64: map.binaryData })),
  ],
  validateUpdate(map, old) {
    if (old.immutable !== true) return []
    if (map.immutable !== true) {
      return [{ path: 'immutable', reason: 'Forbidden', message: 'cannot be taken back; make another ConfigMap' }]
    }
    const isSame = JSON.stringify([map.data, map.binaryData]) === JSON.stringify([old.data, old.binaryData])
    return isSame ? [] : [{ path: 'data', reason: 'Forbidden', message: 'the ConfigMap is immutable' }]
  },
  columns: [
    {
      name: 'Data',
      type: 'integer',
      description: 'Number of keys',
      value: (map) => Object.keys(map.data ?? {}).length + Object.keys(map.binaryData ?? {}).length,
    },
  ],
})
