/** `drover top`: what nodes and pods use now. */
import type { Command } from 'commander'
import { type Node, nodeKind } from '../api/node.ts'
import { DroverError } from '../base/errors.ts'
import { parseBytes, parseQuantity } from '../base/quantity.ts'
import { type CliContext, contextOf, type Io } from './context.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { alignColumns } from './table.ts'

const PATH = '/apis/metrics.k8s.io/v1beta1'
const OUTPUTS = ['table', 'json']
const COLUMNS = ['cpu', 'memory', 'name']

interface Usage {
  cpu: string
  memory: string
}

interface Metrics {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string }
  timestamp: string
  usage?: Usage
  containers?: { name: string; usage: Usage }[]
}

interface TopOptions {
  selector?: string
  sortBy: string
  output: string
  containers?: boolean
}

interface Row {
  cells: string[]
  name: string
  cpuCores: number
  memoryBytes: number
}

export function registerTop(program: Command, io: Io): void {
  const top = program.command('top').description('what nodes and pods use now')
  const add = (
    command: Command,
    run: (context: CliContext, name: string | undefined, options: TopOptions) => Promise<void>,
  ) =>
    command
      .option('-l, --selector <labels>', 'only those with these labels')
      .option('--sort-by <column>', COLUMNS.join(', '), 'name')
      .option('-o, --output <format>', OUTPUTS.join(', '), 'table')
      .action(async (name: string | undefined, options: TopOptions, ran: Command) => {
        if (!COLUMNS.includes(options.sortBy)) {
          throw new DroverError('invalid', `--sort-by ${options.sortBy}: there are ${COLUMNS.join(', ')}`)
        }
        if (!OUTPUTS.includes(options.output)) {
          throw new DroverError('invalid', `--output ${options.output}: there are ${OUTPUTS.join(', ')}`)
        }
        const context = contextOf(io, ran)
        try {
          await run(context, name, options)
        } finally {
          context.close()
        }
      })
  add(
    top
      .command('nodes')
      .alias('node')
      .description('what each node uses, and of how much')
      .argument('[name]', 'one node')
      .addHelpText('after', '\nExamples:\n  drover top nodes\n  drover top nodes --sort-by cpu'),
    topNodes,
  )
  add(
    top
      .command('pods')
      .alias('pod')
      .description('what each pod uses')
      .argument('[name]', 'one pod')
      .option('--containers', 'each container by itself')
      .addHelpText(
        'after',
        '\nExamples:\n  drover top pods -A --sort-by memory\n  drover top pods -l app=web --containers',
      ),
    topPods,
  )
}

const cores = ({ cpu }: Usage): number => parseQuantity(cpu)
const bytes = ({ memory }: Usage): number => parseBytes(memory)
const millis = (cpuCores: number): string => `${Math.ceil(cpuCores * 1000)}m`
const mebibytes = (memoryBytes: number): string => `${Math.ceil(memoryBytes / 2 ** 20)}Mi`
const percent = (part: number, whole: number): string => (whole > 0 ? `${Math.round((part / whole) * 100)}%` : '-')

/** Those found, as a list whether one was named or not. */
async function read(context: CliContext, path: string, name: string | undefined, { selector }: TopOptions) {
  const query = selector === undefined ? {} : { labelSelector: selector }
  if (name === undefined) return await context.client.call<{ items: Metrics[] }>('GET', path, { query })
  return { items: [await context.client.call<Metrics>('GET', `${path}/${encodeURIComponent(name)}`)] }
}

function print(context: CliContext, header: readonly string[], rows: readonly Row[], { sortBy }: TopOptions): void {
  const sorted = rows.toSorted((a, b) => {
    if (sortBy === 'cpu') return b.cpuCores - a.cpuCores
    if (sortBy === 'memory') return b.memoryBytes - a.memoryBytes
    return a.name < b.name ? -1 : 1
  })
  for (const line of alignColumns([header, ...sorted.map(({ cells }) => cells)])) context.print(line)
}

async function topNodes(context: CliContext, name: string | undefined, options: TopOptions): Promise<void> {
  const answer = await read(context, `${PATH}/nodes`, name, options)
  if (options.output === 'json') {
    context.print(JSON.stringify(answer, undefined, 2))
    return
  }
  const { items } = await context.client.call<ObjectList<Node>>('GET', resourcePath(nodeKind, undefined))
  const capacity = new Map(items.map((node) => [node.metadata.name, node.status?.allocatable ?? {}]))
  const rows = answer.items.map(({ metadata, usage = { cpu: '0', memory: '0' } }): Row => {
    const [cpuCores, memoryBytes] = [cores(usage), bytes(usage)]
    const { cpu = '0', memory = '0' } = capacity.get(metadata.name) ?? {}
    const ofCpu = percent(cpuCores, parseQuantity(cpu))
    const ofMemory = percent(memoryBytes, parseBytes(memory))
    const cells = [metadata.name, millis(cpuCores), ofCpu, mebibytes(memoryBytes), ofMemory]
    return { cells, name: metadata.name, cpuCores, memoryBytes }
  })
  print(context, ['NAME', 'CPU(cores)', 'CPU%', 'MEMORY(bytes)', 'MEMORY%'], rows, options)
}

async function topPods(context: CliContext, name: string | undefined, options: TopOptions): Promise<void> {
  const { scope } = context
  const namespaced = scope === undefined && name === undefined ? '' : `/namespaces/${scope ?? context.namespace}`
  const answer = await read(context, `${PATH}${namespaced}/pods`, name, options)
  if (options.output === 'json') {
    context.print(JSON.stringify(answer, undefined, 2))
    return
  }
  const all = scope === undefined
  const rows = answer.items.flatMap(({ metadata, containers = [] }): Row[] => {
    const where = all ? [metadata.namespace ?? ''] : []
    const row = (words: string[], of: readonly Usage[]): Row => {
      const cpuCores = of.reduce((sum, usage) => sum + cores(usage), 0)
      const memoryBytes = of.reduce((sum, usage) => sum + bytes(usage), 0)
      const cells = [...where, ...words, millis(cpuCores), mebibytes(memoryBytes)]
      return { cells, name: [...where, ...words].join('/'), cpuCores, memoryBytes }
    }
    if (options.containers !== true)
      return [
        row(
          [metadata.name],
          containers.map(({ usage }) => usage),
        ),
      ]
    return containers.map((container) => row([metadata.name, container.name], [container.usage]))
  })
  const names = options.containers === true ? ['POD', 'NAME'] : ['NAME']
  if (rows.length === 0) context.note('No running pods were found.')
  else print(context, [...(all ? ['NAMESPACE'] : []), ...names, 'CPU(cores)', 'MEMORY(bytes)'], rows, options)
}
