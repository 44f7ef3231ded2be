/** What every command is given: a client made when first needed, the streams, and the options that all share. */
import type { Command } from 'commander'
import type { KindDefinition } from '../api/kind.ts'
import { KINDS } from '../api/kinds.ts'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { loadKubeconfig } from './kubeconfig.ts'
import { RestClient } from './rest_client.ts'

export interface Io {
  stdin: NodeJS.ReadStream
  stdout: NodeJS.WriteStream
  stderr: NodeJS.WriteStream
  env: NodeJS.ProcessEnv
  clock: Clock
  /** Raised by the first Ctrl-C. */
  signal: AbortSignal
}

export interface GlobalOptions {
  kubeconfig?: string
  cluster?: string
  context?: string
  namespace?: string
  allNamespaces?: boolean
}

export class CliContext {
  readonly io: Io
  readonly options: GlobalOptions
  #client: RestClient | undefined

  constructor(io: Io, options: GlobalOptions) {
    this.io = io
    this.options = options
  }

  get client(): RestClient {
    const { kubeconfig, cluster, context } = this.options
    this.#client ??= new RestClient(
      loadKubeconfig({
        env: this.io.env,
        ...(kubeconfig === undefined ? {} : { kubeconfig }),
        ...(cluster === undefined ? {} : { cluster }),
        ...(context === undefined ? {} : { context }),
      }),
      (warning) => this.io.stderr.write(`Warning: ${warning}\n`),
    )
    return this.#client
  }

  get namespace(): string {
    return this.options.namespace ?? this.client.config.namespace
  }

  /** The namespace to look in, or undefined for all. */
  get scope(): string | undefined {
    return this.options.allNamespaces === true ? undefined : this.namespace
  }

  print(text: string): void {
    this.io.stdout.write(`${text}\n`)
  }

  note(text: string): void {
    this.io.stderr.write(`${text}\n`)
  }

  close(): void {
    this.#client?.close()
  }
}

/** Makes the context of a command from the options that its parents took too. */
export function contextOf(io: Io, command: Command): CliContext {
  return new CliContext(io, command.optsWithGlobals<GlobalOptions>())
}

/** A kind by any of its names. Throws `invalid` with the names there are. */
export function kindByName(name: string): KindDefinition {
  const wanted = name.toLowerCase()
  const found = KINDS.find(
    (kind) =>
      [kind.plural, kind.singular, ...kind.shortNames].includes(wanted) ||
      wanted === `${kind.plural}.${kind.group}` ||
      wanted === `${kind.singular}.${kind.group}`,
  )
  if (found !== undefined) return found
  const known = KINDS.map((kind) => kind.plural).join(', ')
  throw new DroverError('invalid', `there is no resource type "${name}"; there are: ${known}`)
}

export interface Target {
  kind: KindDefinition
  name?: string
}

/** Reads `pods`, `pod web-1 web-2`, `pod/web-1 svc/web`, `pods,services` and categories such as `all`. */
export function parseTargets(words: readonly string[]): Target[] {
  const [first, ...rest] = words
  if (first === undefined)
    throw new DroverError('invalid', 'name a resource type, for example: pods, deploy/web, svc web')
  if (words.some((word) => word.includes('/'))) {
    return words.map((word) => {
      const [type = '', name = '', ...more] = word.split('/')
      if (type === '' || name === '' || more.length > 0) {
        throw new DroverError('invalid', `"${word}" is not TYPE/NAME; do not mix TYPE/NAME with TYPE NAME`)
      }
      return { kind: kindByName(type), name }
    })
  }
  const kinds = first.split(',').flatMap((type) => {
    const category = KINDS.filter((kind) => kind.categories.includes(type))
    return category.length > 0 ? category : [kindByName(type)]
  })
  if (rest.length === 0) return kinds.map((kind) => ({ kind }))
  return kinds.flatMap((kind) => rest.map((name) => ({ kind, name })))
}

/** `deployment.apps/web`: how a changed object is named to people. */
export function displayName(kind: KindDefinition, name: string): string {
  return `${kind.singular}${kind.group === '' ? '' : `.${kind.group}`}/${name}`
}
