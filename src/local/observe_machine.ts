/** Looks at the machine for `judge`. Trials run in a network namespace of their own and leave nothing. */
import { readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { DroverError } from '../base/errors.ts'
import { run } from '../base/process.ts'
import { bridgeFilterProblem } from './net_bridge_filter.ts'
import type { Observation } from './requirements.ts'

const VERSION_ARGS: Readonly<Record<string, readonly string[]>> = {
  etcd: ['--version'],
  runc: ['--version'],
  crun: ['--version'],
  conmon: ['--version'],
  nft: ['--version'],
  ip: ['-V'],
  bridge: ['-V'],
  nsenter: ['--version'],
  unshare: ['--version'],
  flock: ['--version'],
  mount: ['--version'],
  busybox: ['--help'],
  conntrack: ['--version'],
  setfattr: ['--version'],
}

const TIMEOUT_MS = 10_000

async function version(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await run(program, args, { timeoutMs: TIMEOUT_MS })
    return (stdout || stderr).split('\n')[0]?.trim() ?? ''
  } catch (error) {
    if (error instanceof DroverError && error.code === 'unsupported') return undefined
    throw error
  }
}

/** Runs a program in a network namespace that ends with it. */
async function trial(args: readonly string[], input?: string): Promise<{ ok: boolean; detail: string }> {
  try {
    const result = await run('unshare', ['--net', '--', ...args], {
      timeoutMs: TIMEOUT_MS,
      ...(input === undefined ? {} : { input }),
    })
    const said = (result.stderr.trim() || result.stdout.trim()).split('\n')[0] ?? ''
    return result.exitCode === 0 ? { ok: true, detail: 'works' } : { ok: false, detail: said }
  } catch (error) {
    return { ok: false, detail: DroverError.from(error).message }
  }
}

const NFT_TRIAL = `
table ip drover_trial {
  map backends { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain service {
    meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 }
  }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr . ip protocol . th dport vmap @backends
  }
}
`

function observeCgroups(): Observation['cgroup'] {
  const controllers = new Set<string>()
  let v1 = false
  let beside = false
  let unified: Observation['cgroup']['unified']
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, mountPoint = '', type, options = ''] = line.split(' ')
    if (type === 'cgroup') {
      const named = options.split(',')
      for (const name of named) controllers.add(name)
      v1 ||= named.includes('memory') || named.includes('cpu')
      beside = true
    } else if (type === 'cgroup2') {
      unified ??= { mountPoint, controllers: readFileSync(`${mountPoint}/cgroup.controllers`, 'utf8').trim() }
      for (const name of unified.controllers.split(' ')) controllers.add(name)
    }
  }
  const v2 = unified !== undefined
  const mode = v1 && v2 ? 'hybrid' : v1 ? 'v1' : v2 ? 'v2' : 'none'
  return { mode, controllers, ...(beside && unified !== undefined ? { unified } : {}) }
}

export async function observeMachine(): Promise<Observation> {
  const entries = await Promise.all(
    Object.entries(VERSION_ARGS).map(async ([program, args]) => [program, await version(program, args)] as const),
  )
  const root = process.getuid?.() === 0
  const asUser = { ok: false, detail: 'cannot be tried without root' }
  const disk = await statfs('/var/lib')
  const memory = /MemAvailable:\s+(\d+) kB/.exec(readFileSync('/proc/meminfo', 'utf8'))
  const link = ['ip', 'link', 'add', 'trial', 'type', 'vxlan', 'id', '1', 'dstport', '4789', 'local', '127.0.0.1']
  return {
    root,
    nodeVersion: process.version,
    programs: Object.fromEntries(entries),
    kernel: readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim(),
    filesystems: new Set(readFileSync('/proc/filesystems', 'utf8').split(/\s+/)),
    cgroup: observeCgroups(),
    vxlan: root ? await trial(link) : asUser,
    nftables: root ? await trial(['nft', '-f', '-'], NFT_TRIAL) : asUser,
    bridgeFilter: root ? await bridgeFilterProblem() : undefined,
    freeDiskBytes: disk.bavail * disk.bsize,
    availableMemoryBytes: Number(memory?.[1] ?? 0) * 1024,
  }
}
