import { describe, expect, test } from 'vitest'
import type { ResolvedUser } from '../../src/agent/images/images.ts'
import { resolveUserIn } from '../../src/agent/images/users.ts'
import { containerId, containerRequest, wantedUser } from '../../src/agent/pod/container_spec.ts'
import { type EnvironmentContext, expand, resolveEnvironment, resourceValue } from '../../src/agent/pod/environment.ts'
import { etcFiles, podHostname } from '../../src/agent/pod/etc_files.ts'
import type { Container, Pod, Volume } from '../../src/api/pod.ts'

const MI = 2 ** 20

function podOf(container: Partial<Container> = {}, spec: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'ns', uid: 'u1', labels: { app: 'web' }, annotations: { note: 'n' } },
    spec: { containers: [{ name: 'app', image: 'app:1', ...container }], ...spec },
  }
}

function contextOf(pod: Pod): EnvironmentContext {
  return {
    pod,
    sources: {
      configMap: (name) =>
        name === 'map' ? { apiVersion: 'v1', kind: 'ConfigMap', metadata: {}, data: { A: '1', B: '2' } } : undefined,
      secret: (name) =>
        name === 'sec' ? { apiVersion: 'v1', kind: 'Secret', metadata: {}, data: { K: 'cGFzcw==' } } : undefined,
    },
    podIP: '10.244.0.2',
    hostIP: '192.0.2.1',
    nodeName: 'n1',
    nodeCpuMillis: 4000,
    nodeMemoryBytes: 512 * MI,
    nodeStorageBytes: 2048 * MI,
    services: [],
  }
}

const ROOT: ResolvedUser = { uid: 0, gid: 0, additionalGids: [10], home: '/' }

function requestOf(pod: Pod, user = ROOT, pidsLimit?: number) {
  const container = pod.spec.containers[0] as Container
  return containerRequest(pod, container, {
    environment: contextOf(pod),
    sandbox: { podUid: 'u1', hostname: 'h', ipcNamespacePath: '/i', utsNamespacePath: '/u' },
    image: {
      id: 'sha256:1',
      digest: 'sha256:2',
      names: ['docker.io/library/app:1'],
      sizeBytes: 1,
      createdAt: '',
      layerDirectories: ['/l'],
      config: {
        env: ['PATH=/x', 'I=image'],
        entrypoint: ['/entry'],
        cmd: ['serve'],
        workingDirectory: '/srv',
        user: '',
        stopSignal: 'SIGQUIT',
        exposedPorts: [],
        labels: {},
      },
    },
    user,
    volumePaths: new Map([
      ['/data/inner', '/v/a'],
      ['/data', '/v/b'],
    ]),
    etcFiles: new Map([['/etc/hosts', '/e/hosts']]),
    hostname: 'p',
    attempt: 2,
    crashes: 1,
    logPath: '/logs/2.log',
    ...(pidsLimit === undefined ? {} : { pidsLimit }),
  })
}

const env = (container: Partial<Container>): Record<string, string> => {
  const pod = podOf(container)
  return Object.fromEntries(resolveEnvironment(pod.spec.containers[0] as Container, [], contextOf(pod)))
}

describe('the command line', () => {
  test.each([
    [{}, ['/entry', 'serve']],
    [{ args: ['x'] }, ['/entry', 'x']],
    [{ command: ['/c'] }, ['/c']],
    [{ command: ['/c'], args: ['x'] }, ['/c', 'x']],
    [{ args: ['$(I)', '$$(I)', '$(NONE)'] }, ['/entry', 'image', '$(I)', '$(NONE)']],
  ])('%j', (container, args) => expect(requestOf(podOf(container)).args).toEqual(args))
})

test("the node's bound on processes holds for each container; without one there is none", () => {
  expect(requestOf(podOf()).resources.pidsLimit).toBe(0)
  expect(requestOf(podOf(), undefined, 50).resources.pidsLimit).toBe(50)
})

test("the kernel's choice among containers follows the pod's class, not the one container; what is critical to the node goes last", () => {
  const limits = { cpu: '1', memory: '64Mi' }
  const side = (resources?: Container['resources']) => ({ name: 'side', ...(resources ? { resources } : {}) })
  const rank = (resources: Container['resources'], beside: Container['resources']) => {
    const pod = podOf(resources ? { resources } : {})
    return requestOf({ ...pod, spec: { containers: [...pod.spec.containers, side(beside)] } }).resources.oomRank
  }
  expect(rank({ limits }, { limits })).toBe('last')
  expect(rank({ limits }, undefined)).toBe('byRequest')
  expect(rank(undefined, { limits })).toBe('byRequest')
  expect(rank(undefined, undefined)).toBe('first')
  const critical = (priority: number) => {
    const pod = podOf()
    return requestOf({ ...pod, spec: { ...pod.spec, priority } }).resources.oomRank
  }
  expect(critical(2_000_001_000)).toBe('last')
  expect(critical(2_000_000_000)).toBe('first')
})

describe('environment', () => {
  test('later ones win, and may build on earlier ones', () => {
    const found = env({
      envFrom: [{ prefix: 'P_', configMapRef: { name: 'map' } }, { secretRef: { name: 'sec' } }],
      env: [
        { name: 'P_A', value: 'own' },
        { name: 'URL', value: 'http://$(P_A):$(P_B)/$(LATER)' },
        { name: 'LATER', value: 'x' },
      ],
    })
    expect(found).toEqual({ P_A: 'own', P_B: '2', K: 'pass', URL: 'http://own:2/$(LATER)', LATER: 'x' })
  })

  test.each([
    ['metadata.name', 'p'],
    ["metadata.labels['app']", 'web'],
    ["metadata.annotations['note']", 'n'],
    ["metadata.labels['none']", ''],
    ['spec.nodeName', 'n1'],
    ['status.podIP', '10.244.0.2'],
    ['status.hostIP', '192.0.2.1'],
  ])('fieldRef %s', (fieldPath, value) => {
    expect(env({ env: [{ name: 'X', valueFrom: { fieldRef: { fieldPath } } }] })).toEqual({ X: value })
  })

  test.each([
    ['limits.cpu', undefined, '2'],
    ['limits.cpu', '1m', '1500'],
    ['requests.memory', '1Mi', '64'],
    ['limits.memory', '1Mi', '512'],
    ['limits.memory', '1Ti', '1'],
    ['limits.ephemeral-storage', '1Mi', '2048'],
    ['requests.ephemeral-storage', undefined, '0'],
    ['requests.cpu', undefined, '0'],
  ])('resourceFieldRef %s / %s', (resource, divisor, value) => {
    const resources = { limits: { cpu: '1500m' }, requests: { memory: '64Mi' } }
    const resourceFieldRef = { resource, ...(divisor === undefined ? {} : { divisor }) }
    expect(env({ resources, env: [{ name: 'X', valueFrom: { resourceFieldRef } }] })).toEqual({ X: value })
  })

  test('resourceFieldRef of CPU in thousandths and in cores, for every amount up to 64 cores', () => {
    const said = (millis: number, divisor: string): string => {
      const pod = podOf({ resources: { limits: { cpu: `${millis}m` } } })
      return resourceValue(contextOf(pod), 'app', 'limits.cpu', divisor)
    }
    const wrong: string[] = []
    for (let millis = 1; millis <= 64_000; millis++) {
      const [thousandths, cores] = [said(millis, '1m'), said(millis, '1')]
      if (thousandths !== String(millis)) wrong.push(`${millis}m / 1m: ${thousandths}`)
      if (cores !== String(Math.ceil(millis / 1000))) wrong.push(`${millis}m / 1: ${cores}`)
    }
    expect(wrong).toEqual([])
  }, 60_000)

  test('resourceFieldRef of no container is of its own', () => {
    const resourceFieldRef = { containerName: '', resource: 'limits.cpu', divisor: '1m' }
    expect(env({ env: [{ name: 'X', valueFrom: { resourceFieldRef } }] })).toEqual({ X: '4000' })
  })

  test('resourceFieldRef of a limit that is not set, by a node of less than a core', () => {
    const context = { ...contextOf(podOf()), nodeCpuMillis: 700 }
    expect(resourceValue(context, 'app', 'limits.cpu', '1m')).toBe('700')
  })

  test('what is missing is named; what is optional is left out', () => {
    const reference = (name: string, key: string, optional = false) =>
      env({ env: [{ name: 'X', valueFrom: { secretKeyRef: { name, key, optional } } }] })
    expect(() => reference('gone', 'k')).toThrow('secret "gone" not found')
    expect(() => reference('sec', 'k')).toThrow('secret "sec" has no key "k"')
    expect(reference('gone', 'k', true)).toEqual({})
    expect(() => env({ env: [{ name: 'X', valueFrom: { fieldRef: { fieldPath: 'spec.what' } } }] })).toThrow(
      'spec.what',
    )
  })

  test('expansion', () => {
    const values = new Map([['A', '1']])
    expect(['$(A)', '$$(A)', '$A', '$(B)', '$$$(A)', '$('].map((text) => expand(text, values))).toEqual([
      '1',
      '$(A)',
      '$A',
      '$(B)',
      '$1',
      '$(',
    ])
  })
})

describe('the request', () => {
  test('resources, mounts in order, notes', () => {
    const pod = podOf({
      resources: { limits: { cpu: '500m', memory: '64Mi' } },
      volumeMounts: [
        { name: 'a', mountPath: '/data/inner', readOnly: true },
        { name: 'b', mountPath: '/data' },
      ],
    })
    const request = requestOf(pod)
    expect(request.resources).toMatchObject({ cpuLimitMillis: 500, cpuRequestMillis: 500, memoryLimitBytes: 64 * MI })
    expect(request.mounts.map(({ containerPath, readOnly }) => [containerPath, readOnly])).toEqual([
      ['/data', false],
      ['/etc/hosts', false],
      ['/data/inner', true],
    ])
    expect(request.env).toEqual(['PATH=/x', 'I=image', 'HOSTNAME=p'])
    expect(request.annotations).toMatchObject({
      'drover.dev/image': 'app:1',
      'drover.dev/image-id': 'docker.io/library/app@sha256:2',
      'drover.dev/crashes': '1',
      'drover.dev/stop-signal': 'SIGQUIT',
    })
  })

  test('what the agent writes, and a claim that says so, is read-only, whatever the mount says', () => {
    const mounted = (volume: Omit<Volume, 'name'>): boolean | undefined => {
      const pod = podOf({ volumeMounts: [{ name: 'v', mountPath: '/data', readOnly: false }] })
      const request = requestOf({ ...pod, spec: { ...pod.spec, volumes: [{ name: 'v', ...volume }] } })
      return request.mounts.find(({ containerPath }) => containerPath === '/data')?.readOnly
    }
    expect(mounted({ configMap: { name: 'c' } })).toBe(true)
    expect(mounted({ secret: { secretName: 's' } })).toBe(true)
    expect(mounted({ downwardAPI: { items: [] } })).toBe(true)
    expect(mounted({ projected: { sources: [] } })).toBe(true)
    expect(mounted({ persistentVolumeClaim: { claimName: 'c', readOnly: true } })).toBe(true)
    expect(mounted({ persistentVolumeClaim: { claimName: 'c' } })).toBe(false)
    expect(mounted({ emptyDir: {} })).toBe(false)
    expect(mounted({ hostPath: { path: '/x' } })).toBe(false)
  })

  test('no new privileges unless asked for', () => {
    expect(requestOf(podOf()).noNewPrivileges).toBe(true)
    expect(requestOf(podOf({ securityContext: { allowPrivilegeEscalation: true } })).noNewPrivileges).toBe(false)
    expect(requestOf(podOf({ securityContext: { privileged: true } })).noNewPrivileges).toBe(false)
  })

  test('an empty working directory or message file is none', () => {
    const { workingDirectory, terminationMessagePath } = requestOf(
      podOf({ workingDir: '', terminationMessagePath: '' }),
    )
    expect([workingDirectory, terminationMessagePath]).toEqual(['/srv', '/dev/termination-log'])
  })

  test('root is refused where the pod forbids it', () => {
    const pod = podOf({}, { securityContext: { runAsNonRoot: true, fsGroup: 5 } })
    expect(() => requestOf(pod)).toThrow('runAsNonRoot')
    expect(requestOf(pod, { uid: 7, gid: 7, additionalGids: [10], home: '/' }).user.additionalGids).toEqual([10, 5])
  })

  test('the user: own, the pod’s, the image’s', () => {
    const user = (container: Partial<Container>, spec: Partial<Pod['spec']>, image: string): string => {
      const pod = podOf(container, spec)
      return wantedUser(pod, pod.spec.containers[0] as Container, image)
    }
    expect(user({}, {}, '')).toBe('0')
    expect(user({}, {}, 'www:www')).toBe('www:www')
    expect(user({}, { securityContext: { runAsUser: 5 } }, 'www:www')).toBe('5')
    expect(user({ securityContext: { runAsUser: 7, runAsGroup: 8 } }, { securityContext: { runAsUser: 5 } }, '')).toBe(
      '7:8',
    )
    expect(user({ securityContext: { runAsGroup: 8 } }, {}, 'www')).toBe('www:8')
  })

  test('groups of the image’s user are kept beside a group of the pod’s own, and its ids lead nowhere else', () => {
    // The example of Kubernetes' documentation of supplementalGroupsPolicy; and names that look like ids.
    const files = {
      passwd: 'root:x:0:0::/root:\nuser-in-image:x:1000:1000::/home/u:\n1000:x:0:0::/root:\n',
      group: 'user-in-image:x:1000:\ngroup-in-image:x:50000:user-in-image\n3000:x:0:\n',
    }
    const ids = (securityContext: NonNullable<Pod['spec']['securityContext']>) => {
      const pod = podOf({}, { securityContext })
      const wanted = wantedUser(pod, pod.spec.containers[0] as Container, 'root')
      const { uid, gid, additionalGids } = requestOf(pod, resolveUserIn(files, wanted)).user
      return { uid, gid, additionalGids }
    }
    const own = { runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [4000], runAsNonRoot: true }
    expect(ids(own)).toEqual({ uid: 1000, gid: 3000, additionalGids: [50_000, 4000] })
    expect(ids({ ...own, supplementalGroupsPolicy: 'Strict' })).toEqual({
      uid: 1000,
      gid: 3000,
      additionalGids: [4000],
    })
    expect(ids({ runAsUser: 1000 })).toEqual({ uid: 1000, gid: 1000, additionalGids: [50_000] })
    expect(() => ids({ runAsUser: 0, runAsNonRoot: true })).toThrow('runAsNonRoot')
  })

  test('ids are short, differ by attempt and name, and are the same again', () => {
    const id = containerId('0b0f3c5e-7d0e-4f3b-8a55-4b8f3f3a0e11', 'a'.repeat(63), 12)
    expect(id.length).toBeLessThan(50)
    expect(containerId('u', 'a', 0)).not.toBe(containerId('u', 'b', 0))
    expect(containerId('u', 'a', 0)).toBe(containerId('u', 'a', 0))
  })
})

describe('files in /etc', () => {
  const context = {
    podIP: '10.244.0.2',
    clusterDomain: 'cluster.local',
    hostResolvConf: 'search corp\nnameserver 192.0.2.53\n',
    hostHosts: '127.0.0.1 host',
    dns: { address: '169.254.20.53', plainAddress: '169.254.20.54' },
  }

  test('of a pod in the overlay', () => {
    const pod = podOf({}, { hostAliases: [{ ip: '1.2.3.4', hostnames: ['a', 'b'] }] })
    const files = etcFiles(pod, context)
    expect(files['/etc/hosts']).toContain('10.244.0.2\tp\n1.2.3.4\ta\tb\n')
    expect(files['/etc/resolv.conf']).toBe(
      'search ns.svc.cluster.local svc.cluster.local cluster.local corp\nnameserver 169.254.20.53\noptions ndots:5\n',
    )
    expect(files['/etc/hostname']).toBe('p\n')
  })

  test("of a pod on the host's network, and with the host's names", () => {
    expect(etcFiles(podOf({}, { hostNetwork: true }), context)).toMatchObject({
      '/etc/hosts': '127.0.0.1 host\n',
      '/etc/resolv.conf': context.hostResolvConf,
    })
    expect(etcFiles(podOf({}, { dnsPolicy: 'Default' }), context)['/etc/resolv.conf']).toBe(context.hostResolvConf)
  })

  test('a long name is cut to a host name', () => {
    const pod = podOf()
    pod.metadata.name = `${'x'.repeat(62)}-y`
    expect(podHostname(pod)).toBe('x'.repeat(62))
  })
})
