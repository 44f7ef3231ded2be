import { afterEach, describe, expect, it } from 'vitest'
import { eventKind } from '../../src/api/event.ts'
import { nodeKind } from '../../src/api/node.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createEventRecorder, createEventSweeper, planSweep } from '../../src/resources/events.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const running: TestResources[] = []
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop()
})

async function setUp({ gatherMs = 0 } = {}) {
  const clock = createManualClock()
  const test = await runResources({ clock })
  running.push(test)
  const { resources } = test
  const recorder = createEventRecorder({
    resources,
    clock,
    random: seededRandom(1),
    log: silentLogger,
    component: 'tests',
    gatherMs,
  })
  return { ...test, clock, recorder }
}

const about = (name: string, namespace?: string) => ({
  apiVersion: 'v1',
  kind: namespace === undefined ? 'Node' : 'Pod',
  metadata: { name, uid: `uid-${name}`, ...(namespace === undefined ? {} : { namespace }) },
})

describe('the recorder', () => {
  it('writes an event about an object where the object is', async () => {
    const { resources, recorder } = await setUp()
    recorder.record(about('web', 'kube-system'), 'Normal', 'Started', 'it runs')
    recorder.record(about('n1'), 'Warning', 'Lost', 'it is gone')
    await recorder.flush()
    const events = resources.list(eventKind)
    expect(
      events.map((event) => [event.metadata.namespace, event.involvedObject.name, event.reason, event.count]),
    ).toEqual([
      ['default', 'n1', 'Lost', 1],
      ['kube-system', 'web', 'Started', 1],
    ])
    expect(events[1]).toMatchObject({
      type: 'Normal',
      source: { component: 'tests' },
      firstTimestamp: '2026-01-01T00:00:00Z',
      involvedObject: { kind: 'Pod', uid: 'uid-web', namespace: 'kube-system' },
    })
  })

  it('holds events back for as long as it was told, and not when it is to finish', async () => {
    const { resources, recorder, clock } = await setUp({ gatherMs: 75 })
    const reasons = () => resources.list(eventKind).map(({ reason }) => reason)
    recorder.record(about('web', 'default'), 'Normal', 'First', 'it runs')
    await clock.advance(74)
    expect(reasons()).toEqual([])
    await clock.advance(1)
    await recorder.flush()
    expect(reasons()).toEqual(['First'])
    recorder.record(about('web', 'default'), 'Normal', 'Second', 'it runs on')
    await recorder.flush()
    expect(reasons().sort()).toEqual(['First', 'Second'])
  })

  it('counts repeats on one object, a few writes for many of them', async () => {
    const { resources, recorder, clock, store } = await setUp()
    for (let i = 0; i < 50; i++) recorder.record(about('web', 'default'), 'Warning', 'BackOff', 'again')
    await recorder.flush()
    for (let i = 0; i < 50; i++) recorder.record(about('web', 'default'), 'Warning', 'BackOff', 'again')
    const before = (await store.health()).revision
    await clock.advance(10_000)
    await recorder.flush()
    expect((await store.health()).revision - before).toBe(1)
    const [event, ...others] = resources.list(eventKind)
    expect(others).toEqual([])
    expect([event?.count, event?.firstTimestamp]).toEqual([100, '2026-01-01T00:00:00Z'])
  })

  it('starts anew when its event has been swept, and survives a namespace that is not there', async () => {
    const { resources, recorder, clock } = await setUp()
    recorder.record(about('web', 'default'), 'Normal', 'A', 'a')
    recorder.record(about('x', 'nowhere'), 'Normal', 'A', 'a')
    await recorder.flush()
    for (const { metadata } of resources.list(eventKind)) await resources.delete(eventKind, 'default', metadata.name)
    await clock.advance(10_000)
    recorder.record(about('web', 'default'), 'Normal', 'A', 'a')
    await recorder.flush()
    expect(resources.list(eventKind).map(({ count }) => count)).toEqual([1])
  })
})

describe('the sweeper', () => {
  it('removes events an hour after they were last seen', async () => {
    const { resources, recorder, clock } = await setUp()
    recorder.record(about('old', 'default'), 'Normal', 'A', 'a')
    await recorder.flush()
    await clock.advance(50 * 60_000)
    recorder.record(about('new', 'default'), 'Normal', 'A', 'a')
    await recorder.flush()
    const controller = new AbortController()
    const sweeping = createEventSweeper({ resources, clock, log: silentLogger }).run(controller.signal)
    await clock.advance(12 * 60_000)
    expect(resources.list(eventKind).map((event) => event.involvedObject.name)).toEqual(['new'])
    controller.abort()
    await sweeping
  })

  it('removes the oldest beyond the bound', async () => {
    const { resources, recorder, clock } = await setUp()
    for (let i = 0; i < 5; i++) {
      recorder.record(about(`p${i}`, 'default'), 'Normal', 'A', 'a')
      await clock.advance(1000)
    }
    await recorder.flush()
    const swept = planSweep(resources.list(eventKind), clock.now(), { ttlMs: 3_600_000, maxEvents: 3 })
    expect(swept.map((event) => event.involvedObject.name)).toEqual(['p0', 'p1'])
    expect(resources.list(nodeKind)).toEqual([])
  })
})
