/** Commands about clusters on this machine: up, down, check, kubeconfig, clusters, and the hidden supervisor. */
import { join } from 'node:path'
import type { Command } from 'commander'
import { DroverError } from '../base/errors.ts'
import { readIfExists, readJsonIfExists } from '../base/files.ts'
import { createLogger } from '../base/log.ts'
import { localKubeconfig } from '../base/paths.ts'
import { systemRandom } from '../base/random.ts'
import { runServices } from '../base/service.ts'
import type { Io } from '../cli/context.ts'
import { alignColumns } from '../cli/table.ts'
import { registerChaos } from './chaos_commands.ts'
import { type ClusterRecord, clusterPaths, listClusters, loadCluster, type ServerRecord, serversOf } from './cluster.ts'
import { hostsNetwork } from './cluster_network.ts'
import { down, isRunning } from './down.ts'
import { observeMachine } from './observe_machine.ts'
import { agentProcess, type ProcessSpec, type Self, serverProcess } from './processes.ts'
import { createProgress } from './progress.ts'
import { createRegistryProxy } from './registry_proxy.ts'
import { findingLine, judge } from './requirements.ts'
import { startSample } from './sample.ts'
import { type KeptProcess, keepProcess, logTrimmer } from './supervisor.ts'
import { ensureHostFiles, type LocalTools, up } from './up.ts'
import { labelsByHost, wholeNumber, withZones } from './up_flags.ts'

export interface LocalEnvironment {
  io: Io
  self: Self
  /** Folder of the examples. */
  examples: string
}

const tools = ({ io, self }: LocalEnvironment): LocalTools => ({
  io,
  self,
  random: systemRandom,
  progress: createProgress(io.stderr, io.clock),
})

const nameOf = (command: Command): string => command.optsWithGlobals<{ cluster?: string }>().cluster ?? 'default'

function existing(name: string): ClusterRecord {
  const record = loadCluster(name)
  if (record !== undefined) return record
  const known = listClusters().map((cluster) => cluster.name)
  const hint = known.length > 0 ? `there are: ${known.join(', ')}` : 'there are none; start one with: drover up'
  throw new DroverError('notFound', `there is no local cluster "${name}"; ${hint}`)
}

export function registerLocalCommands(program: Command, environment: LocalEnvironment): void {
  registerUp(program, environment)
  registerDown(program, environment)
  registerCheck(program, environment)
  registerKubeconfig(program, environment)
  registerChaos(program, {
    tools: () => tools(environment),
    cluster: (command) => existing(nameOf(command)),
  })
  program
    .command('clusters')
    .description('list the local clusters')
    .action(() => {
      const rows = listClusters().map((record) => [
        record.name,
        isRunning(record) ? 'running' : 'stopped',
        String(record.hosts.length),
        `https://127.0.0.1:${record.apiPort}`,
      ])
      for (const line of alignColumns([['NAME', 'STATE', 'HOSTS', 'API'], ...rows]))
        environment.io.stdout.write(`${line}\n`)
    })
  program
    .command('supervise', { hidden: true })
    .description('keep the processes of a local cluster running')
    .action((_options: object, command: Command) => supervise(existing(nameOf(command)), environment))
}

interface UpFlags {
  nodes?: string
  servers?: string
  zones?: string
  apiPort?: string
  timeout: string
  sample?: boolean
  label?: string[]
}

function registerUp(program: Command, environment: LocalEnvironment): void {
  program
    .command('up')
    .description('bring up a cluster on this machine, or mend it')
    .option('--nodes <count>', 'how many hosts; default 3')
    .option('--servers <count>', 'how many servers, on one etcd; default 1')
    .option('--zones <count>', 'spread the hosts over this many zones: a, b, …')
    .option('--api-port <port>', 'port of the API; default: the first free from 6443')
    .option('--label <[host:]key=value...>', 'labels of the nodes, e.g. 1:topology.kubernetes.io/zone=a')
    .option('--timeout <seconds>', 'how long to wait for it', '120')
    .option('--sample', 'with the sample service "hello"')
    .addHelpText(
      'after',
      '\nExamples:\n  drover up\n  drover up --nodes 5 --cluster lab\n  drover up --sample\n  drover up --nodes 5 --zones 3 --servers 3 --label 1:disk=ssd',
    )
    .action(async (flags: UpFlags, command: Command) => {
      const name = nameOf(command)
      const local = tools(environment)
      const labels = labelsByHost(flags.label ?? [])
      const options = {
        name,
        nodes: flags.nodes === undefined ? (loadCluster(name)?.hosts.length ?? 3) : wholeNumber(flags.nodes, '--nodes'),
        labels: flags.zones === undefined ? labels : withZones(wholeNumber(flags.zones, '--zones'), labels),
        ...(flags.servers === undefined ? {} : { servers: wholeNumber(flags.servers, '--servers') }),
        timeoutMs: wholeNumber(flags.timeout, '--timeout') * 1000,
        ...(flags.apiPort === undefined ? {} : { apiPort: wholeNumber(flags.apiPort, '--api-port') }),
      }
      const { record, network } = await up(options, local)
      const url =
        flags.sample === true
          ? await startSample(record, network, local, join(environment.examples, 'hello.yaml'))
          : undefined
      environment.io.stdout.write(`${nextSteps(record, url)}\n`)
    })
}

function nextSteps(record: ClusterRecord, url: string | undefined): string {
  const flag = record.name === 'default' ? '' : ` --cluster ${record.name}`
  return [
    '',
    `Cluster "${record.name}" is up. Try:`,
    ...(url === undefined ? [] : [`  curl ${url}`]),
    `  drover get pods -o wide${flag}`,
    `  export KUBECONFIG=$(drover kubeconfig${flag})    # then kubectl works too`,
    `  drover down${flag}`,
  ].join('\n')
}

function registerDown(program: Command, environment: LocalEnvironment): void {
  program
    .command('down')
    .description('stop a local cluster; its state stays unless --purge')
    .option('--purge', 'remove its state too: objects, images, certificates')
    .addHelpText('after', '\nExamples:\n  drover down\n  drover down --purge --cluster lab')
    .action(async (flags: { purge?: boolean }, command: Command) => {
      if (process.getuid?.() !== 0) throw new DroverError('forbidden', 'drover down needs root, as drover up did')
      const record = existing(nameOf(command))
      await down(record, flags.purge === true, tools(environment))
      const rest =
        flags.purge === true ? 'gone' : 'stopped; its state stays for the next drover up (remove it with --purge)'
      environment.io.stdout.write(`Cluster "${record.name}" is ${rest}.\n`)
    })
}

function registerCheck(program: Command, { io }: LocalEnvironment): void {
  program
    .command('check')
    .description('say what this machine lacks, what it costs and how to mend it')
    .option('-o, --output <format>', 'text or json')
    .addHelpText('after', '\nExits with 1 when something is missing that a cluster cannot do without.')
    .action(async (flags: { output?: string }) => {
      const findings = judge(await observeMachine())
      if (flags.output === 'json') io.stdout.write(`${JSON.stringify(findings, null, 2)}\n`)
      else io.stdout.write(`${findings.map(findingLine).join('\n')}\n`)
      const failed = findings.filter((finding) => finding.level === 'fail')
      if (failed.length > 0) {
        throw new DroverError('unsupported', `${failed.map((finding) => finding.name).join(', ')}: missing`)
      }
    })
}

function registerKubeconfig(program: Command, { io }: LocalEnvironment): void {
  program
    .command('kubeconfig')
    .description("print the path of a local cluster's kubeconfig")
    .option('--raw', 'print the file itself')
    .addHelpText('after', '\nExample:\n  export KUBECONFIG=$(drover kubeconfig)')
    .action((flags: { raw?: boolean }, command: Command) => {
      const path = localKubeconfig(existing(nameOf(command)).name)
      const content = readIfExists(path)
      if (content === undefined)
        throw new DroverError('unavailable', `${path} is not written yet: has the server started?`)
      io.stdout.write(flags.raw === true ? content : `${path}\n`)
    })
}

async function supervise(record: ClusterRecord, { io, self }: LocalEnvironment): Promise<void> {
  const paths = clusterPaths(record.name)
  const log = createLogger('supervisor')
  const options = { clock: io.clock, random: systemRandom, log, paths }
  await ensureHostFiles(record, io.clock)
  const hosts = hostsNetwork(record, { clock: io.clock, log, signal: io.signal })
  const network = await hosts.ensure(record.hosts.map((host) => host.name))
  const gateway = network.gatewayAddress
  const kept: KeptProcess[] = [
    ...serversOf(record).map((server) => ({
      name: server.name,
      spec: () => serverSpec(self, record, server, gateway),
    })),
    ...network.hosts.map((host) => {
      const labels = record.hosts.find(({ name }) => name === host.name)?.labels ?? {}
      const spec = agentProcess(self, { record, host, labels, gateway })
      return { name: spec.name, spec: () => spec }
    }),
  ]
  const names = kept.map(({ name }) => name)
  const services = [
    createRegistryProxy({ host: gateway, port: record.proxyPort, secret: record.proxySecret, log }),
    logTrimmer([...names, 'supervisor'], options),
    ...kept.map((one) => keepProcess(one, options)),
  ]
  log.info({ cluster: record.name, processes: names }, 'supervising')
  await runServices(services, options, io.signal)
}

/** The first server's etcd has a port once it has been started; the others wait for that. */
function serverSpec(self: Self, record: ClusterRecord, server: ServerRecord, gateway: string): ProcessSpec | undefined {
  if (server.name === 'server') return serverProcess(self, { record, server, gateway })
  const ports = readJsonIfExists<{ client: number }>(join(clusterPaths(record.name).server, 'etcd', 'ports.json'))
  return ports === undefined ? undefined : serverProcess(self, { record, server, gateway, etcdPort: ports.client })
}
