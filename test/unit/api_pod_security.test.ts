/** Pod security levels, by Kubernetes' own list of controls; and kernel parameters of pods. */
import { describe, expect, it } from 'vitest'
import type { Container, PodSpec } from '../../src/api/pod.ts'
import { securityLevel, securityViolations } from '../../src/api/pod_security.ts'
import { validatePodSecurity } from '../../src/api/pod_security_rules.ts'
import { forbiddenSysctl } from '../../src/api/pod_sysctls.ts'

const restrictedContext: NonNullable<Container['securityContext']> = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
  capabilities: { drop: ['ALL'] },
}

/** A pod that even `restricted` lets run, changed. */
function specOf(pod: Partial<PodSpec> = {}, container: Partial<Container> = {}): PodSpec {
  return { containers: [{ name: 'c', image: 'x', securityContext: restrictedContext, ...container }], ...pod }
}

const context = (change: NonNullable<Container['securityContext']>): PodSpec =>
  specOf({}, { securityContext: { ...restrictedContext, ...change } })

describe('levels', () => {
  it('come from labels; one that is none of them is the strictest', () => {
    const label = 'pod-security.kubernetes.io/enforce'
    expect(securityLevel({}, 'enforce')).toBe('privileged')
    expect(securityLevel({ [label]: 'baseline' }, 'enforce')).toBe('baseline')
    expect(securityLevel({ [label]: 'baselin' }, 'enforce')).toBe('restricted')
    expect(securityLevel({ [label]: 'baseline' }, 'warn')).toBe('privileged')
  })

  const baseline: [string, PodSpec, RegExp][] = [
    ['host network', specOf({ hostNetwork: true }), /^host namespaces \(hostNetwork=true\)$/],
    ['host PID and IPC', specOf({ hostPID: true, hostIPC: true }), /hostPID=true, hostIPC=true/],
    ['privileged', context({ privileged: true }), /^privileged \(container "c" must not set/],
    ['a capability', context({ capabilities: { drop: ['ALL'], add: ['SYS_ADMIN'] } }), /^non-default capabilities/],
    ['a host path', specOf({ volumes: [{ name: 'v', hostPath: { path: '/' } }] }), /^hostPath volumes \(volume "v"\)$/],
    ['a host port', specOf({}, { ports: [{ containerPort: 80, hostPort: 80 }] }), /^hostPort/],
    [
      'a host of a probe',
      specOf({}, { livenessProbe: { httpGet: { port: 80, host: '169.254.169.254' } } }),
      /^probe or lifecycle host \(container "c" uses probe or lifecycle host "169\.254\.169\.254"\)$/,
    ],
    [
      'hosts of hooks and of a sidecar',
      specOf(
        {
          initContainers: [
            {
              name: 's',
              image: 'x',
              restartPolicy: 'Always',
              securityContext: restrictedContext,
              startupProbe: { tcpSocket: { port: 1, host: 'b' } },
            },
          ],
        },
        {
          readinessProbe: { tcpSocket: { port: 1, host: 'b' } },
          lifecycle: { postStart: { tcpSocket: { port: 1, host: 'c' } }, preStop: { httpGet: { port: 1, host: 'a' } } },
        },
      ),
      /^probe or lifecycle host \(containers "s", "c" use probe or lifecycle hosts "a", "b", "c"\)$/,
    ],
    ['no seccomp', context({ seccompProfile: { type: 'Unconfined' } }), /^seccompProfile .*Unconfined/],
    [
      'no seccomp for the pod',
      specOf(
        { securityContext: { seccompProfile: { type: 'Unconfined' }, runAsNonRoot: true } },
        { securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } },
      ),
      /Unconfined/,
    ],
    [
      'a sysctl of the whole host',
      specOf({ securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }),
      /^forbidden sysctls \(kernel.msgmax\)$/,
    ],
  ]
  it.each(baseline)('baseline and restricted forbid %s, privileged nothing', (_what, spec, words) => {
    expect(securityViolations('privileged', spec)).toEqual([])
    expect(securityViolations('baseline', spec)).toEqual([expect.stringMatching(words)])
    expect(securityViolations('restricted', spec)).toContainEqual(expect.stringMatching(words))
  })

  const restricted: [string, PodSpec, RegExp][] = [
    [
      'a volume of another kind',
      specOf({ volumes: [{ name: 'v', nfs: {} } as never] }),
      /^restricted volume types \("v"\)$/,
    ],
    ['privilege escalation', context({ allowPrivilegeEscalation: true }), /^allowPrivilegeEscalation != false/],
    ['kept capabilities', context({ capabilities: {} }), /^unrestricted capabilities/],
    [
      'a harmless capability',
      context({ capabilities: { drop: ['ALL'], add: ['CHOWN'] } }),
      /^unrestricted capabilities/,
    ],
    [
      'perhaps root',
      specOf({}, { securityContext: { ...restrictedContext, runAsNonRoot: false } }),
      /^runAsNonRoot != true/,
    ],
    ['root', context({ runAsUser: 0 }), /^runAsUser=0/],
  ]
  it.each(restricted)('restricted alone forbids %s', (_what, spec, words) => {
    expect(securityViolations('baseline', spec)).toEqual([])
    expect(securityViolations('restricted', spec)).toEqual([expect.stringMatching(words)])
  })

  it('restricted lets a pod with users of its own run as root, and nothing else', () => {
    const { runAsNonRoot: _root, ...rest } = restrictedContext
    const root = { securityContext: { ...rest, runAsUser: 0 } }
    expect(securityViolations('restricted', specOf({}, root))).toHaveLength(2)
    expect(securityViolations('restricted', specOf({ hostUsers: false }, root))).toEqual([])
    const privileged = { securityContext: { ...rest, privileged: true } }
    expect(securityViolations('restricted', specOf({ hostUsers: false }, privileged))).toHaveLength(1)
  })

  it('lets run probes and hooks of the pod itself', () => {
    const get = { httpGet: { port: 80, host: '' } }
    const plain = specOf({}, { livenessProbe: get, lifecycle: { preStop: { tcpSocket: { port: 80 } } } })
    expect(securityViolations('baseline', plain)).toEqual([])
  })

  it('restricted lets run what keeps to it, and looks at init containers too', () => {
    expect(securityViolations('restricted', specOf())).toEqual([])
    expect(
      securityViolations('restricted', context({ capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } })),
    ).toEqual([])
    const found = securityViolations('restricted', specOf({ initContainers: [{ name: 'init', image: 'x' }] }))
    expect(found.length).toBeGreaterThan(3)
    for (const words of found) expect(words).toContain('"init"')
  })
})

describe('kernel parameters', () => {
  const why = (name: string, change: Partial<PodSpec> = {}, allowed: readonly string[] = []) =>
    forbiddenSysctl(specOf({ securityContext: { sysctls: [{ name, value: '1' }] }, ...change }), allowed)

  it('that are safe are anybody’s; others where the node allows them; the host’s nobody’s', () => {
    expect(why('net.ipv4.ip_unprivileged_port_start')).toBeUndefined()
    expect(why('net/ipv4/ip_unprivileged_port_start')).toBeUndefined()
    expect(why('net.core.somaxconn')).toContain('--allow-sysctl net.core.somaxconn')
    expect(why('net.core.somaxconn', {}, ['net.core.*'])).toBeUndefined()
    expect(why('kernel.shmmax', {}, ['kernel.shmmax'])).toBeUndefined()
    expect(why('vm.swappiness', {}, ['vm.*'])).toContain('of the whole host')
    expect(why('net.ipv4.tcp_syncookies', { hostNetwork: true })).toContain("host's own network")
    expect(why('kernel.shm_rmid_forced', { hostIPC: true })).toContain("host's own IPC")
  })

  it('ids of users and groups are numbers that there can be', () => {
    const bad = specOf(
      { securityContext: { runAsUser: -1, runAsGroup: 2 ** 31, fsGroup: 2 ** 31 - 1, supplementalGroups: [0, 1e21] } },
      { securityContext: { ...restrictedContext, runAsUser: 2 ** 40, runAsGroup: 0 } },
    )
    expect(validatePodSecurity(bad, 'spec').map(({ path, reason }) => [path, reason])).toEqual([
      ['spec.securityContext.runAsUser', 'Invalid'],
      ['spec.securityContext.runAsGroup', 'Invalid'],
      ['spec.securityContext.supplementalGroups[1]', 'Invalid'],
      ['spec.containers[0].securityContext.runAsUser', 'Invalid'],
    ])
  })

  it('and profiles are checked when they are written', () => {
    const bad = specOf({
      securityContext: {
        sysctls: [
          { name: 'net.a', value: '1' },
          { name: 'net/a', value: '2' },
          { name: 'Net A', value: '1' },
        ],
        seccompProfile: { type: 'Localhost', localhostProfile: '../../etc/passwd' },
      },
    })
    expect(validatePodSecurity(bad, 'spec').map(({ path, reason }) => [path, reason])).toEqual([
      ['spec.securityContext.seccompProfile.localhostProfile', 'Invalid'],
      ['spec.securityContext.sysctls[1].name', 'Duplicate'],
      ['spec.securityContext.sysctls[2].name', 'Invalid'],
    ])
    const missing = context({ seccompProfile: { type: 'Localhost' } })
    expect(validatePodSecurity(missing, 'spec')).toMatchObject([{ reason: 'Required' }])
    const surplus = context({ seccompProfile: { type: 'RuntimeDefault', localhostProfile: 'x' } })
    expect(validatePodSecurity(surplus, 'spec')).toMatchObject([{ reason: 'Invalid' }])
  })
})
