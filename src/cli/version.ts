/** `drover version`: the program's and the cluster's. */
import type { Command } from 'commander'
import { DroverError } from '../base/errors.ts'
import { contextOf, type Io } from './context.ts'

interface Versions {
  client: { version: string; node: string }
  server?: { gitVersion: string; platform?: string }
}

export function registerVersion(program: Command, io: Io, version: string): void {
  program
    .command('version')
    .description("print the program's and the cluster's version")
    .option('--client', "only the program's")
    .option('-o, --output <format>', 'text or json')
    .action(async (options: { client?: boolean; output?: string }, command: Command) => {
      const context = contextOf(io, command)
      const versions: Versions = { client: { version, node: process.version } }
      let problem: DroverError | undefined
      try {
        if (options.client !== true) versions.server = await context.client.call('GET', '/version', { timeoutMs: 5000 })
      } catch (error) {
        problem = DroverError.from(error)
      } finally {
        context.close()
      }
      if (options.output === 'json') context.print(JSON.stringify(versions, null, 2))
      else {
        context.print(`Client: ${version} (Node.js ${process.version})`)
        if (versions.server !== undefined) context.print(`Server: ${versions.server.gitVersion}`)
      }
      // Asking for the program's version is no failure when there is no cluster yet.
      if (problem !== undefined && problem.code !== 'notFound') throw problem
    })
}
