/** `drover image`: images on the cluster's nodes. */
import { createReadStream, existsSync } from 'node:fs'
import type { Readable } from 'node:stream'
import type { Command } from 'commander'
import { DroverError, type ErrorCode } from '../base/errors.ts'
import { type CliContext, contextOf, type Io } from './context.ts'
import {
  addCredentialOptions,
  type CredentialOptions,
  credentialsFor,
  IMAGES_PATH,
  inspectImage,
  saveImage,
} from './image_transfer.ts'
import { jsonLines } from './rest_client.ts'
import { alignColumns } from './table.ts'

const PATH = IMAGES_PATH

interface NodeOption {
  node?: string[]
}

/** One line of the server's answer. */
interface Progress {
  node: string
  message?: string
  ok?: boolean
  error?: string
  code?: ErrorCode
}

interface NodeImages {
  node: string
  images: { names: string[]; digest: string; sizeBytes: number; createdAt: string }[]
  error?: string
}

export function registerImages(program: Command, io: Io): void {
  const image = program.command('image').description('images on the nodes')
  const run = async (command: Command, action: (context: CliContext) => Promise<void>): Promise<void> => {
    const context = contextOf(io, command)
    try {
      await action(context)
    } finally {
      context.close()
    }
  }
  image
    .command('load')
    .description('put an archive (docker save, OCI, plain or gzip) on the nodes')
    .argument('<file>', 'archive, or - for standard input')
    .option('--name <reference>', 'name for an archive that holds none')
    .option('--node <name...>', 'only on these nodes')
    .addHelpText('after', '\nExample:\n  docker save web:1 | drover image load -')
    .action((file: string, options: NodeOption & { name?: string }, command: Command) =>
      run(command, (context) => send(context, { verb: 'load', file, reference: options.name, nodes: options.node })),
    )
  image
    .command('import')
    .description('make an image from a tar of a root file system')
    .argument('<file>', 'tar, or - for standard input')
    .argument('<reference>', 'name for the image, e.g. tools:1')
    .option('--node <name...>', 'only on these nodes')
    .action((file: string, reference: string, options: NodeOption, command: Command) =>
      run(command, (context) => send(context, { verb: 'import', file, reference, nodes: options.node })),
    )
  for (const [verb, what, more] of [
    ['pull', 'fetch an image to the nodes before it is needed', '<name...>'],
    ['push', 'send an image from a node that has it to the registry in its name', '<name>'],
  ] as const) {
    addCredentialOptions(image.command(verb).description(what).argument('<reference>'))
      .option(`--node ${more}`, verb === 'pull' ? 'only on these nodes' : 'from this node')
      .action((reference: string, options: CredentialOptions & { node?: string[] | string }, command: Command) =>
        run(command, async (context) => {
          const body = await credentialsFor(io, reference, options)
          const query = { verb, reference, node: [options.node ?? []].flat().join(',') || undefined }
          const settings = { query, timeoutMs: 0, signal: context.io.signal, ...(body === undefined ? {} : { body }) }
          await report(context, await context.client.open('POST', PATH, settings))
        }),
      )
  }
  image
    .command('tag')
    .description('give an image one more name, on the nodes that have it')
    .argument('<reference>')
    .argument('<name>', 'the new name, e.g. registry.local:5000/app:2')
    .action((reference: string, target: string, _options: object, command: Command) =>
      run(command, async (context) => {
        const query = { verb: 'tag', reference, target }
        await report(context, await context.client.open('POST', PATH, { query, timeoutMs: 60_000 }))
      }),
    )
  image
    .command('save')
    .description('write an image as an archive that drover, Docker and skopeo read')
    .argument('<reference>')
    .option('-o, --output <file>', 'where to (default: standard output)')
    .action((reference: string, options: { output?: string }, command: Command) =>
      run(command, (context) => saveImage(context, reference, options.output)),
    )
  image
    .command('inspect')
    .description('what is known of an image, as JSON')
    .argument('<reference>')
    .action((reference: string, _options: object, command: Command) =>
      run(command, (context) => inspectImage(context, reference)),
    )
  image
    .command('prune')
    .description('remove images without a name from the nodes')
    .option('--all', 'every image that no container or pod there uses')
    .option('--node <name...>', 'only on these nodes')
    .action((options: NodeOption & { all?: boolean }, command: Command) =>
      run(command, async (context) => {
        const query = { verb: 'prune', all: options.all, node: options.node?.join(',') }
        await report(context, await context.client.open('POST', PATH, { query, timeoutMs: 120_000 }))
      }),
    )
  image
    .command('ls')
    .alias('list')
    .description('list images')
    .option('-o, --output <format>', 'table or json')
    .action((options: { output?: string }, command: Command) => run(command, (context) => list(context, options)))
  image
    .command('rm')
    .description('remove an image from the nodes')
    .argument('<reference>')
    .option('--force', 'also when containers use it')
    .option('--node <name...>', 'only on these nodes')
    .action((reference: string, options: NodeOption & { force?: boolean }, command: Command) =>
      run(command, async (context) => {
        const query = { reference, force: options.force, node: options.node?.join(',') }
        await report(context, await context.client.open('DELETE', PATH, { query, timeoutMs: 60_000 }))
      }),
    )
}

interface Upload {
  verb: 'load' | 'import'
  file: string
  reference: string | undefined
  nodes: string[] | undefined
}

async function send(context: CliContext, { verb, file, reference, nodes }: Upload): Promise<void> {
  if (file !== '-' && !existsSync(file)) throw new DroverError('notFound', `there is no file ${file}`)
  const body: Readable = file === '-' ? context.io.stdin : createReadStream(file)
  const response = await context.client.open('POST', PATH, {
    query: { verb, reference, node: nodes?.join(',') },
    body,
    contentType: 'application/octet-stream',
    timeoutMs: 0,
    signal: context.io.signal,
  })
  await report(context, response)
}

/** Prints progress as it comes; throws when a node failed. */
async function report(context: CliContext, response: Readable): Promise<void> {
  const failed: string[] = []
  const codes = new Set<ErrorCode>()
  let nodes = 0
  for await (const { node, message, ok, error, code = 'internal' } of jsonLines<Progress>(response)) {
    if (message !== undefined) context.print(`${node}: ${message}`)
    if (ok === undefined) continue
    nodes++
    if (ok) context.print(`${node}: done`)
    else {
      failed.push(node)
      codes.add(code)
      context.note(`${node}: ${error}`)
    }
  }
  if (nodes === 0) throw new DroverError('unavailable', 'no node answered; see: drover get nodes')
  const [code] = codes
  if (code !== undefined)
    throw new DroverError(
      codes.size === 1 ? code : 'internal',
      `failed on ${failed.length} of ${nodes} nodes: ${failed.join(', ')}`,
    )
}

export function formatSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`
}

async function list(context: CliContext, options: { output?: string }): Promise<void> {
  const answer = await context.client.call<{ items: NodeImages[] }>('GET', PATH)
  if (options.output === 'json') {
    context.print(JSON.stringify(answer, null, 2))
    return
  }
  const merged = new Map<string, { name: string; digest: string; size: string; nodes: string[] }>()
  for (const { node, images, error } of answer.items) {
    if (error !== undefined) context.note(`${node}: ${error}`)
    for (const { names, digest, sizeBytes } of images) {
      for (const name of names.length > 0 ? names : ['<none>']) {
        const key = `${name} ${digest}`
        const row = merged.get(key) ?? { name, digest: digest.slice(7, 19), size: formatSize(sizeBytes), nodes: [] }
        row.nodes.push(node)
        merged.set(key, row)
      }
    }
  }
  const rows = [...merged.values()].sort((a, b) => a.name.localeCompare(b.name))
  const cells = rows.map((row) => [row.name, row.digest, row.size, row.nodes.sort().join(',')])
  for (const line of alignColumns([['IMAGE', 'DIGEST', 'SIZE', 'NODES'], ...cells])) context.print(line)
}
