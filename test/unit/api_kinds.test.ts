import { describe, expect, it } from 'vitest'
import { resolveIntOrPercent } from '../../src/api/deployment.ts'
import { apiVersionOf, keyOf, splitKey } from '../../src/api/kind.ts'
import { findKind, findKindByName, KINDS } from '../../src/api/kinds.ts'
import { isDnsLabel, isDnsSubdomain, isLabelKey, isLabelValue, isServiceName } from '../../src/api/names.ts'
import type { Pod } from '../../src/api/pod.ts'
import { formatAge, podKind, podSummary } from '../../src/api/pod_kind.ts'
import { type Service, serviceKind } from '../../src/api/service.ts'
import { SAMPLES } from '../support/samples.ts'

const sample = (name: string) => structuredClone(SAMPLES[name] ?? { apiVersion: '', kind: '', metadata: {} })

describe('every kind', () => {
  for (const kind of KINDS) {
    it(`${kind.kind}: defaults are idempotent and make a valid object`, () => {
      const object = sample(kind.kind)
      expect(object.apiVersion).toBe(apiVersionOf(kind))
      kind.applyDefaults(object)
      const once = structuredClone(object)
      kind.applyDefaults(object)
      expect(object).toEqual(once)
      expect(kind.validate(object)).toEqual([])
      expect(kind.validateUpdate(object, once)).toEqual([])
      expect(object, 'rules change nothing').toEqual(once)
    })

    it(`${kind.kind}: columns and selectable fields are total, before and after defaults`, () => {
      const object = sample(kind.kind)
      for (const state of [0, 1]) {
        if (state === 1) kind.applyDefaults(object)
        for (const column of kind.columns)
          expect(['string', 'number', 'boolean']).toContain(typeof column.value(object, 0))
        for (const read of Object.values(kind.selectableFields)) expect(typeof read(object)).toBe('string')
      }
    })
  }

  it('has names of its own', () => {
    const names = KINDS.flatMap(({ plural, singular, shortNames }) => [...new Set([plural, singular, ...shortNames])])
    expect(new Set(names).size).toBe(names.length)
    for (const kind of KINDS) {
      expect(findKind(kind.group, kind.version, kind.plural)).toBe(kind)
      expect(findKindByName(apiVersionOf(kind), kind.kind)).toBe(kind)
    }
    expect(findKind('', 'v1', 'toString')).toBeUndefined()
  })
})

const podWith = (spec: Partial<Pod['spec']>): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'default' },
  spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
})

function faultsOf(spec: Partial<Pod['spec']>): string[] {
  const pod = podWith(spec)
  podKind.applyDefaults(pod)
  return podKind.validate(pod).map(({ path, reason }) => `${path} ${reason}`)
}

describe('pods', () => {
  const c = { name: 'c', image: 'x' }

  it.each([
    ['no container', { containers: [] }, ['spec.containers Required']],
    ['no image', { containers: [{ name: 'c' }] }, ['spec.containers[0].image Required']],
    ['twice one name', { containers: [c, c] }, ['spec.containers[1] Duplicate']],
    ['a bad name', { containers: [{ ...c, name: 'C' }] }, ['spec.containers[0].name Invalid']],
    [
      'a mount of nothing',
      { containers: [{ ...c, volumeMounts: [{ name: 'v', mountPath: '/v' }] }] },
      ['spec.containers[0].volumeMounts[0].name Invalid'],
    ],
    [
      'a request over its limit',
      { containers: [{ ...c, resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } }] },
      ['spec.containers[0].resources.requests[cpu] Invalid'],
    ],
    [
      'a probe of two kinds',
      { containers: [{ ...c, readinessProbe: { tcpSocket: { port: 1 }, exec: { command: ['x'] } } }] },
      ['spec.containers[0].readinessProbe Required'],
    ],
    [
      'a way out of a volume',
      { volumes: [{ name: 'v', configMap: { name: 'm', items: [{ key: 'k', path: '../x' }] } }] },
      ['spec.volumes[0].configMap.items[0].path Invalid'],
    ],
    ['a volume of another world', { volumes: [{ name: 'v', nfs: {} }] }, ['spec.volumes[0].nfs NotSupported']],
    ['negative grace', { terminationGracePeriodSeconds: -1 }, ['spec.terminationGracePeriodSeconds Invalid']],
  ] as [string, Partial<Pod['spec']>, string[]][])('refuse %s', (_what, spec, faults) => {
    expect(faultsOf(spec)).toEqual(faults)
  })

  it('may change images and tolerations, bind once, and no more', () => {
    const old = podWith({})
    podKind.applyDefaults(old)
    const change = (edit: (pod: Pod) => void): string[] => {
      const pod = structuredClone(old)
      edit(pod)
      return podKind.validateUpdate(pod, old).map(({ path }) => path)
    }
    expect(
      change((pod) => {
        pod.spec.containers = [{ ...pod.spec.containers[0], name: 'c', image: 'other' }]
      }),
    ).toEqual([])
    expect(
      change((pod) => {
        pod.spec.nodeName = 'n'
      }),
    ).toEqual([])
    expect(
      change((pod) => {
        pod.spec.hostNetwork = true
      }),
    ).toEqual(['spec'])
    const bound = { ...structuredClone(old), spec: { ...old.spec, nodeName: 'n' } }
    expect(
      podKind.validateUpdate({ ...bound, spec: { ...bound.spec, nodeName: 'm' } }, bound).map(({ path }) => path),
    ).toEqual(['spec.nodeName'])
  })

  it('tell where they stand in one word', () => {
    const summary = (status: Pod['status'], metadata: object = {}): string => {
      const pod = podWith({})
      return podSummary({
        ...pod,
        metadata: { ...pod.metadata, ...metadata },
        ...(status === undefined ? {} : { status }),
      })
    }
    const container = (state: object) => ({ name: 'c', state, ready: false, restartCount: 0, image: '', imageID: '' })
    expect(summary(undefined)).toBe('Pending')
    expect(summary({ phase: 'Running' })).toBe('Running')
    expect(summary({ phase: 'Running' }, { deletionTimestamp: 'x' })).toBe('Terminating')
    expect(
      summary({ phase: 'Running', containerStatuses: [container({ waiting: { reason: 'CrashLoopBackOff' } })] }),
    ).toBe('CrashLoopBackOff')
    expect(summary({ phase: 'Failed', containerStatuses: [container({ terminated: { exitCode: 3 } })] })).toBe(
      'ExitCode:3',
    )
  })

  it('show ages as kubectl does', () => {
    const seconds = (n: number): string => formatAge(n * 1000)
    expect([0, 119, 120, 200, 600, 3 * 3600, 4 * 3600 + 60, 50 * 3600, 9 * 86400, 800 * 86400].map(seconds)).toEqual([
      '0s',
      '119s',
      '2m',
      '3m20s',
      '10m',
      '3h',
      '4h1m',
      '2d2h',
      '9d',
      '2y',
    ])
  })
})

describe('services', () => {
  it('take nodePort only with a type that has one', () => {
    const metadata = { name: 'web', namespace: 'default' }
    const object: Service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { ports: [{ port: 1, nodePort: 30000 }] },
    }
    serviceKind.applyDefaults(object)
    expect(serviceKind.validate(object).map(({ path }) => path)).toEqual(['spec.ports[0].nodePort'])
  })
})

describe('names', () => {
  it('follow their rules', () => {
    expect(['a', 'a-b', '0', 'a'.repeat(63)].every(isDnsLabel)).toBe(true)
    expect(['', '-a', 'a-', 'A', 'a.b', 'a'.repeat(64)].some(isDnsLabel)).toBe(false)
    expect(['a.b', 'a', '1.2'].every(isDnsSubdomain)).toBe(true)
    expect(['a..b', '.a', 'a.', 'a/b', 'a\n'].some(isDnsSubdomain)).toBe(false)
    expect(isServiceName('a1') && !isServiceName('1a')).toBe(true)
    expect(['a', 'x.dev/a', 'A_b.c'].every(isLabelKey)).toBe(true)
    expect(['', '/a', 'x/', 'a/b/c', 'ä', 'X.dev/a'].some(isLabelKey)).toBe(false)
    expect(['', 'a', 'A_b'].every(isLabelValue) && !isLabelValue('-')).toBe(true)
  })

  it('make keys and come back from them', () => {
    for (const metadata of [{ name: 'a' }, { name: 'a', namespace: 'b' }]) {
      const { namespace, name } = splitKey(keyOf({ metadata }))
      expect({ namespace: namespace || undefined, name }).toEqual({ namespace: undefined, ...metadata })
    }
  })
})

describe('numbers or percentages', () => {
  it('round as they are told', () => {
    expect(resolveIntOrPercent('25%', 3, 'up')).toBe(1)
    expect(resolveIntOrPercent('25%', 3, 'down')).toBe(0)
    expect(resolveIntOrPercent(2, 3, 'up')).toBe(2)
    expect(resolveIntOrPercent('two', 3, 'up')).toBeUndefined()
  })
})
