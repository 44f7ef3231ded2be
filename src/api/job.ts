/** Job. Source: Kubernetes batch/v1. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { findCondition } from './conditions.ts'
import { defineKind } from './kind.ts'
import { Condition, LabelSelector, type ObjectMeta, typeMeta } from './meta.ts'
import { isDnsLabel } from './names.ts'
import { PodTemplateSpec } from './pod.ts'
import { formatAge } from './pod_kind.ts'
import { defaultPodSpec, validateTemplate } from './pod_rules.ts'
import { templateColumns } from './replicaset.ts'
import { bool, count, ignored, int32, int64, listByKey, object, oneOf, opt, setOf, text, time } from './schema.ts'
import { matchesSelector, selectorCell, selectorErrors } from './selector.ts'

/** Holds a job's pod until the job has counted how it ended. */
export const TRACKING_FINALIZER = 'batch.kubernetes.io/job-tracking'
export const COMPLETION_INDEX = 'batch.kubernetes.io/job-completion-index'
export const CONTROLLER_UID_LABEL = 'batch.kubernetes.io/controller-uid'
export const JOB_NAME_LABEL = 'batch.kubernetes.io/job-name'
/** On a pod of an index that has failed before: how often. */
export const INDEX_FAILURES = 'batch.kubernetes.io/job-index-failure-count'
/** What a job's limit of failures is when each index has its own. */
const NO_LIMIT = 2 ** 31 - 1
/** What the two labels were called before; tools still look for them. */
const OLD_LABELS = { uid: 'controller-uid', name: 'job-name' } as const

export const PodFailurePolicyRule = object({
  action: oneOf('FailJob', 'FailIndex', 'Ignore', 'Count'),
  onExitCodes: opt(object({ containerName: opt(text), operator: oneOf('In', 'NotIn'), values: Type.Array(int32) })),
  onPodConditions: opt(Type.Array(object({ type: text, status: opt(text) }))),
})
export type PodFailurePolicyRule = Static<typeof PodFailurePolicyRule>

export const SuccessPolicyRule = object({ succeededIndexes: opt(text), succeededCount: opt(count) })

export const JobSpec = object({
  parallelism: opt(count),
  completions: opt(count),
  activeDeadlineSeconds: opt(int64),
  backoffLimit: opt(count),
  completionMode: opt(oneOf('NonIndexed', 'Indexed')),
  selector: opt(LabelSelector),
  manualSelector: opt(bool),
  suspend: opt(bool),
  template: PodTemplateSpec,
  ttlSecondsAfterFinished: opt(count),
  podFailurePolicy: opt(object({ rules: Type.Array(PodFailurePolicyRule) })),
  podReplacementPolicy: opt(oneOf('TerminatingOrFailed', 'Failed')),
  backoffLimitPerIndex: opt(count),
  maxFailedIndexes: opt(count),
  successPolicy: opt(object({ rules: Type.Array(SuccessPolicyRule) })),
  managedBy: ignored(),
})
export type JobSpec = Static<typeof JobSpec>

export const Job = object({
  ...typeMeta('batch/v1', 'Job'),
  spec: JobSpec,
  status: opt(
    object({
      active: opt(count),
      ready: opt(count),
      terminating: opt(count),
      succeeded: opt(count),
      failed: opt(count),
      completedIndexes: opt(text),
      failedIndexes: opt(text),
      startTime: opt(time),
      completionTime: opt(time),
      conditions: opt(listByKey(Condition, 'type')),
      uncountedTerminatedPods: opt(object({ succeeded: opt(setOf(text)), failed: opt(setOf(text)) })),
    }),
  ),
})
export type Job = Static<typeof Job>

/** Complete, Failed, or undefined while it goes on. */
export function jobOutcome({ status }: Job): 'Complete' | 'Failed' | undefined {
  for (const type of ['Complete', 'Failed'] as const) {
    if (findCondition(status?.conditions, type)?.status === 'True') return type
  }
  return undefined
}

/** A job selects its own pods by its uid, which no other has; only `manualSelector` asks for another way. */
function defaultSelector(spec: JobSpec, { uid, name = '' }: ObjectMeta): void {
  if (spec.manualSelector === true || uid === undefined) return
  spec.selector ??= { matchLabels: { [CONTROLLER_UID_LABEL]: uid } }
  spec.template.metadata ??= {}
  spec.template.metadata.labels = {
    ...spec.template.metadata.labels,
    [CONTROLLER_UID_LABEL]: uid,
    [JOB_NAME_LABEL]: name,
    [OLD_LABELS.uid]: uid,
    [OLD_LABELS.name]: name,
  }
}

export function defaultJobSpec(spec: JobSpec): void {
  if (spec.completions === undefined && spec.parallelism === undefined) spec.completions = 1
  spec.parallelism ??= 1
  spec.backoffLimit ??= spec.backoffLimitPerIndex === undefined ? 6 : NO_LIMIT
  spec.completionMode ??= 'NonIndexed'
  spec.suspend ??= false
  spec.podReplacementPolicy ??= spec.podFailurePolicy === undefined ? 'TerminatingOrFailed' : 'Failed'
  for (const rule of spec.podFailurePolicy?.rules ?? []) {
    for (const condition of rule.onPodConditions ?? []) condition.status ??= 'True'
  }
  defaultPodSpec(spec.template.spec)
}

function policyErrors({ podFailurePolicy, template, backoffLimitPerIndex }: JobSpec, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (podFailurePolicy === undefined) return errors
  if (template.spec.restartPolicy !== 'Never') {
    const message = 'podFailurePolicy goes only with restartPolicy Never'
    errors.push({ path: `${path}.podFailurePolicy`, reason: 'Invalid', message })
  }
  for (const [index, { action, onExitCodes, onPodConditions }] of podFailurePolicy.rules.entries()) {
    const at = `${path}.podFailurePolicy.rules[${index}]`
    if ((onExitCodes === undefined) === (onPodConditions === undefined)) {
      errors.push({ path: at, reason: 'Invalid', message: 'give one of onExitCodes and onPodConditions' })
    }
    if (action === 'FailIndex' && backoffLimitPerIndex === undefined) {
      errors.push({ path: `${at}.action`, reason: 'Invalid', message: 'FailIndex needs backoffLimitPerIndex' })
    }
    const { operator, values = [], containerName } = onExitCodes ?? {}
    if (onExitCodes !== undefined && (values.length === 0 || (operator === 'In' && values.includes(0)))) {
      const message = 'name at least one exit code; 0 is no failure'
      errors.push({ path: `${at}.onExitCodes.values`, reason: 'Invalid', message })
    }
    const names = [...template.spec.containers, ...(template.spec.initContainers ?? [])].map(({ name }) => name)
    if (containerName !== undefined && !names.includes(containerName)) {
      const message = `the pod has no container "${containerName}"`
      errors.push({ path: `${at}.onExitCodes.containerName`, reason: 'Invalid', message })
    }
  }
  return errors
}

function indexErrors(spec: JobSpec, path: string): FieldError[] {
  const errors: FieldError[] = []
  const invalid = (field: string, message: string): void => {
    errors.push({ path: `${path}.${field}`, reason: 'Invalid', message })
  }
  const { backoffLimitPerIndex, maxFailedIndexes, successPolicy, completions = 0 } = spec
  for (const field of ['backoffLimitPerIndex', 'maxFailedIndexes', 'successPolicy'] as const) {
    if (spec[field] !== undefined && spec.completionMode !== 'Indexed') invalid(field, 'is for Indexed jobs')
  }
  if (backoffLimitPerIndex !== undefined && spec.template.spec.restartPolicy !== 'Never') {
    invalid('backoffLimitPerIndex', 'goes only with restartPolicy Never')
  }
  if (maxFailedIndexes !== undefined) {
    if (backoffLimitPerIndex === undefined) invalid('maxFailedIndexes', 'needs backoffLimitPerIndex')
    if (maxFailedIndexes > completions) invalid('maxFailedIndexes', 'is more than completions')
  }
  if (successPolicy?.rules.length === 0) invalid('successPolicy.rules', 'name at least one rule')
  for (const [index, { succeededIndexes, succeededCount }] of (successPolicy?.rules ?? []).entries()) {
    const at = `successPolicy.rules[${index}]`
    if (succeededIndexes === undefined && succeededCount === undefined) {
      invalid(at, 'give succeededIndexes, succeededCount or both')
    }
    if (succeededIndexes !== undefined && !INDEXES.test(succeededIndexes)) {
      invalid(`${at}.succeededIndexes`, `"${succeededIndexes}" is no list of indexes such as 0,2-4`)
    }
    if ((succeededCount ?? 1) < 1 || (succeededCount ?? 0) > completions) {
      invalid(`${at}.succeededCount`, 'is between 1 and completions')
    }
  }
  return errors
}

/** Rules that hold for a job's spec and for the template of one. */
export function jobSpecErrors(spec: JobSpec, path: string): FieldError[] {
  const errors = [...policyErrors(spec, path), ...indexErrors(spec, path)]
  errors.push(...validateTemplate(spec.template, `${path}.template`, ['OnFailure', 'Never']))
  if (spec.completionMode === 'Indexed' && spec.completions === undefined) {
    errors.push({ path: `${path}.completions`, reason: 'Required', message: 'an Indexed job says how many' })
  }
  if ((spec.activeDeadlineSeconds ?? 1) < 1) {
    errors.push({ path: `${path}.activeDeadlineSeconds`, reason: 'Invalid', message: 'must be positive' })
  }
  return errors
}

function validateJob({ metadata, spec }: Job): FieldError[] {
  const errors = jobSpecErrors(spec, 'spec')
  if (!isDnsLabel(metadata.name ?? '')) {
    errors.push({ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS label of at most 63 characters' })
  }
  if (spec.selector === undefined) {
    if (spec.manualSelector === true) {
      errors.push({ path: 'spec.selector', reason: 'Required', message: 'manualSelector asks for a selector' })
    }
    return errors
  }
  errors.push(...selectorErrors(spec.selector, 'spec.selector'))
  if (!matchesSelector(spec.selector, spec.template.metadata?.labels)) {
    const message = 'the selector does not match the template; leave the selector out, or set manualSelector'
    errors.push({ path: 'spec.template.metadata.labels', reason: 'Invalid', message })
  }
  return errors
}

const INDEXES = /^\d+(-\d+)?(,\d+(-\d+)?)*$/
const FIXED = [
  'selector',
  'template',
  'completionMode',
  'podFailurePolicy',
  'backoffLimitPerIndex',
  'successPolicy',
] as const

function validateUpdate(job: Job, old: Job): FieldError[] {
  const errors: FieldError[] = []
  for (const field of FIXED) {
    if (jsonEqual(job.spec[field], old.spec[field])) continue
    errors.push({ path: `spec.${field}`, reason: 'Forbidden', message: 'is fixed; make a new job instead' })
  }
  // An Indexed job may grow and shrink as long as all its indexes run side by side.
  const { completions, parallelism, completionMode } = job.spec
  const elastic = completionMode === 'Indexed' && completions === parallelism
  if (completions !== old.spec.completions && !elastic) {
    const message = 'is fixed, but for Indexed jobs whose parallelism changes with it'
    errors.push({ path: 'spec.completions', reason: 'Forbidden', message })
  }
  return errors
}

function statusWord(job: Job): string {
  const outcome = jobOutcome(job)
  if (outcome !== undefined) return outcome
  if (job.metadata.deletionTimestamp !== undefined) return 'Terminating'
  if (findCondition(job.status?.conditions, 'Suspended')?.status === 'True') return 'Suspended'
  return findCondition(job.status?.conditions, 'FailureTarget')?.status === 'True' ? 'FailureTarget' : 'Running'
}

function completions({ spec, status }: Job): string {
  const done = status?.succeeded ?? 0
  if (spec.completions !== undefined) return `${done}/${spec.completions}`
  return (spec.parallelism ?? 1) > 1 ? `${done}/1 of ${spec.parallelism}` : `${done}/1`
}

function duration({ status }: Job, nowMs: number): string {
  if (status?.startTime === undefined) return ''
  const end = status.completionTime === undefined ? nowMs : Date.parse(status.completionTime)
  return formatAge(end - Date.parse(status.startTime))
}

export const jobKind = defineKind<Job>({
  group: 'batch',
  version: 'v1',
  kind: 'Job',
  plural: 'jobs',
  singular: 'job',
  categories: ['all'],
  namespaced: true,
  schema: Job,
  hasStatus: true,
  hasGeneration: true,
  applyDefaults(job) {
    defaultJobSpec(job.spec)
    defaultSelector(job.spec, job.metadata)
    job.status ??= {}
  },
  validate: validateJob,
  validateUpdate,
  columns: [
    { name: 'Status', type: 'string', description: 'Where it stands', value: statusWord },
    { name: 'Completions', type: 'string', description: 'Pods that succeeded, of those wanted', value: completions },
    { name: 'Duration', type: 'string', description: 'How long it has run', value: duration },
    ...templateColumns,
    {
      name: 'Selector',
      type: 'string',
      priority: 1,
      description: 'Labels of its pods',
      value: ({ spec }) => selectorCell(spec.selector),
    },
  ],
  selectableFields: { 'status.successful': ({ status }) => String(status?.succeeded ?? 0) },
})
