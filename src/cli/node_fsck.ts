/** `drover node fsck`: nodes compare what is on them with what should be, and mend it. */
import type { Command } from 'commander'
import { DroverError } from '../base/errors.ts'
import type { CliContext } from './context.ts'
import { ExitCode } from './exit_code.ts'
import { alignColumns } from './table.ts'

const PATH = '/apis/drover.dev/v1/nodechecks'
/** A node with a pod that must be taken down takes its time. */
const TIMEOUT_MS = 180_000

export interface FsckOptions {
  all?: boolean
  repair?: boolean
  output?: string
}

interface NodeCheck {
  node: string
  damage: { part: string; subject: string; problem: string; mended?: boolean; error?: string }[]
  error?: string
}

/** Ends with 0: all is well; 6: damage was found and is mended; 1: damage is left, or a node could not be asked. */
export const EXIT_MENDED = 6

export function addFsckOptions(command: Command): Command {
  return command
    .description('compare what is on nodes with what should be there, and mend it')
    .argument('[name...]', 'nodes')
    .option('--all', 'every node that is connected')
    .option('--repair', 'mend what is found')
    .option('-o, --output <format>', 'table or json')
    .addHelpText(
      'after',
      `\nLooks at containers, processes, mounts, namespaces, addresses, cgroups and network rules.\nExit codes: 0 all is well; ${EXIT_MENDED} damage was found and is mended; 1 damage is left.`,
    )
}

export async function fsck(context: CliContext, names: readonly string[], options: FsckOptions): Promise<void> {
  if (names.length > 0 === (options.all === true)) throw new DroverError('invalid', 'name nodes, or say --all')
  if (options.output !== undefined && options.output !== 'json' && options.output !== 'table') {
    throw new DroverError('invalid', `--output takes table or json, not "${options.output}"`)
  }
  const method = options.repair === true ? 'POST' : 'GET'
  const query = names.length === 0 ? {} : { node: names.join(',') }
  const answer = await context.client.call<{ items: NodeCheck[] }>(method, PATH, { query, timeoutMs: TIMEOUT_MS })
  if (options.output === 'json') context.print(JSON.stringify(answer, null, 2))
  else show(context, answer.items, options.repair === true)
  const damage = answer.items.flatMap((item) => item.damage)
  const failed = answer.items.some(({ error }) => error !== undefined)
  if (failed || damage.some(({ mended }) => mended !== true)) throw new ExitCode(1)
  if (damage.length > 0) throw new ExitCode(EXIT_MENDED)
}

function show(context: CliContext, items: readonly NodeCheck[], repair: boolean): void {
  const rows = items.flatMap(({ node, damage }) =>
    damage.map(({ part, subject, problem, mended, error }) => [
      node,
      mended === undefined ? 'found' : mended ? 'mended' : 'left',
      part,
      subject,
      error === undefined ? problem : `${problem} (${error})`,
    ]),
  )
  if (rows.length > 0) {
    for (const line of alignColumns([['NODE', 'STATE', 'PART', 'SUBJECT', 'PROBLEM'], ...rows])) context.print(line)
  }
  for (const { node, damage, error } of items) {
    if (error !== undefined) context.note(`${node}: ${error}`)
    else if (damage.length === 0) context.print(`${node}: all is as it should be`)
  }
  if (rows.length > 0 && !repair) context.note('mend it with --repair')
}
