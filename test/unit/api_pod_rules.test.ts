/** Rules of what pods may ask for: hooks, sidecars, probes, volumes, and what of it is honoured. */
import { describe, expect, test } from 'vitest'
import type { Container, Pod, Volume } from '../../src/api/pod.ts'
import { podKind, podSummary } from '../../src/api/pod_kind.ts'
import { podReferences } from '../../src/api/pod_references.ts'
import { defaultPodSpec } from '../../src/api/pod_rules.ts'
import { podRequests } from '../../src/scheduler/requests.ts'

const c: Container = { name: 'c', image: 'i' }

function podOf(spec: Partial<Pod['spec']>): Pod {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default' },
    spec: { containers: [c], ...spec },
  }
  defaultPodSpec(pod.spec)
  return pod
}

const faultsOf = (spec: Partial<Pod['spec']>): string[] =>
  (podKind.validate?.(podOf(structuredClone(spec))) ?? []).map(({ path, reason }) => `${path} ${reason}`)
const one = (container: Partial<Container>): Partial<Pod['spec']> => ({ containers: [{ ...c, ...container }] })
const volume = (source: Omit<Volume, 'name'>): Partial<Pod['spec']> => ({ volumes: [{ name: 'v', ...source }] })
const exec = { exec: { command: ['/x'] } }
const at = 'spec.containers[0]'

const TABLE: [what: string, spec: Partial<Pod['spec']>, faults: string[]][] = [
  [
    'readiness gates, of which one names no condition',
    { readinessGates: [{ conditionType: 'example.com/registered' }, { conditionType: 'not a name' }] },
    ['spec.readinessGates[1].conditionType Invalid'],
  ],
  [
    'hooks of each kind',
    one({ lifecycle: { postStart: exec, preStop: { sleep: { seconds: 30 } }, stopSignal: 'SIGRTMIN+3' } }),
    [],
  ],
  ['a hook of no kind', one({ lifecycle: { preStop: {} } }), [`${at}.lifecycle.preStop Required`]],
  [
    'a hook of two kinds',
    one({ lifecycle: { preStop: { ...exec, sleep: { seconds: 1 } } } }),
    [`${at}.lifecycle.preStop Required`],
  ],
  [
    'a sleep beyond the grace',
    one({ lifecycle: { preStop: { sleep: { seconds: 31 } } } }),
    [`${at}.lifecycle.preStop.sleep.seconds Invalid`],
  ],
  ['a signal that is none', one({ lifecycle: { stopSignal: 'TERM' } }), [`${at}.lifecycle.stopSignal Invalid`]],
  ['a program that is not named', one({ livenessProbe: { exec: {} } }), [`${at}.livenessProbe.exec.command Required`]],
  [
    'a port that has no such name',
    one({ livenessProbe: { tcpSocket: { port: 'web' } } }),
    [`${at}.livenessProbe.tcpSocket.port Invalid`],
  ],
  [
    'a named port',
    one({ ports: [{ name: 'web', containerPort: 80 }], livenessProbe: { httpGet: { port: 'web' } } }),
    [],
  ],
  ['a gRPC probe', one({ livenessProbe: { grpc: { port: 80 }, terminationGracePeriodSeconds: 1 } }), []],
  [
    'a grace of a readiness probe',
    one({ readinessProbe: { ...exec, terminationGracePeriodSeconds: 1 } }),
    [`${at}.readinessProbe.terminationGracePeriodSeconds Forbidden`],
  ],
  [
    'no grace of a probe',
    one({ livenessProbe: { ...exec, terminationGracePeriodSeconds: 0 } }),
    [`${at}.livenessProbe.terminationGracePeriodSeconds Invalid`],
  ],
  ['a sidecar with probes', { initContainers: [{ ...c, name: 's', restartPolicy: 'Always', startupProbe: exec }] }, []],
  [
    'an init container with probes',
    { initContainers: [{ ...c, name: 's', startupProbe: exec, lifecycle: {} }] },
    ['spec.initContainers[0].startupProbe Forbidden', 'spec.initContainers[0].lifecycle Forbidden'],
  ],
  ['a container with a restart policy', one({ restartPolicy: 'Always' }), [`${at}.restartPolicy Forbidden`]],
  ['no time at all', { activeDeadlineSeconds: 0 }, ['spec.activeDeadlineSeconds Invalid']],
  ['two process namespaces', { hostPID: true, shareProcessNamespace: true }, ['spec.shareProcessNamespace Invalid']],
  [
    'own users beside namespaces of the host',
    { hostUsers: false, hostNetwork: true, hostPID: true, hostIPC: true },
    ['spec.hostNetwork Forbidden', 'spec.hostPID Forbidden', 'spec.hostIPC Forbidden'],
  ],
  [
    'own users and a block device',
    { hostUsers: false, ...one({ volumeDevices: [{ name: 'd', devicePath: '/dev/d' }] }) },
    [`${at}.volumeDevices Forbidden`],
  ],
  ['own users', { hostUsers: false, shareProcessNamespace: true }, []],
  ['overhead below nothing', { overhead: { cpu: '-1' } }, ['spec.overhead[cpu] Invalid']],
  [
    'a projected volume of each source',
    volume({ projected: { sources: [{ serviceAccountToken: { path: 't' } }, { configMap: { name: 'a' } }] } }),
    [],
  ],
  [
    'a projected source of two kinds',
    volume({ projected: { sources: [{ configMap: {}, secret: {} }] } }),
    ['spec.volumes[0].projected.sources[0] Required'],
  ],
  [
    'a token that lives too short, outside',
    volume({ projected: { sources: [{ serviceAccountToken: { path: '../t', expirationSeconds: 60 } }] } }),
    [
      'spec.volumes[0].projected.sources[0].serviceAccountToken.path Invalid',
      'spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds Invalid',
    ],
  ],
  [
    'a field in a file',
    volume({ downwardAPI: { items: [{ path: 'a', fieldRef: { fieldPath: "metadata.labels['a/b']" } }] } }),
    [],
  ],
  [
    'a field that files do not have',
    volume({ downwardAPI: { items: [{ path: 'a', fieldRef: { fieldPath: 'status.podIP' } }] } }),
    ['spec.volumes[0].downwardAPI.items[0].fieldRef.fieldPath NotSupported'],
  ],
  [
    'a resource of no container',
    volume({ downwardAPI: { items: [{ path: 'a', resourceFieldRef: { resource: 'limits.cpu' } }] } }),
    ['spec.volumes[0].downwardAPI.items[0].resourceFieldRef.containerName Required'],
  ],
  [
    'a mode that is none',
    volume({ secret: { secretName: 's', defaultMode: 0o1000 } }),
    ['spec.volumes[0].secret.defaultMode Invalid'],
  ],
  [
    'mounts that contradict themselves',
    {
      ...volume({ emptyDir: {} }),
      ...one({
        volumeMounts: [
          { name: 'v', mountPath: '/a', recursiveReadOnly: 'Enabled' },
          { name: 'v', mountPath: '/b', mountPropagation: 'Bidirectional' },
          { name: 'v', mountPath: '/c', subPath: 'a', subPathExpr: '$(A)/../b' },
        ],
      }),
    },
    [
      `${at}.volumeMounts[0].recursiveReadOnly Forbidden`,
      `${at}.volumeMounts[1].mountPropagation Forbidden`,
      `${at}.volumeMounts[2].subPathExpr Invalid`,
      `${at}.volumeMounts[2].subPathExpr Invalid`,
    ],
  ],
]

describe('pods', () => {
  test.each(TABLE)('%s', (_what, spec, faults) => {
    expect(faultsOf(spec)).toEqual(faults)
  })

  test('a time limit may be set and shortened, nothing else', () => {
    const update = (before: number | undefined, after: number | undefined): number => {
      const limit = (seconds: number | undefined) => (seconds === undefined ? {} : { activeDeadlineSeconds: seconds })
      return podKind.validateUpdate?.(podOf(limit(after)), podOf(limit(before))).length ?? 0
    }
    expect([update(undefined, 5), update(5, 4), update(5, 5)]).toEqual([0, 0, 0])
    expect([update(5, 6), update(5, undefined)]).toEqual([1, 1])
  })

  test('what a projected volume names is sent to its node', () => {
    const sources = [{ configMap: { name: 'a' } }, { secret: { name: 'b' } }]
    expect([...podReferences(podOf(volume({ projected: { sources } })))]).toEqual([
      'configmap/default/a',
      'secret/default/b',
    ])
  })

  test('sidecars count beside containers and beside the init containers after them', () => {
    const asks = (name: string, cpu: string, more: object = {}): Container => ({
      ...c,
      name,
      resources: { requests: { cpu } },
      ...more,
    })
    const sidecar = asks('s', '100m', { restartPolicy: 'Always' })
    const init = (cpu: string) => podOf({ initContainers: [sidecar, asks('i', cpu)], containers: [asks('a', '200m')] })
    expect(podRequests(init('50m')).cpu).toBe(300)
    expect(podRequests(init('500m')).cpu).toBe(600)
  })

  test('readiness gates that hold are counted', () => {
    const column = (of: Pod) => podKind.columns?.find(({ name }) => name === 'Readiness Gates')?.value(of, 0)
    const gated = podOf({ readinessGates: [{ conditionType: 'a' }, { conditionType: 'b' }] })
    const conditions = [
      { type: 'a', status: 'True' as const },
      { type: 'b', status: 'False' as const },
    ]
    expect([column(podOf({})), column(gated), column({ ...gated, status: { conditions } })]).toEqual([
      '<none>',
      '0/2',
      '1/2',
    ])
  })

  test('a pod that starts or restarts a sidecar is summed up as kubectl does', () => {
    const pod = podOf({ initContainers: [{ ...c, name: 's', restartPolicy: 'Always' }] })
    const status = (started: boolean) => ({
      name: 's',
      ready: started,
      started,
      restartCount: 0,
      image: 'i',
      imageID: '',
    })
    const running = { name: 'c', ready: true, restartCount: 0, image: 'i', imageID: '', state: { running: {} } }
    const column = (of: Pod) => podKind.columns?.find(({ name }) => name === 'Ready')?.value(of, 0)
    const starting = { ...pod, status: { phase: 'Pending' as const, initContainerStatuses: [status(false)] } }
    expect([podSummary(starting), column(starting)]).toEqual(['Init:0/1', '0/2'])
    const up = {
      ...pod,
      status: { phase: 'Running' as const, initContainerStatuses: [status(true)], containerStatuses: [running] },
    }
    expect([podSummary(up), column(up)]).toEqual(['Running', '2/2'])
    const conditions = [{ type: 'Initialized', status: 'True' as const }]
    const again = { ...up, status: { ...up.status, conditions, initContainerStatuses: [status(false)] } }
    expect([podSummary(again), column(again)]).toEqual(['Running', '1/2'])
  })
})
