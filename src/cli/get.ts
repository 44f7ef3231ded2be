/** `drover get`: objects as a table, YAML, JSON or names; once or as they change. */
import type { Command } from 'commander'
import type { KubeObject } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, displayName, type Io, parseTargets, type Target } from './context.ts'
import { follow } from './follow.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { alignColumns, TABLE_ACCEPT, type Table, type TableOptions, tableHeader, tableRows } from './table.ts'
import { toYaml } from './yaml_output.ts'

interface GetOptions {
  output?: string
  selector?: string
  fieldSelector?: string
  watch?: boolean
  headers: boolean
  ignoreNotFound?: boolean
}

const FORMATS = ['table', 'wide', 'yaml', 'json', 'name']

export function registerGet(program: Command, io: Io): void {
  program
    .command('get')
    .description('show objects')
    .argument('<type...>', 'TYPE, TYPE NAME…, TYPE/NAME…, or TYPE,TYPE')
    .option('-o, --output <format>', FORMATS.join(', '), 'table')
    .option('-l, --selector <labels>', 'only objects with these labels, e.g. app=web,tier!=db')
    .option('--field-selector <fields>', 'only objects with these field values, e.g. spec.nodeName=n1')
    .option('-w, --watch', 'go on printing as they change')
    .option('--no-headers', 'no header line')
    .option('--ignore-not-found', 'end well when a named object is not there')
    .option('-A, --all-namespaces', 'look in all namespaces')
    .addHelpText(
      'after',
      `
Examples:
  drover get pods -o wide
  drover get deploy,svc -n shop
  drover get pod/web-1 -o yaml
  drover get pods -l app=web -w`,
    )
    .action(async (words: string[], options: GetOptions, command: Command) => {
      const context = contextOf(io, command)
      try {
        await get(context, parseTargets(words), options)
      } finally {
        context.close()
      }
    })
}

async function get(context: CliContext, targets: Target[], options: GetOptions): Promise<void> {
  const output = options.output ?? 'table'
  if (!FORMATS.includes(output)) {
    throw new DroverError('invalid', `there is no output format "${output}"; there are: ${FORMATS.join(', ')}`)
  }
  if (options.watch === true) {
    const [target, ...more] = targets
    if (target === undefined || more.length > 0) throw new DroverError('invalid', '--watch takes one type or object')
    await watch(context, target, options, output)
  } else if (output === 'table' || output === 'wide') {
    await printTables(context, targets, options, output === 'wide')
  } else {
    await printObjects(context, targets, options, output)
  }
}

const queryOf = (options: GetOptions): Record<string, string | undefined> => ({
  labelSelector: options.selector,
  fieldSelector: options.fieldSelector,
})

function pathOf(context: CliContext, { kind, name }: Target): string {
  if (name !== undefined && context.options.allNamespaces === true && kind.namespaced) {
    throw new DroverError('invalid', 'an object is named within one namespace: give -n NAMESPACE instead of -A')
  }
  return resourcePath(kind, context.scope, name)
}

async function fetchUnlessAbsent<T>(
  context: CliContext,
  target: Target,
  options: GetOptions,
  accept?: string,
): Promise<T | undefined> {
  try {
    const query = target.name === undefined ? queryOf(options) : {}
    return await context.client.call<T>('GET', pathOf(context, target), { query, ...(accept ? { accept } : {}) })
  } catch (error) {
    if (options.ignoreNotFound === true && error instanceof DroverError && error.code === 'notFound') return undefined
    throw error
  }
}

async function printTables(context: CliContext, targets: Target[], options: GetOptions, wide: boolean): Promise<void> {
  const several = new Set(targets.map((target) => target.kind.plural)).size > 1
  const blocks: string[][] = []
  let columns = ''
  for (const target of targets) {
    const table = await fetchUnlessAbsent<Table>(context, target, options, TABLE_ACCEPT)
    if (table === undefined || table.rows.length === 0) continue
    const shape: TableOptions = {
      wide,
      withNamespace: context.options.allNamespaces === true && target.kind.namespaced,
      ...(several ? { withKind: displayName(target.kind, '').slice(0, -1) } : {}),
    }
    const rows = tableRows(table, table.columnDefinitions, shape)
    const header = tableHeader(table.columnDefinitions, shape)
    // Named objects of one kind come one by one and belong in one table.
    const same = header.join() === columns
    if (same) blocks.at(-1)?.push(...rows.map((row) => row.join('\t')))
    else blocks.push([...(options.headers ? [header] : []), ...rows].map((row) => row.join('\t')))
    columns = header.join()
  }
  if (blocks.length === 0) {
    if (options.ignoreNotFound !== true) {
      const where = context.scope === undefined ? 'any namespace' : `namespace ${context.scope}`
      context.note(
        targets.every(({ kind }) => !kind.namespaced) ? 'No resources found' : `No resources found in ${where}.`,
      )
    }
    return
  }
  const text = blocks.map((block) => alignColumns(block.map((line) => line.split('\t'))).join('\n'))
  context.print(text.join('\n\n'))
}

async function printObjects(
  context: CliContext,
  targets: Target[],
  options: GetOptions,
  output: string,
): Promise<void> {
  const objects: KubeObject[] = []
  for (const target of targets) {
    const answer = await fetchUnlessAbsent<KubeObject | ObjectList<KubeObject>>(context, target, options)
    if (answer === undefined) continue
    if (!('items' in answer)) objects.push(answer)
    else {
      const apiVersion = target.kind.group === '' ? 'v1' : `${target.kind.group}/${target.kind.version}`
      objects.push(...answer.items.map((item) => ({ ...item, apiVersion, kind: target.kind.kind })))
    }
  }
  if (output === 'name') {
    for (const object of objects) {
      const kind = targets.find((target) => target.kind.kind === object.kind)?.kind
      if (kind !== undefined) context.print(displayName(kind, object.metadata.name ?? ''))
    }
    return
  }
  const single = targets.length === 1 && targets[0]?.name !== undefined
  if (single && objects.length === 0) return
  const document = single ? objects[0] : { apiVersion: 'v1', kind: 'List', items: objects, metadata: {} }
  context.print(output === 'json' ? JSON.stringify(document, null, 2) : toYaml(document).trimEnd())
}

async function watch(context: CliContext, target: Target, options: GetOptions, output: string): Promise<void> {
  const asTable = output === 'table' || output === 'wide'
  const { kind, name } = target
  const query = { ...queryOf(options), ...(name === undefined ? {} : { fieldSelector: `metadata.name=${name}` }) }
  const path = pathOf(context, { kind })
  const accept = asTable ? TABLE_ACCEPT : 'application/json'
  const shape = { wide: output === 'wide', withNamespace: context.options.allNamespaces === true && kind.namespaced }
  const print = tablePrinter(context, shape, options.headers)
  const first = await context.client.call<Table & ObjectList<KubeObject>>('GET', path, { query, accept })
  if (asTable) print(first)
  else for (const item of first.items) printOne(context, { ...item, kind: kind.kind }, output)
  const resourceVersion = first.metadata?.resourceVersion
  for await (const { object } of follow<Table | KubeObject>(context, { path, query, accept, resourceVersion })) {
    if (asTable) print(object as Table)
    else printOne(context, object as KubeObject, output)
  }
}

function printOne(context: CliContext, object: KubeObject, output: string): void {
  if (output === 'yaml') context.print(`---\n${toYaml(object).trimEnd()}`)
  else if (output === 'json') context.print(JSON.stringify(object))
  else context.print(`${object.kind.toLowerCase()}/${object.metadata.name}`)
}

/** Prints tables one after another in columns that only ever grow. */
function tablePrinter(context: CliContext, shape: TableOptions, headers: boolean): (table: Table) => void {
  let columns: Table['columnDefinitions']
  const widths: number[] = []
  return (table) => {
    const rows = [] as string[][]
    if (columns === undefined && table.columnDefinitions !== undefined && headers) {
      rows.push(tableHeader(table.columnDefinitions, shape))
    }
    columns ??= table.columnDefinitions
    rows.push(...tableRows(table, columns, shape))
    for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
    for (const line of alignColumns(rows, widths)) context.print(line)
  }
}
