/**
 * `drover plan -f FILE`: what `apply` would do, and what would come of it: what changes, where pods would go, whether
 * the rollout has room, what the server would refuse. Nothing is changed.
 */
import type { Command } from 'commander'
import type { Deployment } from '../api/deployment.ts'
import { isExclusive } from '../api/exclusive.ts'
import type { KubeObject } from '../api/meta.ts'
import { ANNOTATION } from '../api/names.ts'
import type { PlanAnswer, PlannedWorkload, PlanWorkload } from '../api/why.ts'
import { DroverError } from '../base/errors.ts'
import { isObject, jsonEqual } from '../base/json.ts'
import { applyObject } from './apply.ts'
import { type CliContext, contextOf, displayName, type Io } from './context.ts'
import { ExitCode } from './exit_code.ts'
import { type Manifest, readManifests } from './manifests.ts'
import { resourcePath } from './rest_client.ts'

const NOTHING = 0
const REFUSED = 2
const CHANGES = 10
const NO_ROOM = 11
const PLAN_PATH = '/apis/drover.dev/v1/plan'

interface PlanOptions {
  filename: string[]
  recursive?: boolean
  output?: string
}

interface Change {
  path: string
  old?: unknown
  new?: unknown
}

interface PlannedObject {
  name: string
  action: 'create' | 'change' | 'none' | 'refused'
  changes: Change[]
  error?: string
  placement?: PlannedWorkload
}

export function registerPlan(program: Command, io: Io): void {
  program
    .command('plan')
    .description('show what apply would change, where pods would go, and whether they fit; changes nothing')
    .requiredOption('-f, --filename <path...>', 'file, folder, or - for standard input')
    .option('-R, --recursive', 'folders with their subfolders')
    .option('-o, --output <format>', 'text or json')
    .addHelpText(
      'after',
      '\nExit codes: 0 nothing to do, 10 changes, 11 changes that would not all fit, 2 something would be refused.\n' +
        '\nExamples:\n  drover plan -f web.yaml\n  drover plan -f manifests/ -R -o json || [ $? = 10 ] && drover apply -f manifests/ -R',
    )
    .action(async (options: PlanOptions, command: Command) => {
      const context = contextOf(io, command)
      try {
        const code = await plan(context, options)
        if (code !== NOTHING) throw new ExitCode(code)
      } finally {
        context.close()
      }
    })
}

async function plan(context: CliContext, options: PlanOptions): Promise<number> {
  const manifests = await readManifests(options.filename, options.recursive === true, context.io.stdin)
  const objects: PlannedObject[] = []
  const workloads: { planned: PlannedObject; workload: PlanWorkload }[] = []
  for (const manifest of manifests) {
    const { planned, workload } = await planObject(context, manifest)
    objects.push(planned)
    if (workload !== undefined) workloads.push({ planned, workload })
  }
  if (workloads.length > 0) {
    const body = { items: workloads.map(({ workload }) => workload) }
    const answer = await context.client.call<PlanAnswer>('POST', PLAN_PATH, { body })
    for (const [index, { planned }] of workloads.entries()) {
      const placement = answer.items[index]
      if (placement !== undefined) planned.placement = placement
    }
  }
  if (options.output === 'json') context.print(JSON.stringify({ items: objects }, null, 2))
  else for (const line of objects.flatMap(planLines)) context.print(line)
  return exitCodeOf(objects)
}

export function exitCodeOf(objects: readonly Pick<PlannedObject, 'action' | 'placement'>[]): number {
  if (objects.some(({ action }) => action === 'refused')) return REFUSED
  const changed = objects.filter(({ action }) => action !== 'none')
  if (changed.some(({ placement }) => placement !== undefined && !hasRoom(placement))) return NO_ROOM
  return changed.length > 0 ? CHANGES : NOTHING
}

/** A rollout that may surge but finds no room for the first extra pod cannot begin without taking one away. */
function hasRoom({ refused, surge }: PlannedWorkload): boolean {
  return refused === 0 && (surge.wanted === 0 || surge.placed > 0)
}

async function planObject(
  context: CliContext,
  manifest: Manifest,
): Promise<{ planned: PlannedObject; workload?: PlanWorkload }> {
  const { kind, object } = manifest
  const name = displayName(kind, object.metadata.name ?? object.metadata.generateName ?? '')
  const namespace = kind.namespaced ? (object.metadata.namespace ?? context.namespace) : undefined
  const live =
    object.metadata.name === undefined
      ? undefined
      : await load(context, resourcePath(kind, namespace, object.metadata.name))
  let next: KubeObject
  try {
    next = (
      await applyObject(context, manifest, { dryRun: 'All', fieldValidation: 'Strict', fieldManager: 'drover-plan' })
    ).object
  } catch (thrown) {
    const error = DroverError.from(thrown)
    if (error.code === 'unavailable' || error.code === 'unauthorized') throw error
    return { planned: { name, action: 'refused', changes: [], error: `${manifest.where}: ${error.message}` } }
  }
  const changes = diff(comparable(live), comparable(next))
  const action = live === undefined ? 'create' : changes.length > 0 ? 'change' : 'none'
  const workload = action === 'none' ? undefined : workloadOf(name, namespace ?? '', live, next)
  return { planned: { name, action, changes }, ...(workload === undefined ? {} : { workload }) }
}

async function load(context: CliContext, path: string): Promise<KubeObject | undefined> {
  try {
    return await context.client.call<KubeObject>('GET', path)
  } catch (error) {
    if (error instanceof DroverError && error.code === 'notFound') return undefined
    throw error
  }
}

/** What people declare: without status and what the server keeps for itself. */
function comparable(object: KubeObject | undefined): Record<string, unknown> {
  if (object === undefined) return {}
  const { status: _status, metadata, ...rest } = object as KubeObject & Record<string, unknown>
  const { labels, annotations = {} } = metadata
  const { [ANNOTATION.lastApplied]: _applied, [ANNOTATION.revision]: _revision, ...kept } = annotations
  const shown = { ...(labels && { labels }), ...(Object.keys(kept).length > 0 && { annotations: kept }) }
  return { ...rest, ...(Object.keys(shown).length > 0 && { metadata: shown }) }
}

/** Pure: leaves that differ, with their paths. Items of lists are named by their `name` where all have one. */
export function diff(old: unknown, next: unknown, path = ''): Change[] {
  if (jsonEqual(old, next)) return []
  const a = asMap(old)
  const b = asMap(next)
  if (a === undefined && b === undefined) {
    return [{ path, ...(old === undefined ? {} : { old }), ...(next === undefined ? {} : { new: next }) }]
  }
  if ((old !== undefined && a === undefined) || (next !== undefined && b === undefined))
    return [{ path, old, new: next }]
  const keys = [...new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])]
  return keys.flatMap((key) => diff(a?.[key], b?.[key], path === '' ? key : `${path}.${key}`))
}

function asMap(value: unknown): Record<string, unknown> | undefined {
  if (isObject(value)) return value
  if (!Array.isArray(value) || value.length === 0) return undefined
  const names = value.map((item: unknown) => (isObject(item) && typeof item.name === 'string' ? item.name : undefined))
  if (names.includes(undefined) || new Set(names).size < names.length) return undefined
  return Object.fromEntries(value.map((item: unknown, index) => [`[${names[index]}]`, item]))
}

/** Pods that the object would have made; undefined for what makes none. */
function workloadOf(
  name: string,
  namespace: string,
  live: KubeObject | undefined,
  next: KubeObject,
): PlanWorkload | undefined {
  const spec = next.spec as Partial<Deployment['spec']> | undefined
  if (next.kind === 'Pod') {
    const { labels = {} } = next.metadata
    return {
      name,
      namespace,
      template: { metadata: { labels }, spec: next.spec as object },
      count: live === undefined ? 1 : 0,
      surge: 0,
    }
  }
  const template = spec?.template as PlanWorkload['template'] | undefined
  if (template === undefined || !['Deployment', 'ReplicaSet', 'StatefulSet'].includes(next.kind)) return undefined
  const count = spec?.replicas ?? 1
  const oldTemplate = (live?.spec as Partial<Deployment['spec']> | undefined)?.template
  const changed = live !== undefined && next.kind === 'Deployment' && !jsonEqual(oldTemplate, template)
  // Exclusive pods end before others start, whatever the strategy says.
  const rolls = changed && spec?.template !== undefined && !isExclusive(spec.template)
  return {
    name,
    namespace,
    template,
    count,
    surge: rolls ? surgeOf(spec?.strategy, count) : 0,
    ...(live?.metadata.uid === undefined ? {} : { replaces: live.metadata.uid }),
  }
}

/** Source: Kubernetes Deployment, `maxSurge`: a number or a share, rounded up; 25 % unless it says otherwise. */
export function surgeOf(strategy: Deployment['spec']['strategy'], count: number): number {
  if (strategy?.type === 'Recreate') return 0
  const given = strategy?.rollingUpdate?.maxSurge ?? '25%'
  if (typeof given === 'number') return given
  return given.endsWith('%') ? Math.ceil((Number.parseInt(given, 10) * count) / 100) : Number(given)
}

const MARK = { create: '+', change: '~', none: '=', refused: '!' } as const
const MAX_VALUE = 120

function planLines({ name, action, changes, error, placement }: PlannedObject): string[] {
  const lines = [
    `${MARK[action]} ${name}${action === 'none' ? ' (no change)' : ''}${error === undefined ? '' : `: ${error}`}`,
  ]
  if (action === 'change') for (const change of changes) lines.push(`    ${changeText(change)}`)
  if (placement !== undefined) lines.push(...placementLines(placement))
  return lines
}

function changeText({ path, old, new: next }: Change): string {
  if (old === undefined) return `${path}: + ${short(next)}`
  return next === undefined ? `${path}: - ${short(old)}` : `${path}: ${short(old)} → ${short(next)}`
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? ''
  return text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text
}

function placementLines({ placements, refused, message, surge }: PlannedWorkload): string[] {
  const lines: string[] = []
  const where = Object.entries(placements).sort(([a], [b]) => (a < b ? -1 : 1))
  if (where.length > 0) lines.push(`    pods: ${where.map(([node, count]) => `${count} on ${node}`).join(', ')}`)
  if (refused > 0) lines.push(`    would not fit: ${refused} pods: ${message}`)
  if (surge.wanted > 0) {
    lines.push(
      surge.placed === surge.wanted
        ? `    rollout: room for ${surge.placed} extra pods beside the old ones`
        : `    rollout: room for ${surge.placed} of ${surge.wanted} extra pods beside the old ones: ${surge.message}`,
    )
  }
  return lines
}
