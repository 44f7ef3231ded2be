/**
 * The OCI runtimes of this node, by the names under which runtime classes call them. A container remembers the program
 * that made it, so that what runs is ended by the same, whatever the node is told to use later.
 */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { crunRefusal } from '../../base/crun_host.ts'
import { DroverError } from '../../base/errors.ts'
import { readText } from '../../base/records.ts'
import type { Cgroups } from './cgroups.ts'
import { createOciRuntime, type OciRuntime } from './oci_runtime.ts'
import type { RuntimeHandler } from './runtime.ts'

export interface HandlerOptions {
  /** Runs pods that name no class: a path, or a name on the PATH. */
  main: string
  /** Program by handler's name. */
  others: Readonly<Record<string, string>>
  ociRoot: string
  cgroups: () => Cgroups
}

export interface Handlers {
  readonly main: OciRuntime
  /** What starts containers of this handler. Throws `unsupported` when the node does not have it. */
  find(handler: string | undefined): OciRuntime
  /** The runtime that a container was made by; without a record, the main one. */
  made(program: string | undefined): OciRuntime
  all(): OciRuntime[]
  observe(): Promise<RuntimeHandler[]>
}

export function createHandlers({ main, others, ociRoot, cgroups }: HandlerOptions): Handlers {
  // conmon executes the runtime by path, without a search. What is missing is told by whoever needs it.
  const runtimeAt = (program: string): OciRuntime => createOciRuntime(findProgram(program) ?? program, ociRoot)
  const mainRuntime = runtimeAt(main)
  /** What works goes on working; what does not may have been mended since. */
  const working = new Map<string, RuntimeHandler>()

  async function look(name: string, program: string): Promise<RuntimeHandler> {
    const known = working.get(name)
    if (known !== undefined) return known
    if (findProgram(program) === undefined) {
      return { name, problem: `there is no ${program}: install it (Debian: apt-get install ${name})` }
    }
    try {
      const { name: called, version } = await runtimeAt(program).version()
      const problem = hostProblem(called, cgroups())
      const handler = { name, version: `${called}://${version}`, ...(problem === undefined ? {} : { problem }) }
      if (problem === undefined) working.set(name, handler)
      return handler
    } catch (error) {
      return { name, problem: DroverError.from(error).message }
    }
  }

  return {
    main: mainRuntime,
    find(handler) {
      if (handler === undefined) return mainRuntime
      const program = others[handler]
      const path = program === undefined ? undefined : findProgram(program)
      if (path === undefined) throw new DroverError('unsupported', `this node has no runtime handler "${handler}"`)
      return createOciRuntime(path, ociRoot)
    },
    made: (program) =>
      program === undefined || program === mainRuntime.program ? mainRuntime : createOciRuntime(program, ociRoot),
    all: () => {
      const programs = [main, ...Object.values(others)].flatMap((program) => findProgram(program) ?? [])
      return [...new Set(programs)].map((program) => createOciRuntime(program, ociRoot))
    },
    observe: () => Promise.all(Object.entries(others).map(([name, program]) => look(name, program))),
  }
}

function hostProblem(runtime: string, { mode, hierarchies }: Cgroups): string | undefined {
  const mountPoint = hierarchies.find(({ version }) => version === 2)?.mountPoint
  if (runtime !== 'crun' || mode !== 'hybrid' || mountPoint === undefined) return undefined
  const refusal = crunRefusal({ mountPoint, controllers: readText(join(mountPoint, 'cgroup.controllers')) ?? '' })
  return refusal && `${refusal.problem}: ${refusal.mend}`
}

export function findProgram(program: string): string | undefined {
  const candidates = program.includes('/')
    ? [program]
    : (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, program))
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
