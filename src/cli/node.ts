/** `drover node`: the machines of the cluster. */
import type { Command } from 'commander'
import { isPodFinished } from '../api/conditions.ts'
import { ANNOTATION } from '../api/names.ts'
import { isNodeReady, type Node, nodeKind } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, type Io } from './context.ts'
import { addFsckOptions, type FsckOptions, fsck } from './node_fsck.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { alignColumns, TABLE_ACCEPT, type Table, tableHeader, tableRows } from './table.ts'

export function registerNode(program: Command, io: Io): void {
  const node = program.command('node').description('the machines of the cluster')
  const run = async (command: Command, work: (context: CliContext) => Promise<void>): Promise<void> => {
    const context = contextOf(io, command)
    try {
      await work(context)
    } finally {
      context.close()
    }
  }
  node
    .command('ls')
    .alias('list')
    .description('nodes, with the pods that each runs')
    .action((_options: object, command: Command) => run(command, list))
  node
    .command('rm')
    .description('take nodes out of the cluster; to come back, they join again')
    .argument('<name...>', 'nodes')
    .option('--force', 'also one that is Ready and runs pods')
    .action((names: string[], options: { force?: boolean }, command: Command) =>
      run(command, (context) => remove(context, names, options.force === true)),
    )
  addFsckOptions(node.command('fsck')).action((names: string[], options: FsckOptions, command: Command) =>
    run(command, (context) => fsck(context, names, options)),
  )
  for (const [verb, unschedulable, what] of [
    ['cordon', true, 'give nodes no new pods'],
    ['uncordon', false, 'give nodes new pods again'],
  ] as const) {
    node
      .command(verb)
      .description(what)
      .argument('<name...>', 'nodes')
      .action((names: string[], _options: object, command: Command) =>
        run(command, (context) => setSchedulable(context, names, unschedulable)),
      )
  }
}

const nodePath = (name?: string): string => resourcePath(nodeKind, undefined, name)

async function podsOn(context: CliContext, node?: string): Promise<Pod[]> {
  const query = node === undefined ? {} : { fieldSelector: `spec.nodeName=${node}` }
  const { items } = await context.client.call<ObjectList<Pod>>('GET', resourcePath(podKind, undefined), { query })
  return items.filter((pod) => !isPodFinished(pod))
}

async function list(context: CliContext): Promise<void> {
  const table = await context.client.call<Table>('GET', nodePath(), { accept: TABLE_ACCEPT })
  if (table.rows.length === 0) {
    context.note('No nodes; a machine joins with the line that is printed by: drover token create')
    return
  }
  const counts = new Map<string, number>()
  for (const { spec } of await podsOn(context)) {
    if (spec.nodeName) counts.set(spec.nodeName, (counts.get(spec.nodeName) ?? 0) + 1)
  }
  const shape = { wide: true, withNamespace: false }
  // After the name and the status, where it can be seen without scrolling.
  const insert = (cells: string[], value: string): string[] => [...cells.slice(0, 2), value, ...cells.slice(2)]
  const header = insert(tableHeader(table.columnDefinitions, shape), 'PODS')
  const rows = tableRows(table, table.columnDefinitions, shape).map((cells) =>
    insert(cells, String(counts.get(cells[0] ?? '') ?? 0)),
  )
  for (const line of alignColumns([header, ...rows])) context.print(line)
}

async function remove(context: CliContext, names: readonly string[], force: boolean): Promise<void> {
  for (const name of names) {
    const node = await context.client.call<Node>('GET', nodePath(name))
    if (!force && isNodeReady(node)) await refuseInUse(context, node)
    const preconditions = { uid: node.metadata.uid }
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions }
    await context.client.call('DELETE', nodePath(name), { body })
    context.print(`node/${name} removed`)
  }
}

/** A node that lives and takes or runs pods is not removed by mistake. */
async function refuseInUse(context: CliContext, { metadata, spec }: Node): Promise<void> {
  const name = metadata.name ?? ''
  const pods = await podsOn(context, name)
  const cordoned = spec?.unschedulable === true
  if (cordoned && pods.length === 0) return
  const why = cordoned ? `runs ${pods.length} pods` : `is Ready and takes pods (it runs ${pods.length} now)`
  throw new DroverError(
    'conflict',
    `node ${name} ${why}: move its pods first (drover drain ${name}), or remove it with --force: its pods are then replaced elsewhere`,
  )
}

async function setSchedulable(context: CliContext, names: readonly string[], unschedulable: boolean): Promise<void> {
  for (const name of names) {
    await context.client.call('PATCH', nodePath(name), {
      // What was begun to drain is no longer, whichever way it goes.
      body: {
        metadata: { annotations: { [ANNOTATION.draining]: null } },
        spec: { unschedulable: unschedulable ? true : null },
      },
      contentType: 'application/merge-patch+json',
    })
    context.print(`node/${name} ${unschedulable ? 'cordoned' : 'uncordoned'}`)
  }
}
