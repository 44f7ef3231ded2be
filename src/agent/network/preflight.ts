/** What the driver needs of a machine, told in words that say how to mend it. */
import { DroverError, isCode } from '../../base/errors.ts'
import { failure, type Programs } from './programs.ts'

const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  bridge: 'iproute2',
  nft: 'nftables',
  nsenter: 'util-linux',
  sysctl: 'procps',
}
const MISSING_PROGRAM = 127

async function isThere(programs: Programs, program: string): Promise<boolean> {
  try {
    return (await programs.run(program, ['--version'])).exitCode !== MISSING_PROGRAM
  } catch (error) {
    if (isCode(error, 'unsupported')) return false
    throw error
  }
}

/** Everything that the rules use, in one table that is checked by the kernel and never committed. */
const PROBE = `add table ip drover-probe
add map ip drover-probe m { type ipv4_addr . inet_proto . inet_service : verdict; }
add set ip drover-probe s { type ipv4_addr; flags dynamic,timeout; timeout 60s; }
add chain ip drover-probe c { type nat hook prerouting priority -101; policy accept; }
add chain ip drover-probe p { type nat hook postrouting priority 99; policy accept; }
add chain ip drover-probe f { type filter hook forward priority -1; policy accept; }
add rule ip drover-probe c ip daddr . meta l4proto . th dport vmap @m
add rule ip drover-probe c fib daddr type local update @s { ip saddr }
add rule ip drover-probe c ip daddr 192.0.2.3 reject with icmp type port-unreachable
add chain ip drover-probe r { type filter hook output priority -300; policy accept; }
add rule ip drover-probe r udp dport 4789 notrack
add rule ip drover-probe c meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 192.0.2.1 . 80, 1 : 192.0.2.2 . 80 }
add rule ip drover-probe p ct status dnat masquerade fully-random
add rule ip drover-probe f ct state new meta l4proto tcp reject with tcp reset
`

/** What guards pods' ports; a kernel may lack it, and pods' addresses are then taken on trust. */
const BRIDGE_PROBE = `add table bridge drover-probe
add set bridge drover-probe s { type ifname . ether_addr . ipv4_addr; }
add chain bridge drover-probe c { type filter hook prerouting priority -300; policy accept; }
add rule bridge drover-probe c ether type arp iifname . ether saddr . arp saddr ip @s accept
`

export interface Present {
  hasConntrack: boolean
  hasBridgeRules: boolean
}

export async function checkPrograms(programs: Programs): Promise<Present> {
  const names = Object.keys(PACKAGES)
  const present = await Promise.all(names.map((name) => isThere(programs, name)))
  const missing = names.filter((_, i) => !present[i])
  if (missing.length > 0) {
    const packages = [...new Set(missing.map((name) => PACKAGES[name] ?? name))]
    throw new DroverError(
      'unsupported',
      `the network needs ${missing.join(', ')}; install Debian package ${packages.join(', ')}`,
    )
  }
  const probe = await programs.run('nft', ['-c', '-f', '-'], PROBE)
  if (probe.exitCode !== 0) {
    const cause = failure('nft -c', probe)
    if (cause.code === 'forbidden') throw cause
    throw new DroverError(
      'unsupported',
      `this kernel or nft lacks what services need (nftables NAT, maps, numgen, fib, reject; nft 1.0 or newer): ${cause.message}`,
      { cause },
    )
  }
  const bridge = await programs.run('nft', ['-c', '-f', '-'], BRIDGE_PROBE)
  return { hasConntrack: await isThere(programs, 'conntrack'), hasBridgeRules: bridge.exitCode === 0 }
}
