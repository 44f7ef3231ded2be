/** `drover image push|tag|save|inspect|prune`, and the credentials that pull and push send along. */
import { createWriteStream, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { accountsFor, dockerConfigEntries, type RegistryAccount } from '../api/docker_config.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { CliContext, Io } from './context.ts'
import { readAll } from './rest_client.ts'

export const IMAGES_PATH = '/apis/drover.dev/v1/images'

export interface CredentialOptions {
  username?: string
  passwordStdin?: boolean
}

export function addCredentialOptions(command: Command): Command {
  return command
    .option('--username <name>', "for the registry (default: what Docker's config.json has for it)")
    .option('--password-stdin', 'read the password from standard input')
}

/** As told on the command line, else as Docker's client keeps them. Undefined: none. */
export async function credentialsFor(
  io: Io,
  reference: string,
  { username, passwordStdin }: CredentialOptions,
): Promise<RegistryAccount | undefined> {
  if ((username === undefined) !== (passwordStdin !== true)) {
    throw new DroverError('invalid', '--username and --password-stdin go together')
  }
  if (username !== undefined) return { username, password: (await readAll(io.stdin)).replace(/\r?\n$/, '') }
  const path = join(io.env.DOCKER_CONFIG ?? join(homedir(), '.docker'), 'config.json')
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
  return dockerCredentials(text, reference, path)
}

/** The host that a reference names, Docker Hub where it names none; and what comes after it. */
function splitReference(reference: string): [registry: string, rest: string] {
  const [head = '', ...rest] = reference.split('/')
  const isHost = rest.length > 0 && (/[.:]/.test(head) || head === 'localhost')
  return isHost ? [head, rest.join('/')] : ['docker.io', reference]
}

/** Source: Docker's client, cli/config/configfile (`auths`). Helpers' secrets are not asked for. */
export function dockerCredentials(text: string, reference: string, path: string): RegistryAccount | undefined {
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (cause) {
    throw new DroverError('invalid', `${path} is not JSON`, { cause })
  }
  const entries = dockerConfigEntries(isObject(config) ? config.auths : undefined)
  return accountsFor(entries, ...splitReference(reference))[0]
}

/** To a file that appears when it is whole, or to standard output. */
export async function saveImage(context: CliContext, reference: string, output: string | undefined): Promise<void> {
  const { io } = context
  if (output === undefined && io.stdout.isTTY) {
    throw new DroverError('invalid', 'an archive is not for terminals: say --output FILE, or redirect it')
  }
  const query = { verb: 'save', reference }
  const response = await context.client.open('GET', IMAGES_PATH, { query, timeoutMs: 0, signal: io.signal })
  if (output === undefined) {
    await pipeline(response, io.stdout, { end: false })
    return
  }
  const temporary = `${output}.part`
  try {
    await pipeline(response, createWriteStream(temporary))
    renameSync(temporary, output)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

interface Inspection {
  items: { node: string; image: Record<string, unknown> }[]
}

/** One document for each image that goes by the name: nodes may hold different ones. */
export async function inspectImage(context: CliContext, reference: string): Promise<void> {
  const query = { verb: 'inspect', reference }
  const { items } = await context.client.call<Inspection>('GET', IMAGES_PATH, { query })
  const byId = new Map<string, Record<string, unknown> & { nodes: string[] }>()
  for (const { node, image } of items) {
    const id = String(image.id)
    const found = byId.get(id) ?? { ...image, nodes: [] }
    found.nodes.push(node)
    byId.set(id, found)
  }
  context.print(JSON.stringify([...byId.values()], null, 2))
}
