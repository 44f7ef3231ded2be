/** The node's check of itself: what it calls mended. */
import { describe, expect, it } from 'vitest'
import { checkNode } from '../../src/agent/fsck.ts'
import type { Damage } from '../../src/base/damage.ts'
import type { NodeDamage } from '../../src/rpc/tables.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { createManualClock } from '../support/manual_clock.ts'

function setUp() {
  const clock = createManualClock()
  const host = new FakeHost()
  const drivers = fakeDrivers(host)
  const workers = new Set<string>()
  const state = { found: [] as Damage[], takenDown: true }
  drivers.runtime.findDamage = async () => [...state.found]
  const care = {
    synced: true,
    uids: () => workers,
    takeDown(uid: string) {
      if (state.takenDown) host.volumes.delete(uid)
      else workers.add(uid)
    },
  }
  const repair = async (): Promise<NodeDamage[]> => {
    let told: NodeDamage[] | undefined
    const signal = new AbortController().signal
    void checkNode({ drivers, care, clock, repair: true, signal }).then((damage) => {
      told = damage
    })
    for (let rounds = 0; told === undefined && rounds < 2_000; rounds++) await clock.advance(50)
    if (told === undefined) throw new Error('the check does not end')
    return told
  }
  return { host, state, repair }
}

describe('a repair', () => {
  it('has taken down a pod that nobody wants when nothing of it is left', async () => {
    const { host, repair } = setUp()
    host.volumes.set('gone', {})
    expect(await repair()).toMatchObject([{ part: 'containers', subject: 'pod gone', mended: true }])
  })

  it('has not, when the pod is still being taken down', async () => {
    const { host, state, repair } = setUp()
    host.volumes.set('stuck', {})
    state.takenDown = false
    expect(await repair()).toMatchObject([
      { subject: 'pod stuck', mended: false, error: 'pod stuck is still being taken down' },
    ])
  })

  it('tells why something could not be mended though it shows no more', async () => {
    const { state, repair } = setUp()
    const mend = async (): Promise<void> => {
      state.found = []
      throw new Error('no way')
    }
    state.found = [{ part: 'cgroups', subject: 'x', problem: 'of no pod', mend }]
    expect(await repair()).toMatchObject([{ subject: 'x', mended: false, error: 'no way' }])
  })

  it('does not call mended what is mended in part, whatever its problem is called then', async () => {
    const { state, repair } = setUp()
    let left = 3
    const damage = (): Damage => ({
      part: 'addresses',
      subject: 'interface of pod p',
      problem: `${left} things are missing`,
      async mend() {
        left--
        state.found = [damage()]
      },
    })
    state.found = [damage()]
    expect(await repair()).toMatchObject([
      { problem: '3 things are missing', mended: false, error: 'it came back, or mending had no effect' },
    ])
  })
})
