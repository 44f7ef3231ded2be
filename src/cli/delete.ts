/** `drover delete`: objects by name, by label or as files declare them; waits until they are gone. */
import type { Command } from 'commander'
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import { type CliContext, contextOf, displayName, type Io, parseTargets } from './context.ts'
import { readManifests } from './manifests.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { waitFor } from './wait.ts'

interface DeleteOptions {
  filename?: string[]
  recursive?: boolean
  selector?: string
  all?: boolean
  gracePeriod?: string
  force?: boolean
  wait: boolean
  timeout: string
  ignoreNotFound?: boolean
  cascade: string
}

interface Doomed {
  kind: KindDefinition
  namespace: string | undefined
  name: string
}

const CASCADE: Readonly<Record<string, string>> = {
  background: 'Background',
  foreground: 'Foreground',
  orphan: 'Orphan',
}

export function registerDelete(program: Command, io: Io): void {
  program
    .command('delete')
    .description('delete objects and wait until they are gone')
    .argument('[type...]', 'TYPE NAME…, TYPE/NAME…, or TYPE with -l or --all')
    .option('-f, --filename <path...>', 'the objects that these files declare')
    .option('-R, --recursive', 'folders with their subfolders')
    .option('-l, --selector <labels>', 'all objects with these labels')
    .option('--all', 'all objects of the type in the namespace')
    .option('--grace-period <seconds>', 'time for pods to end by themselves')
    .option('--force', 'remove the object at once, without waiting for the node')
    .option('--no-wait', 'return before they are gone')
    .option('--timeout <seconds>', 'how long to wait; 0 for ever', '0')
    .option('--cascade <how>', 'what becomes of what they own: background, foreground or orphan', 'background')
    .option('--ignore-not-found', 'end well when an object is not there')
    .option('-A, --all-namespaces', 'with -l or --all: in all namespaces')
    .addHelpText(
      'after',
      '\nExamples:\n  drover delete -f web.yaml\n  drover delete pod web-1 --grace-period 5\n  drover delete deploy,svc -l app=web',
    )
    .action(async (words: string[], options: DeleteOptions, command: Command) => {
      const context = contextOf(io, command)
      try {
        await deleteAll(context, words, options)
      } finally {
        context.close()
      }
    })
}

async function deleteAll(context: CliContext, words: string[], options: DeleteOptions): Promise<void> {
  if (CASCADE[options.cascade] === undefined) {
    throw new DroverError('invalid', '--cascade takes background, foreground or orphan')
  }
  const doomed = await find(context, words, options)
  if (doomed.length === 0) context.note('No resources found')
  const deleted: (Doomed & { uid: string })[] = []
  for (const one of doomed) {
    const uid = await deleteOne(context, one, options)
    if (uid !== undefined) deleted.push({ ...one, uid })
  }
  if (!options.wait) return
  const timeoutMs = seconds(options.timeout, '--timeout') * 1000
  for (const one of deleted) await waitGone(context, one, timeoutMs)
}

async function find(context: CliContext, words: string[], options: DeleteOptions): Promise<Doomed[]> {
  if (options.filename !== undefined) {
    const manifests = await readManifests(options.filename, options.recursive === true, context.io.stdin)
    return manifests.map(({ kind, object }) => ({
      kind,
      namespace: kind.namespaced ? (object.metadata.namespace ?? context.namespace) : undefined,
      name: object.metadata.name ?? '',
    }))
  }
  const found: Doomed[] = []
  for (const { kind, name } of parseTargets(words)) {
    const namespace = kind.namespaced ? context.scope : undefined
    if (name !== undefined) found.push({ kind, namespace: kind.namespaced ? context.namespace : undefined, name })
    else if (options.selector === undefined && options.all !== true) {
      throw new DroverError('invalid', `name the ${kind.plural} to delete, or give -l LABELS or --all`)
    } else {
      const query = { labelSelector: options.selector }
      const list = await context.client.call<ObjectList<KubeObject>>('GET', resourcePath(kind, namespace), { query })
      found.push(
        ...list.items.map(({ metadata }) => ({ kind, namespace: metadata.namespace, name: metadata.name ?? '' })),
      )
    }
  }
  return found
}

function seconds(text: string, option: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new DroverError('invalid', `${option} takes a number of seconds`)
  return value
}

/** Returns the uid of what is being deleted. */
async function deleteOne(context: CliContext, one: Doomed, options: DeleteOptions): Promise<string | undefined> {
  const path = resourcePath(one.kind, one.namespace, one.name)
  const grace = options.force === true ? 0 : options.gracePeriod
  const body = {
    kind: 'DeleteOptions',
    apiVersion: 'v1',
    propagationPolicy: CASCADE[options.cascade],
    ...(grace === undefined ? {} : { gracePeriodSeconds: seconds(String(grace), '--grace-period') }),
  }
  try {
    const answer = await context.client.call<KubeObject & { details?: { uid?: string } }>('DELETE', path, { body })
    context.print(`${displayName(one.kind, one.name)} deleted`)
    return answer.kind === 'Status' ? answer.details?.uid : answer.metadata.uid
  } catch (error) {
    if (options.ignoreNotFound === true && error instanceof DroverError && error.code === 'notFound') return undefined
    throw error
  }
}

async function waitGone(context: CliContext, one: Doomed & { uid: string }, timeoutMs: number): Promise<void> {
  const what = `${displayName(one.kind, one.name)} to be gone`
  await waitFor(
    context,
    { ...one, what, timeoutMs },
    (object) => object === undefined || object.metadata.uid !== one.uid,
  )
}
