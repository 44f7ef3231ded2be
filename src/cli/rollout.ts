/** `drover rollout status|history|undo|restart|pause|resume`. */
import type { Command } from 'commander'
import { type Deployment, deploymentKind } from '../api/deployment.ts'
import { ANNOTATION, LABEL } from '../api/names.ts'
import { type ReplicaSet, replicaSetKind } from '../api/replicaset.ts'
import { timestamp } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, displayName, type Io, parseTargets } from './context.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { rolloutState } from './rollout_status.ts'
import { alignColumns } from './table.ts'
import { waitFor } from './wait.ts'
import { toYaml } from './yaml_output.ts'

const STRATEGIC = 'application/strategic-merge-patch+json'

type Action<O> = (context: CliContext, name: string, options: O) => Promise<void>

export function registerRollout(program: Command, io: Io): void {
  const rollout = program.command('rollout').description('follow, undo and restart rollouts of deployments')
  const add = <O>(verb: string, description: string, action: Action<O>): Command =>
    rollout
      .command(verb)
      .description(description)
      .argument('<deployment...>', 'deployment/NAME or deployment NAME')
      .action(async (words: string[], options: O, command: Command) => {
        const context = contextOf(io, command)
        try {
          for (const { kind, name } of parseTargets(words)) {
            if (kind.kind !== 'Deployment' || name === undefined) {
              throw new DroverError('invalid', `rollouts are of deployments: name one, for example deployment/web`)
            }
            await action(context, name, options)
          }
        } finally {
          context.close()
        }
      })
  add('status', 'wait until the rollout is through; exit code 1 when it failed, 5 on time-out', status)
    .option('--timeout <seconds>', 'how long to wait; 0 for ever', '0')
    .option('--no-wait', 'say where it stands and return')
  add('history', 'list revisions', history).option('--revision <number>', "show this revision's template")
  add('undo', 'go back to an earlier revision', undo).option('--to-revision <number>', 'which; default: the one before')
  add('restart', 'replace all pods, by the rollout strategy', restart)
  add('pause', 'stop rolling out changes', (context, name) => setPaused(context, name, true))
  add('resume', 'go on rolling out', (context, name) => setPaused(context, name, false))
}

const pathOf = (context: CliContext, name: string): string => resourcePath(deploymentKind, context.namespace, name)
const load = (context: CliContext, name: string): Promise<Deployment> =>
  context.client.call<Deployment>('GET', pathOf(context, name))

async function status(context: CliContext, name: string, options: { timeout: string; wait: boolean }): Promise<void> {
  await load(context, name)
  let last = ''
  const request = {
    kind: deploymentKind,
    namespace: context.namespace,
    name,
    what: `the rollout of ${name}`,
    timeoutMs: Number(options.timeout) * 1000,
  }
  await waitFor<Deployment>(context, request, (deployment) => {
    if (deployment === undefined) throw new DroverError('notFound', `deployment "${name}" was deleted`)
    const state = rolloutState(deployment)
    if (state.failed) throw new DroverError('internal', state.message)
    if (state.message !== last) context.print(state.message)
    last = state.message
    return state.done || !options.wait
  })
}

const revisionOf = (set: ReplicaSet): number => Number(set.metadata.annotations?.[ANNOTATION.revision] ?? 0)

/** ReplicaSets of the deployment, oldest revision first. */
async function revisions(context: CliContext, deployment: Deployment): Promise<ReplicaSet[]> {
  const path = resourcePath(replicaSetKind, context.namespace)
  const { items } = await context.client.call<ObjectList<ReplicaSet>>('GET', path)
  const owned = items.filter((set) =>
    set.metadata.ownerReferences?.some((owner) => owner.controller === true && owner.uid === deployment.metadata.uid),
  )
  return owned.sort((a, b) => revisionOf(a) - revisionOf(b))
}

function templateOf(set: ReplicaSet): ReplicaSet['spec']['template'] {
  const { [LABEL.podTemplateHash]: _hash, ...labels } = set.spec.template.metadata?.labels ?? {}
  return { ...set.spec.template, metadata: { ...set.spec.template.metadata, labels } }
}

async function history(context: CliContext, name: string, options: { revision?: string }): Promise<void> {
  const sets = await revisions(context, await load(context, name))
  if (options.revision === undefined) {
    const rows = sets.map((set) => [
      String(revisionOf(set)),
      set.metadata.annotations?.[ANNOTATION.changeCause] ?? '<none>',
    ])
    for (const line of alignColumns([['REVISION', 'CHANGE-CAUSE'], ...rows])) context.print(line)
    return
  }
  context.print(toYaml(templateOf(findRevision(sets, Number(options.revision), name))).trimEnd())
}

function findRevision(sets: ReplicaSet[], revision: number, name: string): ReplicaSet {
  const found = sets.find((set) => revisionOf(set) === revision)
  if (found !== undefined) return found
  const known = sets.map(revisionOf).join(', ')
  throw new DroverError('notFound', `deployment "${name}" has no revision ${revision}; it has: ${known || 'none'}`)
}

async function undo(context: CliContext, name: string, options: { toRevision?: string }): Promise<void> {
  const deployment = await load(context, name)
  const sets = await revisions(context, deployment)
  const target = options.toRevision === undefined ? sets.at(-2) : findRevision(sets, Number(options.toRevision), name)
  if (target === undefined) throw new DroverError('notFound', `deployment "${name}" has no revision before this one`)
  // A replacement, not a merge: what the newer template added has to go.
  const body = [
    { op: 'test', path: '/metadata/uid', value: deployment.metadata.uid },
    { op: 'replace', path: '/spec/template', value: templateOf(target) },
  ]
  await context.client.call('PATCH', pathOf(context, name), { body, contentType: 'application/json-patch+json' })
  context.print(`${displayName(deploymentKind, name)} rolled back to revision ${revisionOf(target)}`)
}

async function restart(context: CliContext, name: string): Promise<void> {
  const annotations = { [ANNOTATION.restartedAt]: timestamp(context.io.clock.now()) }
  const body = { spec: { template: { metadata: { annotations } } } }
  await context.client.call('PATCH', pathOf(context, name), { body, contentType: STRATEGIC })
  context.print(`${displayName(deploymentKind, name)} restarted`)
}

async function setPaused(context: CliContext, name: string, paused: boolean): Promise<void> {
  await context.client.call('PATCH', pathOf(context, name), { body: { spec: { paused } }, contentType: STRATEGIC })
  context.print(`${displayName(deploymentKind, name)} ${paused ? 'paused' : 'resumed'}`)
}
