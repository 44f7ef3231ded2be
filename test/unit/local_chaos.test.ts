/** What chaos tells the kernel, what `up` makes of its flags, and which processes it may touch. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { LABEL } from '../../src/api/names.ts'
import { systemClock } from '../../src/base/clock.ts'
import { cutRules, parseRules } from '../../src/local/chaos_partition.ts'
import { type ClusterRecord, clusterPaths, serversOf } from '../../src/local/cluster.ts'
import { heldProcesses, hold, release, untilReleased } from '../../src/local/held.ts'
import { labelsByHost, wholeNumber, withZones } from '../../src/local/up_flags.ts'
import { eventually } from '../support/eventually.ts'

describe('partition rules', () => {
  const cut = { host: 'c-1', link: 'dvh-0-1' }

  it('drop both directions, and carry what they are for', () => {
    for (const request of [
      { ...cut, peer: 'everything', to: { type: 'everything' } as const },
      { ...cut, peer: 'c-2', to: { type: 'host', link: 'dvh-0-2' } as const },
      { ...cut, peer: 'server', to: { type: 'server', address: '10.89.0.1', ports: [6443, 7443] } as const },
    ]) {
      const rules = cutRules(request)
      expect(rules).toHaveLength(2)
      expect(rules[0]).toContain('iifname "dvh-0-1"')
      expect(rules[1]).toContain('oifname "dvh-0-1"')
      for (const rule of rules) expect(rule).toMatch(new RegExp(`drop comment "c-1 ${request.peer}"$`))
    }
  })

  it('are read back from their comments; what is not ours is left out', () => {
    const listing = {
      nftables: [
        { metainfo: {} },
        { chain: { name: 'forward' } },
        { rule: { handle: 4, comment: 'c-1 c-2' } },
        { rule: { handle: 5 } },
      ],
    }
    expect(parseRules(listing)).toEqual([{ host: 'c-1', peer: 'c-2', handle: 4 }])
    expect(parseRules('nothing')).toEqual([])
  })
})

describe('flags of up', () => {
  it('label one host or all of them', () => {
    const labels = labelsByHost(['1:disk=ssd', 'team=blue', '2:rack=r=1'])
    expect([1, 2, 3].map(labels)).toEqual([
      { disk: 'ssd', team: 'blue' },
      { team: 'blue', rack: 'r=1' },
      { team: 'blue' },
    ])
    expect(() => labelsByHost(['nonsense'])).toThrow('--label takes [HOST:]KEY=VALUE')
  })

  it('spread hosts over zones, where no label says otherwise', () => {
    const labels = withZones(2, labelsByHost([`3:${LABEL.zone}=z`]))
    expect([1, 2, 3, 4].map((host) => labels(host)[LABEL.zone])).toEqual(['a', 'b', 'z', 'b'])
    expect(() => withZones(0, labels)).toThrow('--zones')
    expect(() => wholeNumber('2.5', '--zones')).toThrow('--zones takes a whole number')
  })

  it('give each server a name and ports', () => {
    const record = { apiPort: 1, nodePort: 2, moreServers: [{ apiPort: 3, nodePort: 4 }] } as ClusterRecord
    expect(serversOf(record)).toEqual([
      { name: 'server', apiPort: 1, nodePort: 2 },
      { name: 'server-2', apiPort: 3, nodePort: 4 },
    ])
    expect(serversOf({ apiPort: 1, nodePort: 2 } as ClusterRecord)).toHaveLength(1)
  })
})

describe('what is held', () => {
  const run = mkdtempSync(join(tmpdir(), 'drvt-held-'))
  const paths = { ...clusterPaths('drvt-none'), run }
  afterEach(() => rmSync(run, { recursive: true, force: true }))

  it('waits until it is released, and says why it waits', async () => {
    const { signal } = new AbortController()
    hold(paths, 'agent-c-1', 'all')
    expect(heldProcesses(paths)).toEqual(new Map([['agent-c-1', 'all']]))
    let started = false
    const waiting = untilReleased(paths, 'agent-c-1', { clock: systemClock, signal }).then(() => {
      started = true
    })
    await untilReleased(paths, 'server', { clock: systemClock, signal })
    expect(started).toBe(false)
    release(paths, 'agent-c-1')
    await eventually(() => started)
    await waiting
    expect(heldProcesses(paths).size).toBe(0)
  })
})
