/** Hooks, sidecars, probes and time limits on a real runtime. What a container does it writes to a file of the host. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { AgentPods, freePort } from '../support/agent_pods.ts'
import { healthServer } from '../support/grpc_health.ts'
import { addressOf } from '../support/node_session.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let runtimeHost: RuntimeHost
let pods: AgentPods
let directory: string
let opened: Awaited<ReturnType<AgentPods['open']>>

beforeAll(async () => {
  runtimeHost = await createRuntimeHost()
})
afterAll(() => runtimeHost.destroy())
beforeEach(async () => {
  directory = mkdtempSync(join(runtimeHost.directory, 'out-'))
  pods = new AgentPods(runtimeHost)
  opened = await pods.open()
})
afterEach(async () => {
  await pods.close()
  rmSync(directory, { recursive: true, force: true })
})

const volume = () => ({ volumes: [{ name: 'out', hostPath: { path: directory } }] })
const volumeMounts = [{ name: 'out', mountPath: '/out' }]
const sh = (script: string) => ({ command: ['/bin/sh', '-c', script], volumeMounts })
const lines = (): string[] => {
  const file = join(directory, 'log')
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
}
const hook = (script: string) => ({ exec: { command: ['/bin/sh', '-c', script] } })
const SERVE = 'trap "echo TERM $NAME >> /out/log; exit 0" TERM; while true; do sleep 0.05; done'

async function serving(status = 200): Promise<{ port: number; paths: string[]; server: Server }> {
  const paths: string[] = []
  const server = createServer((request, response) => {
    paths.push(`${request.url} ${request.headers['x-who'] ?? ''}`.trim())
    response.writeHead(status).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : 0, paths, server }
}

/** With a certificate of an authority that the agent is not told of, and for another name. */
async function servingSecurely(status: () => number): Promise<{ port: number; paths: string[]; server: SecureServer }> {
  const { cert, key } = await pods.harness.certificate('nobody.invalid', [])
  const paths: string[] = []
  const server = createSecureServer({ cert, key }, (request, response) => {
    paths.push(request.url ?? '')
    response.writeHead(status()).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, paths, server }
}

describe('lifecycle hooks', () => {
  test('a container is ready, and the next starts, only after its postStart hook; it hears of its end only after preStop', async () => {
    const next = {
      name: 'next',
      image: 'busybox:1',
      ...sh('echo next >> /out/log; trap "exit 0" TERM; while true; do sleep 0.05; done'),
    }
    await pods.run(
      'hooked',
      {
        ...sh(SERVE),
        env: [{ name: 'NAME', value: 'app' }],
        lifecycle: {
          postStart: hook('while [ ! -e /out/go ]; do sleep 0.05; done; echo posted >> /out/log'),
          preStop: hook('echo stopping >> /out/log; sleep 0.5; echo stopped >> /out/log'),
        },
      },
      { ...volume(), containers: [next] },
    )
    await pods.holds(() =>
      expect(pods.container('hooked')).toMatchObject({
        ready: false,
        state: { waiting: { reason: 'ContainerCreating' } },
        containerID: expect.stringContaining('runc://'),
      }),
    )
    expect(lines()).toEqual([])
    await opened.agent.stop()
    opened.agent = await pods.startAgent(addressOf(opened.dispatch))
    rmSync(join(directory, 'log'), { force: true })
    writeFileSync(join(directory, 'go'), '')
    await pods.ready('hooked')
    expect(lines()[0]).toBe('posted')
    await pods.remove('hooked', 10)
    expect(lines().filter((line) => line !== 'posted')).toEqual(['next', 'stopping', 'stopped', 'TERM app'])
    expect(runtimeHost.remains()).toEqual([])
  })

  test('a postStart hook that fails ends the container and is told', async () => {
    await pods.run(
      'bad',
      { ...sh(SERVE), lifecycle: { postStart: hook('exit 4'), stopSignal: 'SIGINT' } },
      { ...volume(), restartPolicy: 'Never' },
    )
    await pods.holds(() => expect(pods.status('bad')?.phase).toMatch(/Failed|Succeeded/))
    await pods.holds(() => expect(pods.harness.events.map(({ reason }) => reason)).toContain('FailedPostStartHook'))
    // The program heeds TERM and nothing else: it was sent another signal, which ended it as the kernel does.
    expect(pods.container('bad')?.state?.terminated).toMatchObject({ exitCode: 130, signal: 2 })
    expect(pods.status('bad')?.phase).toBe('Failed')
    await pods.remove('bad')
  })

  test('hooks by HTTP and TCP, and one that sleeps', async () => {
    const asked = await serving(503)
    let connections = 0
    asked.server.on('connection', () => connections++)
    try {
      const { port } = asked
      const httpGet = { path: '/start?x=1', port, host: '127.0.0.1', httpHeaders: [{ name: 'X-Who', value: 'hook' }] }
      const sleeper = {
        name: 'b',
        image: 'busybox:1',
        ...sh('trap "touch /out/told; exit 0" TERM; while true; do sleep 0.05; done'),
        lifecycle: { preStop: { sleep: { seconds: 1 } } },
      }
      await pods.run(
        'calls',
        { ...sh(SERVE), lifecycle: { postStart: { httpGet }, preStop: { tcpSocket: { port, host: '127.0.0.1' } } } },
        { ...volume(), containers: [sleeper] },
      )
      await pods.ready('calls')
      // Whatever the answer says, the hook was heard.
      expect(asked.paths).toEqual(['/start?x=1 hook'])
      expect(connections).toBe(1)
      const removedMs = systemClock.now()
      await pods.remove('calls', 5)
      expect(connections).toBe(2)
      // Files have their time from a clock of the kernel's that goes in ticks.
      expect(statSync(join(directory, 'told')).mtimeMs - removedMs).toBeGreaterThanOrEqual(990)
      expect(pods.harness.events.map(({ reason }) => reason)).not.toContain('FailedPreStopHook')
    } finally {
      asked.server.close()
    }
  })

  test('hooks by HTTPS take any certificate, and go by HTTP where nothing speaks TLS', async () => {
    const secure = await servingSecurely(() => 200)
    const plain = await serving()
    const secrets: (string | undefined)[] = []
    plain.server.on('request', ({ headers }) => secrets.push(headers.authorization))
    const httpHeaders = [
      { name: 'X-Who', value: 'hook' },
      { name: 'Authorization', value: 'Bearer secret' },
    ]
    const get = (port: number, path: string) => ({
      httpGet: { path, port, host: '127.0.0.1', scheme: 'HTTPS' as const, httpHeaders },
    })
    const told = (word: RegExp) => pods.harness.events.filter(({ reason = '' }) => word.test(reason))
    try {
      await pods.run(
        'secure',
        { ...sh(SERVE), lifecycle: { postStart: get(secure.port, '/start'), preStop: get(secure.port, '/stop') } },
        volume(),
      )
      await pods.ready('secure')
      expect(secure.paths).toEqual(['/start'])
      await pods.remove('secure', 5)
      expect(secure.paths).toEqual(['/start', '/stop'])
      expect(told(/Failed.*Hook|Fallback/)).toEqual([])
      await pods.run('plain', { ...sh(SERVE), lifecycle: { postStart: get(plain.port, '/start?x=1') } }, volume())
      await pods.ready('plain')
      // What was meant for an encrypted line goes over no other.
      expect([plain.paths, secrets]).toEqual([['/start?x=1 hook'], [undefined]])
      await pods.holds(() => expect(told(/^LifecycleHTTPFallback$/)).toMatchObject([{ name: 'plain' }]))
      expect(told(/Failed.*Hook/)).toEqual([])
      await pods.remove('plain')
    } finally {
      secure.server.close()
      plain.server.close()
    }
  })

  test('hooks that nobody hears are told, each in its way', async () => {
    const nobody = { port: 1, host: '127.0.0.1' }
    // A hook that fails at once may end a program before it knows what to do with the signal.
    const once = { ...volume(), restartPolicy: 'Never' as const, terminationGracePeriodSeconds: 2 }
    await pods.run('early', { ...sh(SERVE), lifecycle: { postStart: { httpGet: nobody } } }, once)
    await pods.run('late', { ...sh(SERVE), lifecycle: { preStop: { tcpSocket: nobody } } }, once)
    await pods.ready('late')
    await pods.holds(() => expect(pods.status('early')?.phase).toMatch(/Failed|Succeeded/))
    const round = createServer((_, response) => response.writeHead(302, { location: '/round' }).end())
    await new Promise<void>((resolve) => round.listen(0, '127.0.0.1', resolve))
    const postStart = { httpGet: { ...nobody, port: (round.address() as AddressInfo).port } }
    await pods.run('round', { ...sh(SERVE), lifecycle: { postStart } }, once)
    await pods.holds(() => expect(pods.status('round')?.phase).toMatch(/Failed|Succeeded/))
    round.close()
    await Promise.all(['early', 'late', 'round'].map((name) => pods.remove(name)))
    const told = (reason: string) => pods.harness.events.filter((event) => event.reason === reason)
    await pods.holds(() => {
      expect(told('FailedPostStartHook')).toMatchObject([
        { name: 'early', message: expect.stringMatching(/REFUSED/) },
        { name: 'round', message: expect.stringMatching(/stopped after 10 redirects/) },
      ])
      expect(told('FailedPreStopHook')).toMatchObject([{ name: 'late', message: expect.stringMatching(/REFUSED/) }])
    })
  })
})

describe('sidecars', () => {
  const sidecar = (name: string, script: string) => ({
    name,
    image: 'busybox:1',
    restartPolicy: 'Always' as const,
    ...sh(script),
    env: [{ name: 'NAME', value: name }],
  })

  test('start in order, one after another has started; a job ends without them, and they go last first', async () => {
    await pods.run(
      'job',
      { ...sh('echo app >> /out/log; exec sleep 1') },
      {
        ...volume(),
        restartPolicy: 'Never',
        initContainers: [
          {
            ...sidecar('one', `echo one >> /out/log; sleep 0.3; touch /out/up; ${SERVE}`),
            startupProbe: {
              exec: { command: ['/bin/test', '-e', '/out/up'] },
              periodSeconds: 1,
              timeoutSeconds: 5,
              failureThreshold: 30,
            },
          },
          { name: 'init', image: 'busybox:1', ...sh('ls /out/up && echo init >> /out/log') },
          sidecar('two', `echo two >> /out/log; ${SERVE}`),
        ],
      },
    )
    await pods.holds(() => expect(pods.status('job')?.phase).toBe('Succeeded'))
    expect(lines()).toEqual(['one', 'init', 'two', 'app', 'TERM two', 'TERM one'])
    expect(pods.container('job', 'one')?.state?.terminated).toMatchObject({ exitCode: 0 })
    await pods.remove('job')
    await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
  })

  test('one that dies is started again, without the pod; its probe counts for the pod', async () => {
    const readinessProbe = { exec: { command: ['/bin/test', '-e', '/out/ready'] }, periodSeconds: 1, timeoutSeconds: 5 }
    await pods.run('p', sh(SERVE), { ...volume(), initContainers: [{ ...sidecar('side', SERVE), readinessProbe }] })
    await pods.holds(() => expect(pods.container('p')).toMatchObject({ ready: true }))
    expect(pods.isReady('p')).toBe(false)
    writeFileSync(join(directory, 'ready'), '')
    await pods.ready('p')
    const containers = await runtimeHost.driver.listContainers()
    process.kill(containers.find(({ name, phase }) => name === 'side' && phase === 'running')?.pid ?? 0, 'SIGKILL')
    await pods.holds(() => expect(pods.container('p', 'side')).toMatchObject({ restartCount: 1, ready: true }))
    expect(pods.container('p')).toMatchObject({ restartCount: 0, ready: true })
    await pods.ready('p')
    await pods.remove('p')
  })
})

describe('a container that crashes', () => {
  test('is started again at once, then after a back-off that is told, and at once when it had run well', async () => {
    await pods.run('crashes', sh('[ -e /out/stay ] || exit 3; sleep 1000'), volume())
    const backingOff = () =>
      expect(pods.container('crashes')).toMatchObject({
        restartCount: 1,
        state: { waiting: { reason: 'CrashLoopBackOff', message: expect.stringMatching(/^back-off 10s restarting/) } },
        lastState: { terminated: { exitCode: 3, reason: 'Error' } },
      })
    await pods.holds(backingOff)
    await pods.holds(() => expect(pods.harness.events.map(({ reason }) => reason)).toContain('BackOff'))
    writeFileSync(join(directory, 'stay'), '')
    expect(await waitedMs(2)).toBeGreaterThanOrEqual(9_000)

    // As if it had been started eleven minutes ago, which is what the disk says to an agent made anew.
    const { id = '', pid = 0 } =
      (await runtimeHost.driver.listContainers()).find(({ phase }) => phase === 'running') ?? {}
    const path = join(runtimeHost.directory, 'data/c', id, 'started.json')
    await pods.holds(() => expect(existsSync(path)).toBe(true))
    await opened.agent.stop()
    const record = JSON.parse(readFileSync(path, 'utf8'))
    writeFileSync(path, JSON.stringify({ ...record, startedAtMs: record.startedAtMs - 660_000 }))
    opened.agent = await pods.startAgent(addressOf(opened.dispatch))
    process.kill(pid, 'SIGKILL')
    // A third crash in a row would wait for 20 s.
    expect(await waitedMs(3)).toBeLessThan(15_000)
    await pods.remove('crashes')
  })

  /** From its last end to its start after so many; the status has whole seconds. */
  async function waitedMs(restartCount: number): Promise<number> {
    await pods.holds(() => expect(pods.container('crashes')).toMatchObject({ restartCount, state: { running: {} } }))
    const { state, lastState } = pods.container('crashes') ?? {}
    return Date.parse(state?.running?.startedAt ?? '') - Date.parse(lastState?.terminated?.finishedAt ?? '')
  }
})

describe('probes and limits', () => {
  test('named ports, headers and paths of a probe, and the grace that a failed one gives', async () => {
    const answers = await serving()
    try {
      const get = {
        path: '/healthz?deep=1',
        port: 'web',
        host: '127.0.0.1',
        httpHeaders: [{ name: 'X-Who', value: 'probe' }],
      }
      await pods.run(
        'probed',
        {
          // Heeds no signal: it lives for as long as its grace.
          ...sh('trap "" TERM; while true; do sleep 0.05; done'),
          ports: [{ name: 'web', containerPort: answers.port }],
          readinessProbe: { httpGet: get },
          livenessProbe: {
            exec: { command: ['/bin/test', '!', '-e', '/out/sick'] },
            periodSeconds: 1,
            timeoutSeconds: 5,
            failureThreshold: 2,
            terminationGracePeriodSeconds: 1,
          },
        },
        { ...volume(), terminationGracePeriodSeconds: 600 },
      )
      await pods.ready('probed')
      expect(answers.paths[0]).toBe('/healthz?deep=1 probe')
      writeFileSync(join(directory, 'sick'), '')
      await pods.holds(() => expect(pods.container('probed')?.restartCount).toBeGreaterThan(0))
      expect(pods.container('probed')?.lastState?.terminated?.exitCode).toBe(137)
      await pods.remove('probed', 1)
    } finally {
      answers.server.close()
    }
  })

  test('a TCP probe follows who listens', async () => {
    const port = await freePort()
    const readinessProbe = { tcpSocket: { port, host: '127.0.0.1' }, periodSeconds: 1, failureThreshold: 1 }
    await pods.run('connects', { ...sh(SERVE), readinessProbe }, volume())
    await pods.holds(() => expect(pods.harness.events.map(({ message }) => message).join()).toMatch(/REFUSED/))
    expect(pods.isReady('connects')).toBe(false)
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    await pods.ready('connects')
    server.close()
    await pods.holds(() => expect(pods.isReady('connects')).toBe(false))
    await pods.remove('connects')
  })

  test('a probe begins after its delay; so many successes make ready, so many failures and no fewer make it not', async () => {
    const statuses: number[] = []
    const askedMs: number[] = []
    const server = createServer((_, response) => {
      askedMs.push(systemClock.now())
      response.writeHead(statuses.shift() ?? 200).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    try {
      const readinessProbe = {
        httpGet: { port, host: '127.0.0.1' },
        initialDelaySeconds: 2,
        periodSeconds: 1,
        successThreshold: 2,
        failureThreshold: 3,
        timeoutSeconds: 10,
      }
      await pods.run('patient', { ...sh(SERVE), readinessProbe }, volume())
      await pods.ready('patient')
      const startedMs = Date.parse(pods.container('patient')?.state?.running?.startedAt ?? '')
      expect((askedMs[0] ?? 0) - startedMs).toBeGreaterThanOrEqual(2_000)
      // Two moments, not one asked twice.
      expect((askedMs[1] ?? 0) - (askedMs[0] ?? 0)).toBeGreaterThanOrEqual(900)

      const seen: boolean[] = []
      const stop = pods.harness.resources.subscribe(podKind, () => seen.push(pods.isReady('patient')))
      const answered = async (count: number): Promise<void> => {
        const from = askedMs.length
        await pods.holds(() => expect(askedMs.length).toBeGreaterThan(from + count))
      }
      statuses.push(503, 503, 200)
      await answered(4)
      expect(seen).not.toContain(false)
      statuses.push(503, 503, 503)
      await pods.holds(() => expect(seen).toContain(false))
      expect(statuses).toEqual([])
      await pods.ready('patient')
      stop()
      await pods.remove('patient')
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  test('what does not answer in its time has failed: a request, a program, a start', async () => {
    const silent = createServer(() => undefined)
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as AddressInfo
    const soon = { periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1 }
    try {
      const httpGet = { port, host: '127.0.0.1' }
      const slow = { exec: { command: ['/bin/sleep', '600'] } }
      await pods.run('asks', { ...sh(SERVE), readinessProbe: { ...soon, httpGet } }, volume())
      await pods.run('runs', { ...sh(SERVE), livenessProbe: { ...soon, ...slow } }, volume())
      await pods.run('starts', { ...sh(SERVE), startupProbe: { ...soon, ...slow, failureThreshold: 2 } }, volume())
      const told = (name: string): string =>
        pods.harness.events.flatMap((event) => (event.name === name ? [event.message] : [])).join('\n')
      await pods.holds(() => expect(told('asks')).toMatch(/no answer from .* within 1000 ms/))
      for (const [name, kind] of [
        ['runs', 'liveness'],
        ['starts', 'startup'],
      ] as const) {
        await pods.holds(() => expect(pods.container(name)?.restartCount).toBeGreaterThan(0))
        expect(told(name)).toContain(`Container app failed ${kind} probe, will be restarted`)
      }
      expect(pods.isReady('asks')).toBe(false)
      expect(pods.container('starts')).toMatchObject({ started: false, ready: false })
      await Promise.all(['asks', 'runs', 'starts'].map((name) => pods.remove(name)))
      // Nor is a program left behind that was given up.
      await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
    } finally {
      silent.closeAllConnections()
      silent.close()
    }
  })

  test('an HTTPS probe takes any certificate, and a plain server for none', async () => {
    let status = 503
    const secure = await servingSecurely(() => status)
    const plain = await serving()
    const probed = (port: number) => ({
      ...sh(SERVE),
      readinessProbe: { httpGet: { port, host: '127.0.0.1', scheme: 'HTTPS' as const }, periodSeconds: 1 },
    })
    try {
      await pods.run('secure', probed(secure.port), volume())
      await pods.run('plain', probed(plain.port), volume())
      await pods.holds(() => expect(pods.harness.events.map(({ message }) => message).join()).toMatch(/503/))
      expect(pods.isReady('secure')).toBe(false)
      status = 200
      await pods.ready('secure')
      expect(pods.isReady('plain')).toBe(false)
      status = 503
      await pods.holds(() => expect(pods.isReady('secure')).toBe(false))
      await Promise.all(['secure', 'plain'].map((name) => pods.remove(name)))
    } finally {
      secure.server.close()
      plain.server.close()
    }
  })

  test('a probe follows redirects to its own host, and takes one that leads elsewhere for an answer', async () => {
    let status = 500
    const places: Record<string, string> = { '/': '/real', '/away': 'http://elsewhere.invalid/', '/round': '/round' }
    const server = createServer((request, response) => {
      const location = places[request.url ?? '']
      if (location === undefined) response.writeHead(status).end()
      else response.writeHead(302, { location }).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const probed = (path: string) => ({
      ...sh(SERVE),
      readinessProbe: { httpGet: { port, host: '127.0.0.1', path }, periodSeconds: 1 },
    })
    try {
      await Promise.all(['/', '/away', '/round'].map((path, i) => pods.run(`p${i}`, probed(path), volume())))
      await pods.ready('p1')
      const told = () => pods.harness.events.map(({ name, message }) => `${name}: ${message}`).join('\n')
      await pods.holds(() => expect(told()).toMatch(/p0: .*status code 500/))
      await pods.holds(() => expect(told()).toMatch(/p2: .*stopped after 10 redirects/))
      expect([pods.isReady('p0'), pods.isReady('p2')]).toEqual([false, false])
      status = 200
      await pods.ready('p0')
      await Promise.all(['p0', 'p1', 'p2'].map((name) => pods.remove(name)))
    } finally {
      server.close()
    }
  })

  test('a gRPC probe, and the last words of a container that failed without a message', async () => {
    const grpc = await healthServer()
    try {
      await pods.run(
        'grpc',
        { ...sh(SERVE), readinessProbe: { grpc: { port: grpc.port, service: 'ready' } } },
        volume(),
      )
      await pods.run(
        'wordy',
        {
          ...sh('echo first; echo the disk is on fire >&2; exit 3'),
          terminationMessagePolicy: 'FallbackToLogsOnError',
        },
        { ...volume(), restartPolicy: 'Never' },
      )
      await pods.holds(() => expect(pods.container('wordy')?.state?.terminated).toMatchObject({ exitCode: 3 }))
      expect(pods.container('wordy')?.state?.terminated?.message).toBe('first\nthe disk is on fire')
      await pods.holds(() => expect(grpc.asked).toContain('ready'))
      expect(pods.container('grpc')).toMatchObject({ ready: false })
      grpc.serving = true
      await pods.ready('grpc')
      await pods.remove('grpc')
      await pods.remove('wordy')
    } finally {
      grpc.close()
    }
  })

  test('a pod whose time is over is stopped and has failed, also under another agent', async () => {
    await pods.run('late', sh(SERVE), { ...volume(), restartPolicy: 'Never', activeDeadlineSeconds: 3 })
    await pods.ready('late')
    await opened.agent.stop()
    await pods.startAgent(addressOf(opened.dispatch))
    await pods.holds(() => expect(pods.status('late')).toMatchObject({ phase: 'Failed', reason: 'DeadlineExceeded' }))
    const { startTime = '' } = pods.status('late') ?? {}
    const finishedAt = pods.container('late')?.state?.terminated?.finishedAt ?? ''
    expect(Date.parse(finishedAt) - Date.parse(startTime)).toBeGreaterThanOrEqual(3_000)
    expect(pods.harness.resources.get(podKind, 'default', 'late')?.metadata.deletionTimestamp).toBeUndefined()
    await pods.remove('late')
  })
})
