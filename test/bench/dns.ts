/**
 * Questions per second of processor time, and how long answers take: a node's name server beside dnsmasq and unbound, on
 * the same names, asked by the same generator in another process, in turns so that all see the same machine.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { DroverError } from '../../src/base/errors.ts'
import { run, runOk, start } from '../../src/base/process.ts'
import { eventually } from '../support/eventually.ts'
import { benchAddress, benchConfig, benchName } from './dns_names.ts'
import { type BenchResult, median } from './result.ts'

const SERVICES = 1_000
const ROUNDS = 5
const SECONDS = 1.5
const UNDER_WAY = 64
const LIMIT = 0.5
const FIRST_PORT = 15_300

interface Loaded {
  answered: number
  wrong: number
  lost: number
  perSecond: number
  p50Ms: number
  p99Ms: number
}

interface Measured extends Loaded {
  perProcessorSecond: number
}

interface Contender {
  name: string
  port: number
  child: ChildProcess
  rounds: Measured[]
}

export async function benchDns(): Promise<BenchResult[]> {
  const directory = mkdtempSync(join(tmpdir(), 'drvt-bench-dns-'))
  // Below node_modules, where the packages are found that stay outside the bundle.
  const programs = 'node_modules/.cache/drover-bench-dns'
  const contenders: Contender[] = []
  try {
    await build({
      entryPoints: ['test/bench/dns_server.ts', 'test/bench/dns_load.ts'],
      bundle: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      packages: 'external',
      outdir: programs,
      logLevel: 'warning',
    })
    const ticksPerSecond = Number(await runOk('getconf', ['CLK_TCK']))
    const ports = { drover: FIRST_PORT, dnsmasq: FIRST_PORT + 1, unbound: FIRST_PORT + 2 }
    const commands: [keyof typeof ports, string[]][] = [
      ['drover', [process.execPath, join(programs, 'dns_server.js'), String(ports.drover), String(SERVICES)]],
      ['dnsmasq', ['dnsmasq', '-k', '-C', dnsmasqFile(directory, ports.dnsmasq), '--pid-file=']],
      ['unbound', ['unbound', '-d', '-c', unboundFile(directory, ports.unbound)]],
    ]
    const missing: string[] = []
    for (const [name, [program = '', ...args]] of commands) {
      if (await isThere(program)) {
        const child = start(program, args, { stdio: 'ignore' })
        contenders.push({ name, port: ports[name], child, rounds: [] })
      } else missing.push(name)
    }
    if (contenders.length < 2) throw new DroverError('unsupported', `the DNS benchmark needs ${missing.join(' or ')}`)
    for (let round = 0; round <= ROUNDS; round++) {
      for (const contender of contenders) {
        const measured = await measure(contender, join(programs, 'dns_load.js'), ticksPerSecond)
        // The first round warms up: compilers, caches, the sockets themselves.
        if (round > 0) contender.rounds.push(measured)
      }
    }
    return resultsOf(contenders, missing)
  } finally {
    await Promise.all(contenders.map(stop))
    rmSync(directory, { recursive: true, force: true })
  }
}

async function isThere(program: string): Promise<boolean> {
  return program.includes('/') || (await run('sh', ['-c', 'command -v "$0" > /dev/null', program])).exitCode === 0
}

async function stop({ child }: Contender): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

function processorTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return Number(fields[11]) + Number(fields[12])
}

async function measure({ name, port, child }: Contender, load: string, ticksPerSecond: number): Promise<Measured> {
  const pid = child.pid ?? 0
  await eventually(() => processorTicks(pid) >= 0 && isListening(port), { timeoutMs: 10_000 })
  const args = [load, '127.0.0.1', String(port), String(SERVICES), String(SECONDS), String(UNDER_WAY)]
  const generator = start(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let before = 0
  let after = 0
  let loaded: Loaded | undefined
  if (generator.stdout === null) throw new DroverError('internal', 'the load generator has no output')
  for await (const line of createInterface({ input: generator.stdout })) {
    if (line === 'begin') before = processorTicks(pid)
    else {
      after = processorTicks(pid)
      loaded = JSON.parse(line) as Loaded
    }
  }
  if (loaded === undefined || loaded.answered === 0 || loaded.wrong > 0) {
    throw new DroverError('internal', `${name} answered ${loaded?.answered ?? 0}, wrongly ${loaded?.wrong ?? 0}`)
  }
  return { ...loaded, perProcessorSecond: (loaded.answered * ticksPerSecond) / Math.max(1, after - before) }
}

function isListening(port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  return readFileSync('/proc/net/udp', 'utf8').includes(`0100007F:${hex} `)
}

function resultsOf(contenders: readonly Contender[], missing: readonly string[]): BenchResult[] {
  const [own, ...peers] = contenders.map(({ name, rounds }) => ({
    name,
    perProcessorSecond: median(rounds.map((round) => round.perProcessorSecond)),
    p99Ms: median(rounds.map((round) => round.p99Ms)),
    p50Ms: median(rounds.map((round) => round.p50Ms)),
    perSecond: median(rounds.map((round) => round.perSecond)),
  }))
  const fastest = [...peers].sort((a, b) => b.perProcessorSecond - a.perProcessorSecond)[0]
  if (own === undefined || fastest === undefined) throw new DroverError('internal', 'nothing was measured')
  const told = [own, ...peers].map(
    ({ name, perProcessorSecond, p50Ms, p99Ms }) =>
      `${name} ${Math.round(perProcessorSecond)}/s per core, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`,
  )
  const absent = missing.length === 0 ? '' : `; not installed: ${missing.join(', ')}`
  const p99Ratio = own.p99Ms / fastest.p99Ms
  return [
    {
      name: `DNS questions/s per core beside ${fastest.name}`,
      ratio: own.perProcessorSecond / fastest.perProcessorSecond,
      limit: LIMIT,
      better: 'higher',
      detail: `${told.join('; ')}; ${SERVICES} names, ${UNDER_WAY} under way${absent}`,
    },
    {
      name: `DNS p99 under that load beside ${fastest.name}`,
      ratio: p99Ratio,
      better: 'lower',
      detail: `${own.p99Ms.toFixed(2)} ms and ${fastest.p99Ms.toFixed(2)} ms at ${Math.round(own.perSecond)}/s and ${Math.round(fastest.perSecond)}/s`,
    },
  ]
}

function dnsmasqFile(directory: string, port: number): string {
  const records = Array.from({ length: SERVICES }, (_, i) => `host-record=${benchName(i)},${benchAddress(i)}`)
  const head = [
    `port=${port}`,
    'listen-address=127.0.0.1',
    'bind-interfaces',
    'no-resolv',
    'no-hosts',
    'user=root',
    `local=/${benchConfig.clusterDomain}/`,
  ]
  const path = join(directory, 'dnsmasq.conf')
  writeFileSync(path, `${[...head, ...records].join('\n')}\n`)
  return path
}

function unboundFile(directory: string, port: number): string {
  const records = Array.from(
    { length: SERVICES },
    (_, i) => `  local-data: "${benchName(i)}. 5 IN A ${benchAddress(i)}"`,
  )
  const head = [
    'server:',
    `  interface: 127.0.0.1@${port}`,
    '  num-threads: 1',
    '  do-daemonize: no',
    '  use-syslog: no',
    '  logfile: "/dev/null"',
    '  chroot: ""',
    '  username: ""',
    '  pidfile: ""',
    `  directory: "${directory}"`,
    '  access-control: 127.0.0.0/8 allow',
    `  local-zone: "${benchConfig.clusterDomain}." static`,
  ]
  const path = join(directory, 'unbound.conf')
  writeFileSync(path, `${[...head, ...records, 'remote-control:', '  control-enable: no'].join('\n')}\n`)
  return path
}
