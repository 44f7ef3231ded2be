/** `drover chaos`: faults on local clusters, from the shell and from tests. */
import type { Command } from 'commander'
import { DroverError } from '../base/errors.ts'
import { alignColumns } from '../cli/table.ts'
import { Chaos } from './chaos.ts'
import type { ClusterRecord } from './cluster.ts'
import type { LocalTools } from './up.ts'

export interface ChaosEnvironment {
  tools(): LocalTools
  cluster(command: Command): ClusterRecord
}

const EXAMPLES = `
TARGET is a host by name or number, server (the first), server-N, or etcd.

Examples:
  drover chaos partition 2                  host 2 is cut off from everything
  drover chaos partition 2 --from server    it runs on, but no server hears of it
  drover chaos partition 1 --from 2 3       hosts 2 and 3 cannot be reached from host 1
  drover chaos kill 3                       as when its power is cut
  drover chaos kill 3 --process agent       its containers run on
  drover chaos kill server --once           a crash: it is started again
  drover chaos freeze 2; drover chaos thaw 2
  drover chaos ls
  drover chaos heal                         everything as it was

Exits with 0 when done, 2 for wrong usage, 3 when there is no such cluster or host.`

const root = (): void => {
  if (process.getuid?.() !== 0) throw new DroverError('forbidden', 'drover chaos needs root, as drover up did')
}

export function registerChaos(program: Command, environment: ChaosEnvironment): void {
  const chaos = program
    .command('chaos')
    .description('break a local cluster on purpose: partition, kill, freeze; and heal it')
    .addHelpText('after', EXAMPLES)
  const open = async (command: Command): Promise<{ chaos: Chaos; tools: LocalTools }> => {
    root()
    const tools = environment.tools()
    return { chaos: await Chaos.open(environment.cluster(command), tools.io.clock), tools }
  }
  registerPartition(chaos, open)
  registerKill(chaos, open)
  registerFreeze(chaos, open)
  registerHeal(chaos, open)
  registerList(chaos, open)
}

type Open = (command: Command) => Promise<{ chaos: Chaos; tools: LocalTools }>

function registerPartition(parent: Command, open: Open): void {
  parent
    .command('partition <host>')
    .description('drop all frames between the host and the others')
    .option('--from <peer...>', 'only between it and these: hosts, server (all of them), server-N')
    .addHelpText('after', '\nExamples:\n  drover chaos partition 2\n  drover chaos partition 2 --from server 3')
    .action(async (name: string, flags: { from?: string[] }, command: Command) => {
      const { chaos, tools } = await open(command)
      const host = chaos.host(name)
      await tools.progress.step(`partition ${host.name}`, async (update) =>
        update(`from ${await chaos.partition(host, flags.from ?? [])}`),
      )
    })
}

function registerKill(parent: Command, open: Open): void {
  parent
    .command('kill <target>')
    .description('SIGKILL; what was killed stays dead until it is healed (etcd is started again by its server)')
    .option('--process <which>', 'of a host: agent, or all: every process, and what a reboot would take', 'all')
    .option('--once', 'let it be started again at once, as after a crash')
    .addHelpText('after', '\nExamples:\n  drover chaos kill 3\n  drover chaos kill 3 --process agent --once')
    .action(async (name: string, flags: { process: string; once?: boolean }, command: Command) => {
      if (flags.process !== 'all' && flags.process !== 'agent') {
        throw new DroverError('invalid', `--process takes agent or all, not "${flags.process}"`)
      }
      const { chaos, tools } = await open(command)
      const target = chaos.target(name)
      const once = flags.once === true
      if (target.type !== 'host') {
        await tools.progress.step(`kill ${name}`, async (update) => update(await chaos.kill(target, once)))
        return
      }
      const { host } = target
      const agent = flags.process === 'agent'
      if (once && !agent)
        throw new DroverError('invalid', 'a host that lost its power does not start by itself; leave out --once')
      await tools.progress.step(`kill ${agent ? 'the agent of ' : ''}${host.name}`, async (update) =>
        update(await (agent ? chaos.killAgent(host, once) : chaos.killHost(host))),
      )
    })
}

function registerFreeze(parent: Command, open: Open): void {
  parent
    .command('freeze <target>')
    .description('stop every process of a host, a server or etcd where it stands')
    .addHelpText('after', '\nExamples:\n  drover chaos freeze 2\n  drover chaos freeze etcd')
    .action(async (name: string, _flags: object, command: Command) => {
      const { chaos, tools } = await open(command)
      const target = chaos.target(name)
      await tools.progress.step(`freeze ${name}`, async (update) => update(await chaos.freeze(target)))
    })
  parent
    .command('thaw <target>')
    .description('let what was frozen run on')
    .addHelpText('after', '\nExample:\n  drover chaos thaw 2')
    .action(async (name: string, _flags: object, command: Command) => {
      const { chaos, tools } = await open(command)
      const target = chaos.target(name)
      await tools.progress.step(`thaw ${name}`, async () => chaos.thaw(target))
    })
}

function registerHeal(parent: Command, open: Open): void {
  parent
    .command('heal [target]')
    .description('undo all faults of a host, a server or etcd; without a target, all there are')
    .addHelpText('after', '\nExamples:\n  drover chaos heal 2\n  drover chaos heal')
    .action(async (name: string | undefined, _flags: object, command: Command) => {
      const { chaos, tools } = await open(command)
      const target = name === undefined ? undefined : chaos.target(name)
      await tools.progress.step(`heal ${name ?? 'everything'}`, async (update) => {
        const healed = await (target === undefined ? chaos.healAll() : chaos.heal(target))
        update(healed.join('; ') || 'nothing was wrong')
      })
    })
}

function registerList(parent: Command, open: Open): void {
  parent
    .command('ls')
    .description('list what is broken on purpose')
    .option('-o, --output <format>', 'text or json')
    .addHelpText('after', '\nExample:\n  drover chaos ls -o json')
    .action(async (flags: { output?: string }, command: Command) => {
      const { chaos, tools } = await open(command)
      const facts = await chaos.facts()
      const { stdout } = tools.io
      if (flags.output === 'json') stdout.write(`${JSON.stringify(facts, null, 2)}\n`)
      else if (facts.length === 0) stdout.write('Nothing is broken on purpose.\n')
      else {
        const rows = facts.map(({ target, fault, detail }) => [target, fault, detail])
        for (const line of alignColumns([['TARGET', 'FAULT', 'DETAIL'], ...rows])) stdout.write(`${line}\n`)
      }
    })
}
