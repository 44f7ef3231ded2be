/** What holds a pod back that is to go: numbers of its grace, and which connections count. */
import { describe, expect, test } from 'vitest'
import { parseConnections, parseServedPorts } from '../../src/agent/network/connections.ts'
import type { Connection } from '../../src/agent/network/network.ts'
import { drainFact, isBusy } from '../../src/agent/pod/drain.ts'
import type { Condition } from '../../src/api/meta.ts'
import type { Pod } from '../../src/api/pod.ts'

const NOW = 1_000_000

function pod(graceSeconds: number, conditions: Condition[] = [], annotations = {}, spec = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', deletionGracePeriodSeconds: graceSeconds, annotations },
    spec: { containers: [], ...spec },
    status: { conditions },
  }
}

const drained = (reason: string): Condition[] => [{ type: 'drover.dev/Drained', status: 'True', reason }]
const factOf = (given: Pod, graceSeconds: number) => {
  const fact = drainFact(given, { terminateByMs: NOW + graceSeconds * 1000, looked: undefined })
  const since = (atMs: number | undefined) => (atMs === undefined ? undefined : atMs - NOW)
  return { leave: since(fact.leaveByMs), quiet: since(fact.quietByMs) }
}

describe('drainFact', () => {
  test.each<[string, Pod, number, { leave: number | undefined; quiet: number | undefined }]>([
    ['the default grace', pod(30), 30, { leave: 15_000, quiet: 15_000 }],
    ['a long grace', pod(300), 300, { leave: 15_250, quiet: 15_000 }],
    ['a short grace', pod(2), 2, { leave: 1_000, quiet: 1_000 }],
    ['leave given', pod(30, drained('NodesConfirmed')), 30, { leave: undefined, quiet: 15_000 }],
    ['in no service', pod(30, drained('NoEndpoints')), 30, { leave: undefined, quiet: undefined }],
    [
      'in no service, but asked for',
      pod(30, drained('NoEndpoints'), { 'drover.dev/drain-seconds': '20' }),
      30,
      { leave: undefined, quiet: 20_000 },
    ],
    ['more than there is', pod(10, [], { 'drover.dev/drain-seconds': '60' }), 10, { leave: 5_000, quiet: 8_000 }],
    ['none wanted', pod(10, [], { 'drover.dev/drain-seconds': '0' }), 10, { leave: 5_000, quiet: 0 }],
    ['nonsense', pod(10, [], { 'drover.dev/drain-seconds': 'soon' }), 10, { leave: 5_000, quiet: 5_000 }],
    ["in the host's namespace", pod(10, [], {}, { hostNetwork: true }), 10, { leave: 5_000, quiet: undefined }],
  ])('%s', (_title, given, graceSeconds, expected) => {
    expect(factOf(given, graceSeconds)).toEqual(expected)
  })
})

const connection = (overrides: Partial<Connection>): Connection => ({
  peer: '10.0.0.1:5',
  unreadBytes: 0,
  unsentBytes: 0,
  receivedBytes: 100,
  sentBytes: 100,
  sinceReceivedMs: 5_000,
  sinceSentMs: 5_000,
  ...overrides,
})

describe('isBusy', () => {
  test.each<[string, Partial<Connection>, boolean]>([
    ['answered and still', { sinceReceivedMs: 5_010 }, false],
    ['a request without an answer', { sinceSentMs: 5_010 }, true],
    ['a first request in the tick of its connection, not answered', { sentBytes: 0 }, true],
    ['a request that is not read', { unreadBytes: 1 }, true],
    ['an answer that is not taken', { unsentBytes: 1 }, true],
    ['an answer in parts', { sinceReceivedMs: 60_000, sinceSentMs: 300 }, true],
    ['only just come', { receivedBytes: 0, sinceReceivedMs: 3, sinceSentMs: 3 }, true],
    ['came long ago and never spoke', { receivedBytes: 0, sentBytes: 0 }, false],
    ['a server that speaks first and was never answered', { receivedBytes: 0, sinceReceivedMs: 9_000 }, false],
  ])('%s: %s', (_title, overrides, busy) => {
    expect(isBusy(connection(overrides))).toBe(busy)
  })
})

const HEADER = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
const line = (local: string, remote: string, state: string): string =>
  `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 1137 1 0 100 0 0 10 0\n`

describe("the kernel's table", () => {
  test('tells ports that clients are connected to', () => {
    const table = [
      line('00000000:1F90', '00000000:0000', '0A'),
      line('0200F40A:1F90', '0500F40A:A000', '01'),
      line('0200F40A:1F90', '0500F40A:A001', '06'),
      line('0200F40A:9999', '0500F40A:0050', '01'),
      line('0100007F:1F91', '0100007F:A000', '01'),
    ].join('')
    expect(parseServedPorts([HEADER + table, ''])).toEqual([0x1f90])
    expect(parseServedPorts([HEADER + line('00000000:1F90', '00000000:0000', '0A')])).toEqual([])
  })

  test('a listener of both families, seen by a client of IPv4', () => {
    const zero = '0'.repeat(32)
    const mapped = (tail: string): string => `0000000000000000FFFF0000${tail}`
    const table = [
      line(`${zero}:0050`, `${zero}:0000`, '0A'),
      line(`${mapped('0200F40A')}:0050`, `${mapped('0500F40A')}:A000`, '01'),
    ]
    expect(parseServedPorts(['', HEADER + table.join('')])).toEqual([80])
    const own = line(`${mapped('0100007F')}:0050`, `${mapped('0100007F')}:A000`, '01')
    expect(parseServedPorts(['', HEADER + line(`${zero}:0050`, `${zero}:0000`, '0A') + own])).toEqual([])
  })

  test('ss tells when bytes moved', () => {
    const text =
      'ESTAB 3      0      127.0.0.1:18999 10.0.0.9:34396 bbr wscale:10,10 rto:200 rtt:0.019/0.009 bytes_received:25 segs_in:3 bbr:(bw:0bps,mrtt:0.019) lastsnd:504 lastrcv:200 lastack:200 minrtt:0.019\n\n'
    expect(parseConnections(text)).toEqual([
      {
        peer: '10.0.0.9:34396',
        unreadBytes: 3,
        unsentBytes: 0,
        receivedBytes: 25,
        sentBytes: 0,
        sinceReceivedMs: 200,
        sinceSentMs: 504,
      },
    ])
  })
})
