/** What a pod as a whole asks for and may take: sums, peaks of init containers, sidecars, overhead, classes. */
import { describe, expect, it } from 'vitest'
import { podResources } from '../../src/agent/pod/pod_resources.ts'
import type { Container, Pod, PodSpec } from '../../src/api/pod.ts'

const MI = 2 ** 20

type Amounts = Readonly<Record<string, string>>

function container(requests: Amounts, limits: Amounts = {}, more: Partial<Container> = {}): Container {
  return { name: 'c', image: 'i', resources: { requests, limits }, ...more }
}

function podOf(containers: Container[], more: Partial<PodSpec> = {}): Pod {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: { containers, ...more } }
}

const plain: Container = { name: 'c', image: 'i' }
const sidecar = { restartPolicy: 'Always' } as const
const full = container({}, { cpu: '500m', memory: '64Mi' })
const none = { cpuRequestMillis: 0, cpuLimitMillis: 0, memoryLimitBytes: 0 }

describe('what a pod may take as a whole', () => {
  it.each<[string, Pod, Partial<typeof none>]>([
    ['nothing is asked for', podOf([plain, plain]), {}],
    ['requests are added', podOf([container({ cpu: '1' }), container({ cpu: '500m' })]), { cpuRequestMillis: 1500 }],
    [
      'a limit stands for a request',
      podOf([container({}, { cpu: '300m' }), container({ cpu: '1' })]),
      { cpuRequestMillis: 1300 },
    ],
    [
      'all have limits: their sums',
      podOf([full, full]),
      { cpuRequestMillis: 1000, cpuLimitMillis: 1000, memoryLimitBytes: 128 * MI },
    ],
    ['one has none: no limit', podOf([full, plain]), { cpuRequestMillis: 500 }],
    ['a limit of 0 is none', podOf([full, container({}, { cpu: '0', memory: '0' })]), { cpuRequestMillis: 500 }],
    [
      'each resource for itself',
      podOf([full, container({}, { memory: '1Mi' })]),
      { cpuRequestMillis: 500, memoryLimitBytes: 65 * MI },
    ],
    [
      'an init container that takes more than all containers',
      podOf([full], { initContainers: [container({ cpu: '100m' }, { cpu: '2', memory: '1Gi' })] }),
      { cpuRequestMillis: 500, cpuLimitMillis: 2000, memoryLimitBytes: 1024 * MI },
    ],
    [
      'an init container without limits leaves the pod without',
      podOf([full], { initContainers: [container({ cpu: '2' })] }),
      { cpuRequestMillis: 2000 },
    ],
    [
      'a sidecar runs beside the containers and the init containers after it',
      podOf([full], {
        initContainers: [
          container({}, { cpu: '100m', memory: '1Mi' }, sidecar),
          container({}, { cpu: '700m', memory: '1Mi' }),
        ],
      }),
      { cpuRequestMillis: 800, cpuLimitMillis: 800, memoryLimitBytes: 65 * MI },
    ],
    [
      'what its runtime takes comes on top',
      podOf([full], { overhead: { cpu: '250m', memory: '16Mi' } }),
      { cpuRequestMillis: 750, cpuLimitMillis: 750, memoryLimitBytes: 80 * MI },
    ],
    ['but not for a pod that asks for nothing', podOf([plain], { overhead: { cpu: '250m', memory: '16Mi' } }), {}],
    ['memory alone: the least weight', podOf([container({ memory: '64Mi' })]), {}],
  ])('%s', (_title, pod, resources) => {
    expect(podResources(pod)).toEqual({ ...none, ...resources })
  })
})
