/** A new pod's first container, begun while the pod is being prepared (begin.ts): it is started or dismissed, whatever happens. */
import { describe, expect, test } from 'vitest'
import { NOTE } from '../../src/agent/pod/facts.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podOf, World } from '../support/pod_world.ts'

const withImage = (pod: Pod, image: string): Pod => ({
  ...pod,
  spec: { ...pod.spec, containers: pod.spec.containers.map((container) => ({ ...container, image })) },
})

describe('the first container of a new pod', () => {
  const begins = (world: World): string[] => world.host.log.filter((call) => call.startsWith('beginContainer'))
  const dismissals = (world: World): string[] => world.host.log.filter((call) => call.startsWith('dismiss'))

  test('is begun before the pod is prepared, and that is the one that is started', async () => {
    const world = new World(podOf({ initContainers: [{ name: 'init', image: 'init:1' }] }))
    world.host.exitsAtOnce.set('init', 0)
    await world.run(3)
    const id = world.host.started[0]
    expect(world.host.log[0]).toBe(`beginContainer ${id}`)
    expect(begins(world)).toHaveLength(1)
    expect(dismissals(world)).toEqual([])
    expect(world.host.running('app')).toHaveLength(1)
  })

  test.each([
    ['whose image is not here', podOf({ containers: [{ name: 'app', image: 'none:1' }] })],
    [
      'whose image is always pulled',
      podOf({ containers: [{ name: 'app', image: 'app:1', imagePullPolicy: 'Always' }] }),
    ],
    ['with users of its own', podOf({ hostUsers: false })],
    ['of a class that this node has no runtime for', podOf({ runtimeClassName: 'none' })],
  ])('is not begun in a pod %s', async (_what, pod) => {
    const world = new World(pod)
    await world.run(2)
    expect(begins(world)).toEqual([])
  })

  test('is dismissed when the pod cannot be prepared, and not begun with the next try', async () => {
    const world = new World(podOf({ volumes: [{ name: 'settings', configMap: { name: 'missing' } }] }))
    await world.run(1)
    expect([begins(world).length, dismissals(world).length]).toEqual([1, 1])
    expect(world.host.containers.size).toBe(0)
    world.setConfig('missing', { a: '1' })
    await world.run(1)
    expect([begins(world).length, dismissals(world).length]).toEqual([1, 1])
    expect(world.host.running('app')).toHaveLength(1)
  })

  test('is dismissed when its configuration is missing', async () => {
    const envFrom = [{ configMapRef: { name: 'missing' } }]
    const world = new World(podOf({ containers: [{ name: 'app', image: 'app:1', envFrom }] }))
    await world.run(1)
    expect([begins(world).length, dismissals(world).length]).toEqual([1, 1])
    expect(world.host.containers.size).toBe(0)
    world.setConfig('missing', { A: '1' })
    await world.run(1)
    expect(world.host.running('app')[0]?.request.env).toContain('A=1')
  })

  test('is another when its image has changed meanwhile', async () => {
    const world = new World(podOf())
    world.host.interfaceGate = async () => world.change((pod) => withImage(pod, 'app:2'))
    await world.run(2)
    expect(dismissals(world)).toHaveLength(1)
    expect(world.host.running('app').map(({ request }) => request.annotations[NOTE.image])).toEqual(['app:2'])
  })

  test('that cannot be dismissed hides no failure of the pod, and is removed as half made', async () => {
    const world = new World(podOf({ volumes: [{ name: 'settings', configMap: { name: 'missing' } }] }))
    world.host.before = (call) => {
      if (!call.startsWith('dismiss')) return
      world.host.before = () => undefined
      throw new Error('busy')
    }
    await world.run(1)
    expect(world.events).toEqual(['FailedMount'])
    world.delete(1)
    await world.run(4)
    expect(world.last?.removed).toBe(true)
    expect([...world.host.containers.keys()]).toEqual([])
  })

  test('goes with a pod that goes before it was started', async () => {
    const world = new World(podOf())
    world.host.sandboxGate = async () => world.delete(1)
    await world.run(4)
    expect(world.last?.removed).toBe(true)
    expect(world.host.started).toEqual([])
    expect([...world.host.containers.keys(), ...world.host.sandboxes.keys()]).toEqual([])
  })

  test('of an agent that was killed is half made to the next one, which removes it', async () => {
    const world = new World(podOf())
    world.host.sandboxGate = async () => {
      world.fuse.left = 0
      world.host.sandboxGate = async () => undefined
    }
    await world.run(1)
    expect(world.host.kills).toBe(1)
    expect([...world.host.containers.values()].map(({ state }) => state.phase)).toEqual(['created'])
    await world.run(1)
    expect(begins(world)).toHaveLength(1)
    expect(world.host.running('app')).toHaveLength(1)
    expect(world.host.containers.size).toBe(1)
  })
})
