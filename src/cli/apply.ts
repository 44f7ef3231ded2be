/** `drover apply`, `create` and `delete -f`: declared objects into the cluster. */
import type { Command } from 'commander'
import type { KubeObject } from '../api/meta.ts'
import { ANNOTATION } from '../api/names.ts'
import { DroverError } from '../base/errors.ts'
import { canonicalJson, isObject } from '../base/json.ts'
import { planPatch } from './apply_patch.ts'
import { type CliContext, contextOf, displayName, type Io } from './context.ts'
import { type Manifest, readManifests } from './manifests.ts'
import { resourcePath } from './rest_client.ts'

interface ApplyOptions {
  filename: string[]
  recursive?: boolean
  dryRun?: boolean
  validate: 'strict' | 'warn' | 'ignore'
  output?: string
}

const VALIDATION = { strict: 'Strict', warn: 'Warn', ignore: 'Ignore' } as const
const MANAGER = 'drover-apply'

export function registerApply(program: Command, io: Io): void {
  program
    .command('apply')
    .description('create or change objects to be as files declare them')
    .requiredOption('-f, --filename <path...>', 'file, folder, or - for standard input')
    .option('-R, --recursive', 'folders with their subfolders')
    .option('--dry-run', 'have the server check everything and change nothing')
    .option('--validate <level>', 'unknown fields: strict (refuse), warn or ignore', 'strict')
    .option('-o, --output <format>', 'name or json')
    .addHelpText(
      'after',
      '\nExamples:\n  drover apply -f web.yaml\n  drover apply -f manifests/ -R\n  cat web.yaml | drover apply -f -',
    )
    .action(async (options: ApplyOptions, command: Command) => {
      const context = contextOf(io, command)
      try {
        await applyAll(context, options)
      } finally {
        context.close()
      }
    })
}

async function applyAll(context: CliContext, options: ApplyOptions): Promise<void> {
  if (!(options.validate in VALIDATION)) throw new DroverError('invalid', '--validate takes strict, warn or ignore')
  const manifests = await readManifests(options.filename, options.recursive === true, context.io.stdin)
  const failures: DroverError[] = []
  for (const manifest of manifests) {
    try {
      await applyOne(context, manifest, options)
    } catch (thrown) {
      const error = DroverError.from(thrown)
      if (error.code === 'unavailable' || error.code === 'unauthorized') throw error
      failures.push(error)
      context.note(`Error: ${manifest.where}: ${error.message}`)
    }
  }
  const [first] = failures
  if (first === undefined) return
  if (manifests.length === 1) throw new DroverError(first.code, 'nothing was changed', { cause: first })
  throw new DroverError(first.code, `${failures.length} of ${manifests.length} objects were not applied`, {
    cause: first,
  })
}

export type Applied = 'created' | 'configured' | 'unchanged'

/** Applies one object and returns what became of it. */
export async function applyObject(
  context: CliContext,
  { kind, object }: Pick<Manifest, 'kind' | 'object'>,
  query: Record<string, string | undefined>,
): Promise<{ result: Applied; object: KubeObject }> {
  const namespace = kind.namespaced ? (object.metadata.namespace ?? context.namespace) : undefined
  const { status: _status, ...declared } = object
  const next: KubeObject = { ...declared, metadata: { ...object.metadata, ...(namespace ? { namespace } : {}) } }
  const lastApplied = canonicalJson(next)
  const annotated: KubeObject = {
    ...next,
    metadata: {
      ...next.metadata,
      annotations: { ...next.metadata.annotations, [ANNOTATION.lastApplied]: lastApplied },
    },
  }
  const collection = resourcePath(kind, namespace)
  if (next.metadata.name === undefined) {
    const created = await context.client.call<KubeObject>('POST', collection, { body: annotated, query })
    return { result: 'created', object: created }
  }
  const path = resourcePath(kind, namespace, next.metadata.name)
  const live = await current(context, path)
  if (live === undefined) {
    const created = await context.client.call<KubeObject>('POST', collection, { body: annotated, query })
    return { result: 'created', object: created }
  }
  const before = parseLastApplied(live)
  const body = planPatch(kind.schema, before, annotated as unknown as Record<string, unknown>)
  const patched = await context.client.call<KubeObject>('PATCH', path, {
    body,
    query,
    contentType: 'application/strategic-merge-patch+json',
  })
  const changed = patched.metadata.resourceVersion !== live.metadata.resourceVersion
  return { result: changed ? 'configured' : 'unchanged', object: patched }
}

async function applyOne(context: CliContext, manifest: Manifest, options: ApplyOptions): Promise<void> {
  const query = {
    fieldManager: MANAGER,
    fieldValidation: VALIDATION[options.validate],
    ...(options.dryRun === true ? { dryRun: 'All' } : {}),
  }
  const { result, object } = await applyObject(context, manifest, query)
  const name = displayName(manifest.kind, object.metadata.name ?? '')
  if (options.output === 'json') context.print(JSON.stringify({ result, object }))
  else if (options.output === 'name') context.print(name)
  else context.print(`${name} ${result}${options.dryRun === true ? ' (dry run)' : ''}`)
}

async function current(context: CliContext, path: string): Promise<KubeObject | undefined> {
  try {
    return await context.client.call<KubeObject>('GET', path)
  } catch (error) {
    if (error instanceof DroverError && error.code === 'notFound') return undefined
    throw error
  }
}

function parseLastApplied(live: KubeObject): Record<string, unknown> | undefined {
  const text = live.metadata.annotations?.[ANNOTATION.lastApplied]
  if (text === undefined) return undefined
  try {
    const parsed: unknown = JSON.parse(text)
    return isObject(parsed) ? parsed : undefined
  } catch {
    // Someone edited the annotation by hand: apply then only adds and changes.
    return undefined
  }
}
