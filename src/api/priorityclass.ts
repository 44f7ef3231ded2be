/**
 * PriorityClass: which pods are placed first, and which of those that a node may evict alike go last. Source: Kubernetes
 * scheduling.k8s.io/v1, "Pod Priority and Preemption".
 */
import type { Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { CRITICAL_PRIORITY, isDnsSubdomain, NODE_CRITICAL_PRIORITY } from './names.ts'
import { PreemptionPolicy } from './pod.ts'
import { bool, int32, kept, object, opt, text } from './schema.ts'

/** The most that a class, or a pod without one, may have unless it is a system class. */
export const MAX_USER_PRIORITY = 1_000_000_000

const SYSTEM_PREFIX = 'system-'

export const PriorityClass = object({
  ...typeMeta('scheduling.k8s.io/v1', 'PriorityClass'),
  value: int32,
  globalDefault: opt(bool),
  description: kept(text),
  preemptionPolicy: PreemptionPolicy,
})
export type PriorityClass = Static<typeof PriorityClass>

const builtin = (name: string, value: number, description: string): PriorityClass => ({
  apiVersion: 'scheduling.k8s.io/v1',
  kind: 'PriorityClass',
  metadata: { name },
  value,
  description,
})

/** In every cluster from the start. */
export const BUILTIN_CLASSES: readonly PriorityClass[] = [
  builtin('system-cluster-critical', CRITICAL_PRIORITY, 'For system critical pods that must run in the cluster.'),
  builtin(
    'system-node-critical',
    NODE_CRITICAL_PRIORITY,
    'For system critical pods that must not be moved from their current node.',
  ),
]

const isBuiltin = (name: string, value: number): boolean =>
  BUILTIN_CLASSES.some((known) => known.metadata.name === name && known.value === value)

/** One that says nothing means what Kubernetes would write in. */
const preemptionOf = ({ preemptionPolicy = 'PreemptLowerPriority' }: PriorityClass): string => preemptionPolicy

export const priorityClassKind = defineKind<PriorityClass>({
  group: 'scheduling.k8s.io',
  version: 'v1',
  kind: 'PriorityClass',
  plural: 'priorityclasses',
  singular: 'priorityclass',
  shortNames: ['pc'],
  namespaced: false,
  schema: PriorityClass,
  validate({ metadata: { name = '' }, value, globalDefault }) {
    const errors: FieldError[] = []
    if (!isDnsSubdomain(name)) {
      errors.push({ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' })
    }
    if (name.startsWith(SYSTEM_PREFIX)) {
      if (!isBuiltin(name, value) || globalDefault === true) {
        const known = BUILTIN_CLASSES.map((each) => `${each.metadata.name} (${each.value})`).join(' and ')
        const message = `names with "${SYSTEM_PREFIX}" are the system's, which knows ${known} alone, neither a default`
        errors.push({ path: 'metadata.name', reason: 'Forbidden', message })
      }
    } else if (value > MAX_USER_PRIORITY) {
      const message = `must be at most ${MAX_USER_PRIORITY}; more is for the system's classes`
      errors.push({ path: 'value', reason: 'Forbidden', message })
    }
    return errors
  },
  validateUpdate(changed, old) {
    const message = 'may not be changed in an update: make a new class instead'
    const errors: FieldError[] = []
    if (changed.value !== old.value) errors.push({ path: 'value', reason: 'Forbidden', message })
    if (preemptionOf(changed) !== preemptionOf(old)) {
      errors.push({ path: 'preemptionPolicy', reason: 'Forbidden', message })
    }
    return errors
  },
  columns: [
    {
      name: 'Value',
      type: 'integer',
      description: 'More is placed first, and evicted last among pods alike in keeping to their requests',
      value: ({ value }) => value,
    },
    {
      name: 'Global-Default',
      type: 'boolean',
      description: 'Whether pods that name no class have this one',
      value: ({ globalDefault }) => globalDefault === true,
    },
  ],
})
