/** `drover rollout status|history|undo|restart|pause|resume`, of whatever has a template and revisions of it. */
import type { Command } from 'commander'
import type { KindDefinition } from '../api/kind.ts'
import { ANNOTATION } from '../api/names.ts'
import { timestamp } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, displayName, type Io, parseTargets } from './context.ts'
import { resourcePath } from './rest_client.ts'
import { findRevision, type Revision, type RolloutObject, revisionsOf } from './rollout_revisions.ts'
import { rolloutState } from './rollout_status.ts'
import { alignColumns } from './table.ts'
import { waitFor } from './wait.ts'
import { toYaml } from './yaml_output.ts'

const STRATEGIC = 'application/strategic-merge-patch+json'

interface Target {
  kind: KindDefinition
  name: string
}

type Action<O> = (context: CliContext, target: Target, options: O) => Promise<void>

const KINDS: ReadonlySet<string> = new Set(['Deployment', 'StatefulSet', 'DaemonSet'])

export function registerRollout(program: Command, io: Io): void {
  const rollout = program
    .command('rollout')
    .description('follow, undo and restart rollouts of deployments, stateful sets and daemon sets')
  const add = <O>(verb: string, description: string, action: Action<O>): Command =>
    rollout
      .command(verb)
      .description(description)
      .argument('<workload...>', 'deployment/NAME, sts/NAME or ds/NAME')
      .action(async (words: string[], options: O, command: Command) => {
        const context = contextOf(io, command)
        try {
          for (const { kind, name } of parseTargets(words)) {
            if (!KINDS.has(kind.kind) || name === undefined) {
              const message =
                'rollouts are of deployments, stateful sets and daemon sets: name one, for example deployment/web'
              throw new DroverError('invalid', message)
            }
            await action(context, { kind, name }, options)
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
  add('pause', 'stop rolling out changes', (context, target) => setPaused(context, target, true))
  add('resume', 'go on rolling out', (context, target) => setPaused(context, target, false))
}

const pathOf = (context: CliContext, { kind, name }: Target): string => resourcePath(kind, context.namespace, name)
const load = (context: CliContext, target: Target): Promise<RolloutObject> =>
  context.client.call<RolloutObject>('GET', pathOf(context, target))

async function status(context: CliContext, target: Target, options: { timeout: string; wait: boolean }): Promise<void> {
  await load(context, target)
  const { kind, name } = target
  let last = ''
  const request = {
    kind,
    namespace: context.namespace,
    name,
    what: `the rollout of ${name}`,
    timeoutMs: Number(options.timeout) * 1000,
  }
  await waitFor<RolloutObject>(context, request, (object) => {
    if (object === undefined) throw new DroverError('notFound', `${kind.singular} "${name}" was deleted`)
    const state = rolloutState(object)
    if (state.failed) throw new DroverError('internal', state.message)
    if (state.message !== last) context.print(state.message)
    last = state.message
    return state.done || !options.wait
  })
}

async function history(context: CliContext, target: Target, options: { revision?: string }): Promise<void> {
  const revisions = await revisionsOf(context, target.kind, await load(context, target))
  if (options.revision === undefined) {
    const rows = revisions.map(({ number, cause }) => [String(number), cause ?? '<none>'])
    for (const line of alignColumns([['REVISION', 'CHANGE-CAUSE'], ...rows])) context.print(line)
    return
  }
  context.print(toYaml(findRevision(revisions, Number(options.revision), target).template).trimEnd())
}

async function undo(context: CliContext, target: Target, options: { toRevision?: string }): Promise<void> {
  const object = await load(context, target)
  const revisions = await revisionsOf(context, target.kind, object)
  const wanted: Revision | undefined =
    options.toRevision === undefined ? revisions.at(-2) : findRevision(revisions, Number(options.toRevision), target)
  if (wanted === undefined) {
    throw new DroverError('notFound', `${target.kind.singular} "${target.name}" has no revision before this one`)
  }
  // A replacement, not a merge: what the newer template added has to go.
  const body = [
    { op: 'test', path: '/metadata/uid', value: object.metadata.uid },
    { op: 'replace', path: '/spec/template', value: wanted.template },
  ]
  await context.client.call('PATCH', pathOf(context, target), { body, contentType: 'application/json-patch+json' })
  context.print(`${displayName(target.kind, target.name)} rolled back to revision ${wanted.number}`)
}

async function restart(context: CliContext, target: Target): Promise<void> {
  const annotations = { [ANNOTATION.restartedAt]: timestamp(context.io.clock.now()) }
  const body = { spec: { template: { metadata: { annotations } } } }
  await context.client.call('PATCH', pathOf(context, target), { body, contentType: STRATEGIC })
  context.print(`${displayName(target.kind, target.name)} restarted`)
}

async function setPaused(context: CliContext, target: Target, paused: boolean): Promise<void> {
  if (target.kind.kind !== 'Deployment') {
    const message = `only deployments can be paused; ${target.kind.plural} have updateStrategy OnDelete`
    throw new DroverError('invalid', message)
  }
  await context.client.call('PATCH', pathOf(context, target), { body: { spec: { paused } }, contentType: STRATEGIC })
  context.print(`${displayName(target.kind, target.name)} ${paused ? 'paused' : 'resumed'}`)
}
