/**
 * Whether crun can run containers on this host. It refuses one whose controllers lie on both versions of cgroups, with
 * every container anew ("cgroups in hybrid mode not supported, drop all controllers from cgroupv2"), so agents do not offer
 * it there, and `drover check` says why in the same words. Pure.
 */
export interface UnifiedCgroup {
  /** Where the second version is mounted, beside hierarchies of the first. */
  mountPoint: string
  /** The text of its cgroup.controllers. */
  controllers: string
}

export interface CrunRefusal {
  problem: string
  mend: string
}

/** Undefined: it runs. `unified` is given only of hosts that have both versions. */
export function crunRefusal(unified: UnifiedCgroup | undefined): CrunRefusal | undefined {
  const controllers = (unified?.controllers ?? '').split(/\s+/).filter(Boolean)
  if (unified === undefined || controllers.length === 0) return undefined
  const several = controllers.length > 1
  // A hierarchy that is mounted as version 1, wherever it is, leaves version 2.
  const mounts = controllers.map(
    (name) => `mkdir -p ${MOUNTS}/${name} && mount -t cgroup -o ${name} cgroup ${MOUNTS}/${name}`,
  )
  return {
    problem:
      'crun takes no host with cgroups of both versions while the second has controllers ' +
      `(${controllers.join(', ')} at ${unified.mountPoint})`,
    mend:
      `mount ${several ? 'them' : 'it'} as version 1 too (${mounts.join(' && ')}), or boot with version 2 alone ` +
      '(systemd.unified_cgroup_hierarchy=1); then restart the agent',
  }
}

const MOUNTS = '/sys/fs/cgroup'
