import { describe, expect, test } from 'vitest'
import { attemptKey, NOTE, type PodFacts, restartDelayMs } from '../../src/agent/pod/facts.ts'
import { planPod } from '../../src/agent/pod/plan_pod.ts'
import type { Container } from '../../src/api/pod.ts'

import { brief, container, exited, factsOf, forced, NOW, podOf, present } from '../support/pod_facts.ts'

const sidekick: Container = { name: 'side', image: 'side:1' }
const init: Container = { name: 'init', image: 'init:1' }

const TABLE: [name: string, facts: Partial<PodFacts>, plan: string][] = [
  ['waits for the network', { prepared: false, networkReady: false }, 'rest'],
  [
    'needs no overlay on the host network',
    { prepared: false, networkReady: false, pod: podOf({ hostNetwork: true }) },
    'prepare',
  ],
  ['prepares first', { prepared: false }, 'prepare'],
  ['backs off preparing', { prepared: false, preparing: { reason: 'FailedMount', retryAtMs: NOW + 500 } }, 'wait 500'],
  ['asks for the image', {}, 'image app 0'],
  ['waits for a pull', { images: new Map([['app/0', { state: 'pulling' }]]) }, 'rest'],
  ['starts', { images: present('app/0') }, 'start app 0 0 false'],
  [
    'waits while it cannot be made',
    { images: present('app/0'), blocked: new Map([['app/0', { reason: 'X', retryAtMs: NOW + 9 }]]) },
    'wait 9',
  ],
  ['leaves a running container alone', { containers: [container('app', 0)] }, 'rest'],
  [
    'starts the second while the first pulls',
    {
      pod: podOf({ containers: [{ name: 'app', image: 'app:1' }, sidekick] }),
      images: new Map([
        ['app/0', { state: 'pulling' }],
        ['side/0', { state: 'present' }],
      ]),
    },
    'start side 0 0 false',
  ],
  [
    'restarts at once the first time',
    { containers: [exited('app', 0, 1)], images: present('app/1') },
    'start app 1 1 false',
  ],
  ['then backs off ten seconds', { containers: [exited('app', 1, 1, 4_000)], images: present('app/2') }, 'wait 6000'],
  [
    'forgets crashes after a long run',
    { containers: [{ ...exited('app', 5, 1), startedAtMs: NOW - 700_000 }], images: present('app/6') },
    'start app 6 1 false',
  ],
  ['Never stays down', { pod: podOf({ restartPolicy: 'Never' }), containers: [exited('app', 0, 1)] }, 'release'],
  [
    'OnFailure stays down after success',
    { pod: podOf({ restartPolicy: 'OnFailure' }), containers: [exited('app', 0, 0)] },
    'release',
  ],
  [
    'OnFailure restarts after failure',
    { pod: podOf({ restartPolicy: 'OnFailure' }), containers: [exited('app', 0, 2)], images: present('app/1') },
    'start app 1 1 false',
  ],
  ['starts nothing while it is fenced', { images: present('app/0'), fenced: true }, 'rest'],
  [
    'restarts nothing while it is fenced',
    { containers: [exited('app', 0, 137)], images: present('app/1'), fenced: true },
    'rest',
  ],
  ['leaves to the fencer what runs', { containers: [container('app', 0)], fenced: true }, 'rest'],
  [
    'holds a death by the fencer against nobody',
    { containers: [exited('app', 3, 137, 500)], images: present('app/4'), fencedAtMs: NOW - 1_500 },
    'start app 4 0 false',
  ],
  [
    'but another death it does',
    { containers: [exited('app', 1, 137, 4_000)], images: present('app/2'), fencedAtMs: NOW - 60_000 },
    'wait 6000',
  ],
  ['init first', { pod: podOf({ initContainers: [init] }), images: present('init/0') }, 'start init 0 0 true'],
  ['waits for init', { pod: podOf({ initContainers: [init] }), containers: [container('init', 0)] }, 'rest'],
  [
    'goes on after init',
    { pod: podOf({ initContainers: [init] }), containers: [exited('init', 0, 0)], images: present('app/0') },
    'start app 0 0 false',
  ],
  [
    'a failed init fails a Never pod',
    { pod: podOf({ initContainers: [init], restartPolicy: 'Never' }), containers: [exited('init', 0, 1)] },
    'release',
  ],
  [
    'does not run init again for an adopted pod',
    { pod: podOf({ initContainers: [init] }), containers: [container('app', 0)] },
    'rest',
  ],
  [
    'keeps one dead container',
    { containers: [exited('app', 0, 1), exited('app', 1, 1), container('app', 2)] },
    'remove app-0',
  ],
  ['removes a half-made container', { containers: [container('app', 0, { phase: 'created' })] }, 'remove app-0'],
  [
    'stops an unhealthy container',
    {
      containers: [container('app', 0)],
      probes: new Map([['app-0', { started: true, ready: true, unhealthy: 'sick' }]]),
    },
    `signal app-0 SIGTERM ${NOW + 30_000} sick`,
  ],
  [
    'stops a container of another image',
    { containers: [container('app', 0, { annotations: { [NOTE.image]: 'app:0' } })] },
    `signal app-0 SIGTERM ${NOW + 30_000} the image of the container has changed`,
  ],
  ['refreshes volumes', { containers: [container('app', 0)], volumesStale: true }, 'refreshVolumes'],
  [
    'termination signals',
    { terminateByMs: NOW + 100, containers: [container('app', 0)] },
    `signal app-0 SIGTERM ${NOW + 100} the pod is being deleted`,
  ],
  [
    'termination waits',
    {
      terminateByMs: NOW + 100,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW + 100 }]]),
    },
    'wait 100',
  ],
  [
    'termination kills',
    { terminateByMs: NOW, containers: [container('app', 0)], stops: new Map([['app-0', { deadlineMs: NOW }]]) },
    'kill app-0',
  ],
  ['no grace kills at once', { pod: forced(), terminateByMs: NOW, containers: [container('app', 0)] }, 'kill app-0'],
  [
    'also what was asked before',
    {
      pod: forced(),
      terminateByMs: NOW,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW + 9_000, notBeforeMs: NOW + 2_000 }]]),
    },
    'kill app-0',
  ],
  [
    'nor is a grace of none waited for before a pod is to go',
    { failed: { reason: 'X', message: 'x', graceSeconds: 0 }, containers: [container('app', 0)] },
    'kill app-0',
  ],
  [
    'a grace that is over was given: who was not asked is asked',
    { terminateByMs: NOW - 1, containers: [container('app', 0)] },
    `signal app-0 SIGTERM ${NOW - 1} the pod is being deleted`,
  ],
  [
    'and has a little time',
    {
      terminateByMs: NOW - 1,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW - 1, notBeforeMs: NOW + 2_000 }]]),
    },
    'wait 2000',
  ],
  [
    'a shorter grace counts',
    { terminateByMs: NOW, containers: [container('app', 0)], stops: new Map([['app-0', { deadlineMs: NOW + 9_000 }]]) },
    'kill app-0',
  ],
  [
    'kills again',
    {
      terminateByMs: NOW,
      containers: [container('app', 0)],
      stops: new Map([['app-0', { deadlineMs: NOW, killedAtMs: NOW - 2_000 }]]),
    },
    'kill app-0',
  ],
  [
    'waits for leave',
    {
      terminateByMs: NOW + 100,
      containers: [container('app', 0)],
      drain: { leaveByMs: NOW + 50, quietByMs: undefined, looked: undefined },
    },
    'wait 50',
  ],
  [
    'no longer than its time',
    {
      terminateByMs: NOW + 100,
      containers: [container('app', 0)],
      drain: { leaveByMs: NOW, quietByMs: undefined, looked: undefined },
    },
    `signal app-0 SIGTERM ${NOW + 100} the pod is being deleted`,
  ],
  [
    'then looks at connections',
    {
      terminateByMs: NOW + 900,
      containers: [container('app', 0, { pid: 7 })],
      drain: { leaveByMs: undefined, quietByMs: NOW + 500, looked: undefined },
    },
    'look 7',
  ],
  [
    'waits while they are busy, and looks again',
    {
      terminateByMs: NOW + 900,
      containers: [container('app', 0, { pid: 7 })],
      drain: { leaveByMs: undefined, quietByMs: NOW + 500, looked: { atMs: NOW - 40, busy: 1 } },
    },
    'wait 60',
  ],
  [
    'signals when they are quiet',
    {
      terminateByMs: NOW + 900,
      containers: [container('app', 0, { pid: 7 })],
      drain: { leaveByMs: undefined, quietByMs: NOW + 500, looked: { atMs: NOW, busy: 0 } },
    },
    `signal app-0 SIGTERM ${NOW + 900} the pod is being deleted`,
  ],
  [
    'or when they have had their time',
    {
      terminateByMs: NOW + 900,
      containers: [container('app', 0, { pid: 7 })],
      drain: { leaveByMs: undefined, quietByMs: NOW, looked: { atMs: NOW, busy: 1 } },
    },
    `signal app-0 SIGTERM ${NOW + 900} the pod is being deleted`,
  ],
  ['removes the dead', { terminateByMs: NOW, containers: [exited('app', 0, 0)] }, 'remove app-0'],
  ['cleans up', { terminateByMs: NOW }, 'cleanUp'],
  ['reports', { terminateByMs: NOW, cleaned: true }, 'reportRemoved'],
  [
    'takes an orphan down',
    { pod: undefined, terminateByMs: NOW + 2_000, containers: [container('app', 0)] },
    `signal app-0 SIGTERM ${NOW + 2_000} the pod is being deleted`,
  ],
]

describe('planPod', () => {
  test.each(TABLE)('%s', (_name, facts, plan) => {
    expect(brief(planPod(factsOf(facts)))).toBe(plan)
  })

  test('a failed pull is shown, then waited for, then tried again', () => {
    const failed = (agoMs: number): PodFacts['images'] =>
      new Map([
        [
          'app/0',
          {
            state: 'failed',
            reason: 'ErrImagePull',
            failedAtMs: NOW - agoMs,
            failures: 1,
            retryAtMs: NOW - agoMs + 10_000,
          },
        ],
      ])
    expect(brief(planPod(factsOf({ images: failed(500) })))).toBe('wait 1500')
    expect(brief(planPod(factsOf({ images: failed(3_000) })))).toBe('wait 7000')
    expect(brief(planPod(factsOf({ images: failed(10_000) })))).toBe('image app 0')
  })

  test('a pod that ended stays ended, whatever is on disk', () => {
    const pod = { ...podOf(), status: { phase: 'Failed' as const } }
    expect(brief(planPod(factsOf({ pod })))).toBe('release')
    expect(brief(planPod(factsOf({ pod, released: true })))).toBe('rest')
    expect(brief(planPod(factsOf({ pod, containers: [container('app', 0)] })))).toContain('signal app-0')
  })

  test('back-off: none, then 10 s, doubling to 300 s', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 100].map(restartDelayMs)).toEqual([
      0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000,
    ])
  })

  test('keys', () => expect(attemptKey('app', 3)).toBe('app/3'))
})
