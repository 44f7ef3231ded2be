/**
 * Lease: a lock that clients hold by renewing it (leader election of operators and charts). Nothing in Drover acts on
 * one; our own servers elect their leader in etcd. Source: Kubernetes coordination.k8s.io/v1.
 */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { int32, kept, object, opt, text, time } from './schema.ts'

const Time = Type.Union([time, Type.Null()])

export const Lease = object({
  ...typeMeta('coordination.k8s.io/v1', 'Lease'),
  spec: opt(
    object({
      holderIdentity: kept(text),
      leaseDurationSeconds: kept(int32),
      acquireTime: kept(Time),
      renewTime: kept(Time),
      leaseTransitions: kept(int32),
      strategy: kept(text),
      preferredHolder: kept(text),
    }),
  ),
})
export type Lease = Static<typeof Lease>

function validateLease({ spec = {} }: Lease): FieldError[] {
  const errors: FieldError[] = []
  const { leaseDurationSeconds, leaseTransitions, strategy, preferredHolder } = spec
  if (leaseDurationSeconds !== undefined && leaseDurationSeconds <= 0) {
    errors.push({ path: 'spec.leaseDurationSeconds', reason: 'Invalid', message: 'must be greater than 0' })
  }
  if (leaseTransitions !== undefined && leaseTransitions < 0) {
    errors.push({ path: 'spec.leaseTransitions', reason: 'Invalid', message: 'may not be negative' })
  }
  if (preferredHolder !== undefined && strategy === undefined) {
    errors.push({ path: 'spec.preferredHolder', reason: 'Forbidden', message: 'goes only with a strategy' })
  }
  return errors
}

export const leaseKind = defineKind<Lease>({
  group: 'coordination.k8s.io',
  version: 'v1',
  kind: 'Lease',
  plural: 'leases',
  singular: 'lease',
  namespaced: true,
  schema: Lease,
  validate: validateLease,
  columns: [
    {
      name: 'Holder',
      type: 'string',
      description: 'Who holds it',
      value: ({ spec = {} }) => spec.holderIdentity ?? '',
    },
  ],
})
