/**
 * What a machine must have to run Drover's hosts, as data: `drover check` shows it and `drover up` refuses by it in the
 * same words. Observing is separate from judging (`judge` is pure).
 */
import { crunRefusal, type UnifiedCgroup } from '../base/crun_host.ts'

export interface Observation {
  root: boolean
  nodeVersion: string
  /** Version lines of programs by name; absent when the program is not there. */
  programs: Readonly<Record<string, string | undefined>>
  kernel: string
  filesystems: ReadonlySet<string>
  cgroup: {
    mode: 'v1' | 'v2' | 'hybrid' | 'none'
    controllers: ReadonlySet<string>
    /** The second version, only where the first is mounted beside it. */
    unified?: UnifiedCgroup
  }
  /** Whether a trial in a namespace of its own worked, with the kernel's words when not. */
  vxlan: { ok: boolean; detail: string }
  nftables: { ok: boolean; detail: string }
  /** What filters bridged frames, if anything does. */
  bridgeFilter: string | undefined
  freeDiskBytes: number
  availableMemoryBytes: number
}

export type Level = 'ok' | 'warn' | 'fail'

export interface Finding {
  name: string
  level: Level
  /** What was seen. */
  detail: string
  /** What the lack costs; empty when all is well. */
  cost: string
  /** How to mend it; empty when all is well. */
  mend: string
}

interface ProgramNeed {
  program: string
  package: string
  cost: string
  level: Exclude<Level, 'ok'>
}

const PROGRAMS: readonly ProgramNeed[] = [
  {
    program: 'etcd',
    package: 'etcd-server',
    level: 'fail',
    cost: 'the server cannot keep state (or give it --etcd URL)',
  },
  { program: 'runc', package: 'runc', level: 'fail', cost: 'no containers' },
  { program: 'conmon', package: 'conmon', level: 'fail', cost: 'no containers' },
  { program: 'nft', package: 'nftables', level: 'fail', cost: 'no services' },
  { program: 'ip', package: 'iproute2', level: 'fail', cost: 'no pod network' },
  { program: 'bridge', package: 'iproute2', level: 'fail', cost: 'no overlay between hosts' },
  { program: 'nsenter', package: 'util-linux', level: 'fail', cost: 'no local hosts' },
  { program: 'unshare', package: 'util-linux', level: 'fail', cost: 'no pods' },
  { program: 'flock', package: 'util-linux', level: 'fail', cost: 'no agents' },
  { program: 'mount', package: 'mount', level: 'fail', cost: 'no containers' },
  { program: 'crun', package: 'crun', level: 'warn', cost: 'optional: no pods of the runtime class crun' },
  { program: 'busybox', package: 'busybox-static', level: 'warn', cost: 'the sample image cannot be built' },
  {
    program: 'conntrack',
    package: 'conntrack',
    level: 'warn',
    cost: 'UDP clients may stick to a removed endpoint for a while',
  },
  { program: 'setfattr', package: 'attr', level: 'warn', cost: 'images with opaque directories cannot be unpacked' },
]

const CONTROLLERS = ['cpu', 'memory', 'pids'] as const
const MIN_DISK_BYTES = 1 << 30
const MIN_MEMORY_BYTES = 512 << 20

const ok = (name: string, detail: string): Finding => ({ name, level: 'ok', detail, cost: '', mend: '' })

/** Compares dotted versions; text after the numbers does not count. */
export function isOlder(version: string, than: string): boolean {
  const numbers = (text: string): number[] => (/\d+(\.\d+)*/.exec(text)?.[0] ?? '0').split('.').map(Number)
  const [a, b] = [numbers(version), numbers(than)]
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) < (b[i] ?? 0)
  }
  return false
}

function judgeProgram(need: ProgramNeed, seen: Observation): Finding {
  const version = seen.programs[need.program]
  if (version === undefined) {
    const mend = `apt-get install ${need.package}`
    return { name: need.program, level: need.level, detail: 'not found', cost: need.cost, mend }
  }
  if (
    need.program === 'runc' &&
    (isOlder(version, '1.2.8') || (/\b1\.3\.[0-2]\b/.test(version) && isOlder(version, '1.3.3')))
  ) {
    return {
      name: 'runc',
      level: 'warn',
      detail: version,
      cost: 'hostile images may escape (CVE-2025-31133, -52565, -52881)',
      mend: 'install runc 1.2.8, 1.3.3 or newer; until then run only images that you trust',
    }
  }
  if (need.program === 'etcd' && isOlder(version, '3.4.25')) {
    return {
      name: 'etcd',
      level: 'warn',
      detail: version,
      cost: 'watches of this etcd can go back in time; Drover notices and lists again',
      mend: 'etcd 3.4.25 or newer, where you can',
    }
  }
  const refusal = need.program === 'crun' ? crunRefusal(seen.cgroup.unified) : undefined
  if (refusal !== undefined) {
    return {
      name: 'crun',
      level: 'warn',
      detail: `${version}; ${refusal.problem}`,
      cost: 'pods of the runtime class crun find no node here; all others run by runc',
      mend: refusal.mend,
    }
  }
  return ok(need.program, version)
}

function judgeCgroups({ cgroup }: Observation): Finding {
  const missing = CONTROLLERS.filter((name) => !cgroup.controllers.has(name))
  if (cgroup.mode === 'none') {
    return {
      name: 'cgroups',
      level: 'fail',
      detail: 'not mounted',
      cost: 'no containers',
      mend: 'mount -t cgroup2 none /sys/fs/cgroup',
    }
  }
  if (missing.length > 0) {
    return {
      name: 'cgroups',
      level: 'warn',
      detail: `${cgroup.mode}, without ${missing.join(', ')}`,
      cost: `limits on ${missing.join(', ')} are not enforced`,
      mend: 'enable the controllers on the kernel command line (cgroup_enable=…)',
    }
  }
  return ok('cgroups', `${cgroup.mode} (${CONTROLLERS.join(', ')})`)
}

function judgeKernel(seen: Observation): Finding[] {
  const trial = (name: string, result: { ok: boolean; detail: string }, cost: string, mend: string): Finding =>
    result.ok ? ok(name, result.detail) : { name, level: 'fail', detail: result.detail, cost, mend }
  const overlay = {
    ok: seen.filesystems.has('overlay'),
    detail: seen.filesystems.has('overlay') ? 'there' : 'not in /proc/filesystems',
  }
  return [
    trial('overlayfs', overlay, 'images cannot be used', 'modprobe overlay'),
    trial('vxlan', seen.vxlan, 'pods on different hosts cannot reach each other', 'modprobe vxlan'),
    trial(
      'nftables',
      seen.nftables,
      'services do not work',
      'a kernel with CONFIG_NF_TABLES, CONFIG_NFT_NAT and CONFIG_NFT_NUMGEN',
    ),
    seen.bridgeFilter === undefined
      ? ok('forwarding', 'bridged frames pass')
      : {
          name: 'forwarding',
          level: 'warn',
          detail: seen.bridgeFilter,
          cost: 'frames between hosts of a local cluster are dropped',
          mend: 'sysctl -w net.bridge.bridge-nf-call-iptables=0, or let the FORWARD chain accept drv-* bridges',
        },
  ]
}

function judgeMachine(seen: Observation): Finding[] {
  const megabytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`
  const node = isOlder(seen.nodeVersion, '20.19')
    ? {
        name: 'Node.js',
        level: 'fail' as const,
        detail: seen.nodeVersion,
        cost: 'Drover does not start',
        mend: 'install Node.js 20.19 or newer',
      }
    : ok('Node.js', seen.nodeVersion)
  const root = seen.root
    ? ok('root', 'yes')
    : {
        name: 'root',
        level: 'fail' as const,
        detail: 'no',
        cost: 'no namespaces, mounts or cgroups',
        mend: 'run it as root, e.g. sudo drover up',
      }
  const disk =
    seen.freeDiskBytes >= MIN_DISK_BYTES
      ? ok('disk', `${megabytes(seen.freeDiskBytes)} free`)
      : {
          name: 'disk',
          level: 'warn' as const,
          detail: `${megabytes(seen.freeDiskBytes)} free`,
          cost: 'images may not fit',
          mend: 'free some space under /var/lib',
        }
  const memory =
    seen.availableMemoryBytes >= MIN_MEMORY_BYTES
      ? ok('memory', `${megabytes(seen.availableMemoryBytes)} available`)
      : {
          name: 'memory',
          level: 'warn' as const,
          detail: `${megabytes(seen.availableMemoryBytes)} available`,
          cost: 'processes may be killed',
          mend: 'end something else, or use fewer hosts',
        }
  return [root, node, ok('kernel', seen.kernel), disk, memory]
}

/** Everything that was looked at, in the order people read it. */
export function judge(seen: Observation): Finding[] {
  return [
    ...judgeMachine(seen),
    judgeCgroups(seen),
    ...judgeKernel(seen),
    ...PROGRAMS.map((need) => judgeProgram(need, seen)),
  ]
}

export function findingLine({ name, level, detail, cost, mend }: Finding): string {
  const mark = { ok: '✔', warn: '!', fail: '✘' }[level]
  const rest = level === 'ok' ? '' : `\n    costs: ${cost}\n    mend:  ${mend}`
  return `${mark} ${name.padEnd(11)} ${detail}${rest}`
}
