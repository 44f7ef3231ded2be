/** Hooks, sidecars and time limits: what the planner and the worker make of them. */
import { describe, expect, test } from 'vitest'
import { outcome, type PodFacts, type ProbeFact } from '../../src/agent/pod/facts.ts'
import { LAST_LOG_BYTES, lastWords } from '../../src/agent/pod/last_words.ts'
import { planPod } from '../../src/agent/pod/plan_pod.ts'
import { podStatus } from '../../src/agent/pod/status.ts'
import { signalName } from '../../src/agent/pod/stop_signal.ts'
import { startErrorRecord } from '../../src/agent/runtime/state.ts'
import type { Container, Pod } from '../../src/api/pod.ts'
import { timestamp } from '../../src/base/clock.ts'
import { eventually } from '../support/eventually.ts'
import { brief, container, exited, factsOf, forced, NOW, podOf, present } from '../support/pod_facts.ts'
import { World, podOf as worldPod } from '../support/pod_world.ts'

const app: Container = { name: 'app', image: 'app:1' }
const sidecar = (name: string): Container => ({ name, image: `${name}:1`, restartPolicy: 'Always' })
const init = (name: string): Container => ({ name, image: `${name}:1` })
const hooked: Container = { ...app, lifecycle: { postStart: { exec: { command: ['/s'] } } } }
const stopHooked: Container = { ...app, lifecycle: { preStop: { exec: { command: ['/s'] } } } }

const second: Container = { name: 'side', image: 'side:1' }
const inTurn = podOf({ containers: [hooked, second] })
const both = present('app/0', 'side/0')

const started: ProbeFact = { started: true, ready: true }
const proxied = podOf({ initContainers: [sidecar('proxy'), init('init'), sidecar('logs')] })

const TABLE: [name: string, facts: Partial<PodFacts>, plan: string][] = [
  [
    'the hook follows the start',
    { pod: podOf({ containers: [hooked] }), containers: [container('app', 0)] },
    'postStart app-0',
  ],
  [
    'once',
    { pod: podOf({ containers: [hooked] }), containers: [container('app', 0)], hooks: new Map([['app-0', 'running']]) },
    'rest',
  ],
  [
    'its failure ends the container, with its grace',
    {
      pod: podOf({ containers: [hooked], terminationGracePeriodSeconds: 7 }),
      containers: [container('app', 0)],
      hooks: new Map([['app-0', { failed: 'FailedPostStartHook' }]]),
    },
    `signal app-0 SIGTERM ${NOW + 7_000} FailedPostStartHook`,
  ],
  ['the next container waits for its start', { pod: inTurn, images: present('side/0') }, 'image app 0'],
  ['for its image', { pod: inTurn, images: new Map([...present('side/0'), ['app/0', { state: 'pulling' }]]) }, 'rest'],
  [
    'and its hook',
    { pod: inTurn, containers: [container('app', 0)], images: both, hooks: new Map([['app-0', 'running']]) },
    'rest',
  ],
  [
    'while its own image is pulled',
    { pod: inTurn, containers: [container('app', 0)], hooks: new Map([['app-0', 'running']]) },
    'image side 0',
  ],
  [
    'and starts when the hook is over',
    { pod: inTurn, containers: [container('app', 0)], images: both, hooks: new Map([['app-0', 'done']]) },
    'start side 0 0 false',
  ],
  [
    'or when the hook has failed and its container has ended',
    {
      pod: { ...inTurn, spec: { ...inTurn.spec, restartPolicy: 'Never' } },
      containers: [exited('app', 0, 143)],
      images: both,
      hooks: new Map([['app-0', { failed: 'FailedPostStartHook' }]]),
    },
    'start side 0 0 false',
  ],
  [
    'not before it has ended',
    {
      pod: inTurn,
      containers: [container('app', 0)],
      images: both,
      hooks: new Map([['app-0', { failed: 'FailedPostStartHook' }]]),
      stops: new Map([['app-0', { deadlineMs: NOW + 700 }]]),
    },
    'wait 700',
  ],
  [
    'it waits for no second start',
    {
      pod: inTurn,
      containers: [exited('app', 0, 143), container('app', 1)],
      images: both,
      hooks: new Map([['app-1', 'running']]),
    },
    'start side 0 0 false',
  ],
  [
    'nor is its own second start held back',
    {
      pod: inTurn,
      containers: [container('app', 0), exited('side', 0, 0)],
      images: present('side/1'),
      hooks: new Map([['app-0', 'running']]),
    },
    'start side 1 1 false',
  ],
  [
    'nor does it wait for one that cannot be pulled',
    {
      pod: inTurn,
      images: new Map([
        ['app/0', { state: 'failed', reason: 'ErrImagePull', failedAtMs: NOW, failures: 1, retryAtMs: NOW + 9_000 }],
        ['side/0', { state: 'present' }],
      ]),
    },
    'start side 0 0 false',
  ],
  [
    'or started',
    { pod: inTurn, images: both, blocked: new Map([['app/0', { reason: 'RunContainerError', retryAtMs: NOW + 9 }]]) },
    'start side 0 0 false',
  ],
  [
    'one before it waits for nobody',
    { pod: podOf({ containers: [second, hooked] }), images: both },
    'start side 0 0 false',
  ],
  [
    'preStop comes before the signal',
    { pod: podOf({ containers: [stopHooked] }), terminateByMs: NOW + 900, containers: [container('app', 0)] },
    `preStop app-0 ${NOW + 900} the pod is being deleted`,
  ],
  [
    'and after the leave to stop',
    {
      pod: podOf({ containers: [stopHooked] }),
      terminateByMs: NOW + 900,
      containers: [container('app', 0)],
      drain: { leaveByMs: NOW + 50, quietByMs: undefined, looked: undefined },
    },
    'wait 50',
  ],
  [
    'no longer than the grace',
    {
      pod: podOf({ containers: [stopHooked] }),
      terminateByMs: NOW + 900,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW + 900, before: 'hook' }]]),
    },
    'wait 900',
  ],
  [
    'then the program still hears of it',
    {
      pod: podOf({ containers: [stopHooked] }),
      terminateByMs: NOW,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW, before: 'hook' }]]),
    },
    `signal app-0 SIGTERM ${NOW} the pod is being deleted`,
  ],
  [
    'and has a little time of its own',
    {
      pod: podOf({ containers: [stopHooked] }),
      terminateByMs: NOW - 500,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW - 500, notBeforeMs: NOW + 1_500 }]]),
    },
    'wait 1500',
  ],
  [
    'no hook where no grace is given',
    { pod: forced({ containers: [stopHooked] }), terminateByMs: NOW, containers: [container('app', 0)] },
    'kill app-0',
  ],
  [
    'nor is one waited for when none is given any more',
    {
      pod: forced({ containers: [stopHooked] }),
      terminateByMs: NOW,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW + 9_000, before: 'hook' }]]),
    },
    'kill app-0',
  ],
  [
    'nor where the grace is over, but the program hears of it',
    { pod: podOf({ containers: [stopHooked] }), terminateByMs: NOW, containers: [container('app', 0)] },
    `signal app-0 SIGTERM ${NOW} the pod is being deleted`,
  ],
  [
    'a probe has a grace of its own',
    {
      containers: [container('app', 0)],
      probes: new Map([['app-0', { started: true, ready: false, unhealthy: 'sick', graceSeconds: 3 }]]),
    },
    `signal app-0 SIGTERM ${NOW + 3_000} sick`,
  ],
  ['a sidecar starts first', { pod: proxied, images: present('proxy/0') }, 'start proxy 0 0 true'],
  ['the next waits until it has started', { pod: proxied, containers: [container('proxy', 0)] }, 'rest'],
  [
    'and then goes on beside it',
    {
      pod: proxied,
      containers: [container('proxy', 0)],
      probes: new Map([['proxy-0', started]]),
      images: present('init/0'),
    },
    'start init 0 0 true',
  ],
  [
    'a sidecar that dies is started again, and the pod does not go back to it',
    {
      pod: proxied,
      containers: [exited('proxy', 0, 0), container('init', 0)],
      images: present('proxy/1'),
    },
    'start proxy 1 1 true',
  ],
  [
    'containers follow the last sidecar',
    {
      pod: proxied,
      containers: [container('proxy', 0), exited('init', 0, 0), container('logs', 0)],
      probes: new Map([
        ['proxy-0', started],
        ['logs-0', started],
      ]),
      images: present('app/0'),
    },
    'start app 0 0 false',
  ],
  [
    'a sidecar is started again beside the containers, whatever the policy',
    {
      pod: { ...proxied, spec: { ...proxied.spec, restartPolicy: 'Never' } },
      containers: [container('proxy', 0), exited('init', 0, 0), exited('logs', 0, 0), container('app', 0)],
      images: present('logs/1'),
    },
    'start logs 1 1 true',
  ],
  [
    'the containers stop first',
    {
      pod: proxied,
      terminateByMs: NOW + 900,
      containers: [container('proxy', 0), container('logs', 0), container('app', 0)],
    },
    `signal app-0 SIGTERM ${NOW + 900} the pod is being deleted`,
  ],
  [
    'sidecars wait for them',
    {
      pod: proxied,
      terminateByMs: NOW + 900,
      containers: [container('proxy', 0), container('logs', 0), container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW + 900 }]]),
    },
    'wait 900',
  ],
  [
    'then they go in reverse order',
    {
      pod: proxied,
      terminateByMs: NOW + 900,
      containers: [container('proxy', 0), container('logs', 0), exited('app', 0, 0)],
    },
    `signal logs-0 SIGTERM ${NOW + 900} the pod is being deleted`,
  ],
  [
    'to the first',
    {
      pod: proxied,
      terminateByMs: NOW + 900,
      containers: [container('proxy', 0), exited('logs', 0, 0), exited('app', 0, 0)],
    },
    `signal proxy-0 SIGTERM ${NOW + 900} the pod is being deleted`,
  ],
  [
    'all are asked when the grace is over',
    {
      pod: proxied,
      terminateByMs: NOW,
      containers: [container('proxy', 0), container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW, killedAtMs: NOW }]]),
    },
    `signal proxy-0 SIGTERM ${NOW} the pod is being deleted`,
  ],
  [
    'and killed where none was given',
    {
      pod: forced(proxied.spec),
      terminateByMs: NOW,
      containers: [container('proxy', 0), container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW, killedAtMs: NOW }]]),
    },
    'kill proxy-0',
  ],
  [
    'a pod with a bound is looked at when its time is over',
    { containers: [container('app', 0)], activeUntilMs: NOW + 400 },
    'wait 400',
  ],
  [
    'a pod that failed in time is stopped',
    { containers: [container('app', 0)], failed: { reason: 'DeadlineExceeded', message: 'late' } },
    `signal app-0 SIGTERM ${NOW + 30_000} PodFinished`,
  ],
]

describe('plans of hooks, sidecars and time limits', () => {
  test.each(TABLE)('%s', (_name, facts, plan) => {
    expect(brief(planPod(factsOf(facts)))).toBe(plan)
  })

  const job: Pod = podOf({ restartPolicy: 'Never', initContainers: [sidecar('proxy')] })
  const context = { podIP: '10.0.0.1', hostIP: '192.0.2.1', startedAtMs: NOW, messages: new Map() }

  test('a sidecar does not hold up the end of a job, and the pod is over when the sidecar has stopped', () => {
    const facts = factsOf({ pod: job, containers: [container('proxy', 0), exited('app', 0, 0)] })
    expect(outcome(facts)).toBe('Succeeded')
    expect(brief(planPod(facts))).toBe(`signal proxy-0 SIGTERM ${NOW + 30_000} PodFinished`)
    expect(podStatus(facts, job, context).phase).toBe('Running')
    const over = factsOf({ pod: job, containers: [exited('proxy', 0, 143), exited('app', 0, 0)] })
    expect(podStatus(over, job, context).phase).toBe('Succeeded')
  })

  test('a pod that its node had no room for says so once it has failed; one that passed its own limit does not', () => {
    const failed = { reason: 'Evicted', message: 'The node was low on resource: memory.', isDisruption: true as const }
    const target = (facts: Partial<PodFacts>) =>
      podStatus(factsOf({ pod: job, ...facts }), job, context).conditions?.find(
        ({ type }) => type === 'DisruptionTarget',
      )
    const over = [exited('proxy', 0, 143), exited('app', 0, 143)]
    expect(target({ failed, containers: [container('proxy', 0), container('app', 0)] })).toBeUndefined()
    expect(target({ failed, containers: over })).toMatchObject({
      status: 'True',
      reason: 'TerminationByKubelet',
      message: failed.message,
    })
    expect(target({ failed: { reason: 'Evicted', message: 'x' }, containers: over })).toBeUndefined()
  })

  test('a sidecar counts for the readiness of its pod', () => {
    const containers = [container('proxy', 0), container('app', 0)]
    const probes = new Map([
      ['app-0', started],
      ['proxy-0', { started: true, ready: false }],
    ])
    const status = podStatus(factsOf({ pod: job, containers, probes }), job, context)
    expect(status.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'False',
      message: 'containers with unready status: [proxy]',
    })
    expect(status.initContainerStatuses).toMatchObject([{ name: 'proxy', started: true, ready: false }])
  })

  test('what could not be started is said until it is tried again, and then that its back-off is waited for', () => {
    const statusAfter = (attempt: number) => {
      const { startedAtMs: _never, ...dead } = exited('app', attempt, 128)
      const facts = factsOf({ containers: [{ ...dead, exit: startErrorRecord('no such program', NOW) }] })
      return podStatus(facts, podOf(), context).containerStatuses?.[0]
    }
    const terminated = { exitCode: 128, reason: 'StartError', message: 'no such program', startedAt: timestamp(NOW) }
    expect(statusAfter(0)).toMatchObject({
      state: { waiting: { reason: 'RunContainerError', message: 'no such program' } },
      lastState: { terminated },
    })
    expect(statusAfter(1)).toMatchObject({
      state: { waiting: { reason: 'CrashLoopBackOff', message: expect.stringContaining('back-off 10s') } },
      lastState: { terminated },
    })
  })

  test('until its hook is over a container is being made', () => {
    const pod = podOf({ containers: [hooked] })
    const facts = factsOf({ pod, containers: [container('app', 0)], hooks: new Map([['app-0', 'running']]) })
    expect(podStatus(facts, pod, context).containerStatuses?.[0]).toMatchObject({
      state: { waiting: { reason: 'ContainerCreating' } },
      ready: false,
    })
  })
})

test('stop signals are said in several ways', () => {
  const said = ['SIGQUIT', 'quit', '3', 'SIGRTMIN+3', '37', 'nonsense', '0', '']
  expect(said.map(signalName)).toEqual([
    ...['SIGQUIT', 'SIGQUIT', 'SIGQUIT', 'SIGRTMIN+3', 'SIGRTMIN+3'],
    ...['SIGTERM', 'SIGTERM', 'SIGTERM'],
  ])
})

test('last words are the end of what was said, whole lines first', () => {
  const record = (text: string, tag = 'F') => `2026-11-21T00:00:00.000000000Z stdout ${tag} ${text}\n`
  expect(lastWords(Buffer.from(record('a', 'P') + record('b') + record('c')))).toBe('ab\nc')
  const many = Array.from({ length: 200 }, (_, index) => record(`line ${index}`)).join('')
  const words = lastWords(Buffer.from(many).subarray(-LAST_LOG_BYTES))
  expect(words.split('\n')).toHaveLength(80)
  expect(words.endsWith('line 198\nline 199')).toBe(true)
  expect(Buffer.byteLength(lastWords(Buffer.from(record('ü'.repeat(3_000)))))).toBeLessThanOrEqual(2_048)
})

describe('a worker with hooks, sidecars and time limits', () => {
  test('a postStart hook runs once, also over a restart of the agent, and readiness follows it', async () => {
    const world = new World(worldPod({ containers: [hooked] }))
    const ran: string[] = []
    world.host.execHandler = (args) => {
      ran.push(args.join(' '))
      return { exitCode: 0, output: '' }
    }
    await world.run(1)
    await eventually(() => ran.length === 1)
    await world.run(2)
    expect(world.last?.status.containerStatuses?.[0]).toMatchObject({ ready: true, state: { running: {} } })
    world.restartAgent()
    await world.run(3)
    expect(ran).toEqual(['/s'])
    expect(world.last?.status.containerStatuses?.[0]).toMatchObject({ ready: true })
  })

  test('the containers of a pod start one after another where a postStart hook is to run between them', async () => {
    const postStart = { sleep: { seconds: 5 } }
    const containers = [
      { ...app, lifecycle: { postStart } },
      { name: 'side', image: 'app:1' },
    ]
    const world = new World(worldPod({ containers }))
    await world.run(4)
    expect(world.host.running().map(({ state }) => state.name)).toEqual(['app'])
    world.restartAgent()
    await world.run(4)
    expect(world.host.running()).toHaveLength(1)
    await eventually(async () => {
      await world.run(1)
      return world.host.running('side').length === 1
    })
    expect(world.host.started).toHaveLength(2)
    expect(world.events).not.toContain('FailedPostStartHook')
  })

  test('a postStart hook that fails is told, and its container made anew', async () => {
    const world = new World(worldPod({ containers: [hooked] }))
    world.host.execHandler = () => ({ exitCode: 3, output: 'no' })
    await eventually(async () => {
      await world.run(1)
      return world.host.started.length === 2
    })
    expect(world.events).toContain('FailedPostStartHook')
    expect(world.last?.status.containerStatuses?.[0]).toMatchObject({ ready: false })
  })

  test('a preStop hook runs before the signal; its failure is told and holds nothing up', async () => {
    const world = new World(worldPod({ containers: [stopHooked] }))
    world.host.execHandler = () => {
      world.host.log.push('preStop')
      return { exitCode: 1, output: '' }
    }
    await world.run(2)
    world.delete(20)
    // Nobody says that it has left traffic: half of the grace is waited for that.
    await world.run(14)
    const order = world.host.log.filter((entry) => entry === 'preStop' || entry.startsWith('signal'))
    expect(order).toEqual(['preStop', expect.stringMatching(/^signal SIGTERM/)])
    expect(world.events).toContain('FailedPreStopHook')
    expect(world.last?.removed).toBe(true)
  })

  test('a preStop hook that sleeps too long ends with the grace, and the container still has two seconds', async () => {
    const pod = worldPod({ containers: [{ ...app, lifecycle: { preStop: { sleep: { seconds: 600 } } } }] })
    const world = new World(pod)
    world.host.ignoresTerm.add('app')
    await world.run(2)
    world.delete(5)
    await world.run(4)
    expect(world.host.log.some((entry) => entry.startsWith('signal'))).toBe(false)
    await world.run(2)
    expect(world.host.log.filter((entry) => entry.startsWith('signal'))).toEqual([expect.stringContaining('SIGTERM')])
    expect(world.host.running()).toHaveLength(1)
    await world.run(3)
    expect(world.host.running()).toHaveLength(0)
  })

  test('a sidecar that the others left no time hears of its end, and still has two seconds', async () => {
    const world = new World(worldPod({ initContainers: [{ ...sidecar('proxy'), image: 'app:1' }] }))
    world.host.ignoresTerm.add('app').add('proxy')
    await world.run(3)
    expect(world.host.running()).toHaveLength(2)
    world.delete(5)
    await world.run(6)
    const signals = () => world.host.log.flatMap((entry) => /^signal (\S+ \w+)/.exec(entry)?.[1] ?? [])
    expect(signals()).toEqual(['SIGTERM app', 'SIGTERM proxy', 'SIGKILL app'])
    expect(world.host.running('proxy')).toHaveLength(1)
    await world.run(3)
    expect(signals()).toEqual(['SIGTERM app', 'SIGTERM proxy', 'SIGKILL app', 'SIGKILL proxy'])
  })

  test('a short grace is two seconds after the signal, and none is none', async () => {
    const killedAfter = async (graceSeconds: number): Promise<number> => {
      const world = new World(worldPod())
      world.host.ignoresTerm.add('app')
      await world.run(2)
      world.delete(graceSeconds)
      for (let seconds = 0; ; seconds++) {
        await world.run(1)
        if (world.host.running().length === 0) return seconds
      }
    }
    expect(await killedAfter(0)).toBe(0)
    expect(await killedAfter(1)).toBeGreaterThanOrEqual(2)
  })

  test('a pod whose time is over fails, though its program ends well when asked; a new agent counts on', async () => {
    const world = new World(worldPod({ activeDeadlineSeconds: 5, restartPolicy: 'Never' }))
    await world.run(3)
    expect(world.last?.status.phase).toBe('Running')
    await world.run(4)
    expect(world.last?.status).toMatchObject({ phase: 'Failed', reason: 'DeadlineExceeded' })
    expect(world.events).toContain('DeadlineExceeded')
  })
})
