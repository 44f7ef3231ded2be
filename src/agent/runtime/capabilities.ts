/** Linux capabilities: names by bit, the default set, and what a container's security context makes of it. */

/** In the order of their bits. Source: linux/capability.h. */
const CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const

/** The fourteen that container engines grant by default. */
const DEFAULTS = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
]

/** The capabilities that this process may hand on, from the text of /proc/self/status. */
export function boundingSet(procStatus: string): ReadonlySet<string> {
  const hex = /^CapBnd:\s*([0-9a-f]+)$/m.exec(procStatus)?.[1] ?? '0'
  const bits = BigInt(`0x${hex}`)
  return new Set(CAPABILITIES.filter((_, bit) => (bits >> BigInt(bit)) & 1n).map((name) => `CAP_${name}`))
}

function normalized(name: string): string {
  const upper = name.toUpperCase()
  return upper.startsWith('CAP_') ? upper : `CAP_${upper}`
}

export interface CapabilityWishes {
  privileged: boolean
  add: readonly string[]
  drop: readonly string[]
  available: ReadonlySet<string>
}

/**
 * As containerd has it: `add: ALL` stands for the default set and everything besides, `drop: ALL` empties either, then what
 * `add` names comes and what `drop` names goes.
 * What this machine cannot grant is left out: a runtime fails on it, and a container could not use it anyway.
 */
export function containerCapabilities(wishes: CapabilityWishes): string[] {
  const { available } = wishes
  if (wishes.privileged) return [...available]
  const add = wishes.add.map(normalized)
  const drop = new Set(wishes.drop.map(normalized))
  const base = add.includes('CAP_ALL') ? available : DEFAULTS.map(normalized)
  const granted = new Set([...(drop.has('CAP_ALL') ? [] : base), ...add])
  return [...available].filter((name) => granted.has(name) && !drop.has(name))
}
