/** `drover scale`. */
import type { Command } from 'commander'
import { DroverError } from '../base/errors.ts'
import { contextOf, displayName, type Io, parseTargets } from './context.ts'
import { resourcePath } from './rest_client.ts'

export function registerScale(program: Command, io: Io): void {
  program
    .command('scale')
    .description('set the number of replicas')
    .argument('<type...>', 'TYPE/NAME… or TYPE NAME…')
    .requiredOption('--replicas <count>', 'how many')
    .addHelpText('after', '\nExample:\n  drover scale deploy/web --replicas 5')
    .action(async (words: string[], options: { replicas: string }, command: Command) => {
      const replicas = Number(options.replicas)
      if (!Number.isInteger(replicas) || replicas < 0) {
        throw new DroverError('invalid', `--replicas takes a whole number, not "${options.replicas}"`)
      }
      const context = contextOf(io, command)
      try {
        for (const { kind, name } of parseTargets(words)) {
          if (name === undefined) throw new DroverError('invalid', `name the ${kind.singular} to scale`)
          if (!kind.hasScale) throw new DroverError('invalid', `${kind.plural} have no replicas to scale`)
          await context.client.call('PATCH', `${resourcePath(kind, context.namespace, name)}/scale`, {
            body: { spec: { replicas } },
            contentType: 'application/merge-patch+json',
          })
          context.print(`${displayName(kind, name)} scaled`)
        }
      } finally {
        context.close()
      }
    })
}
