/**
 * The TCP connections that clients hold to the programs of a pod, as its network namespace shows them. The kernel's plain
 * table is read first: it costs no process, and most pods that end have no connection left. Only where it shows one is
 * `ss` asked, which alone knows when bytes last came and went. Source: proc_net_tcp(5), ss(8), tcp_info in linux/tcp.h.
 */
import { readFile } from 'node:fs/promises'
import { DroverError } from '../../base/errors.ts'
import { run } from '../../base/process.ts'
import type { Connection } from './network.ts'

/** States as the kernel numbers them. */
const LISTEN = '0A'
/** Established, handshake not over, closed by the client alone, closed by the program with bytes still to go. */
const OPEN: ReadonlySet<string> = new Set(['01', '03', '08', '04'])
const SS_STATES = ['established', 'syn-recv', 'close-wait', 'fin-wait-1']
const TIMEOUT_MS = 2_000

/** Ports that clients hold a connection to; loopback is the pod's own talk with itself. */
export function parseServedPorts(tables: readonly string[]): number[] {
  const listening = new Set<number>()
  const open = new Set<number>()
  for (const table of tables) {
    for (const line of table.split('\n').slice(1)) {
      const [, local = '', remote = '', state = ''] = line.trim().split(/\s+/)
      const port = Number.parseInt(local.split(':')[1] ?? '', 16)
      if (Number.isNaN(port)) continue
      if (state === LISTEN) listening.add(port)
      else if (OPEN.has(state) && !isLoopback(remote.split(':')[0] ?? '')) open.add(port)
    }
  }
  return [...open].filter((port) => listening.has(port)).sort((a, b) => a - b)
}

/** 127.0.0.0/8 and ::1, in the kernel's little-endian words. */
function isLoopback(hex: string): boolean {
  if (hex.length === 8) return hex.endsWith('7F')
  return hex === '00000000000000000000000001000000' || /^0{16}FFFF0000.{6}7F$/.test(hex)
}

/** Reads `ss -Htnio` with one connection a line. Lines that are not understood count as nothing. */
export function parseConnections(text: string): Connection[] {
  const connections: Connection[] = []
  for (const line of text.split('\n')) {
    const head = /^\S+\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S+)/.exec(line)
    if (head === null) continue
    const number = (name: string): number | undefined => {
      const found = new RegExp(`(?:^|\\s)${name}:(\\d+)`).exec(line)?.[1]
      return found === undefined ? undefined : Number(found)
    }
    connections.push({
      peer: head[4] ?? '',
      unreadBytes: Number(head[1]),
      unsentBytes: Number(head[2]),
      receivedBytes: number('bytes_received') ?? 0,
      sentBytes: number('bytes_sent') ?? 0,
      sinceReceivedMs: number('lastrcv') ?? 0,
      sinceSentMs: number('lastsnd') ?? 0,
    })
  }
  return connections
}

/** `pid` is any process inside the namespace. */
export async function readConnections(pid: number): Promise<Connection[]> {
  const read = (name: string): Promise<string> => readFile(`/proc/${pid}/net/${name}`, 'utf8').catch(() => '')
  const ports = parseServedPorts(await Promise.all([read('tcp'), read('tcp6')]))
  if (ports.length === 0) return []
  const states = SS_STATES.flatMap((state) => ['state', state])
  const filter = ['(', ...ports.flatMap((port, index) => [...(index > 0 ? ['or'] : []), 'sport', '=', `:${port}`]), ')']
  const args = [`--net=/proc/${pid}/ns/net`, 'ss', '-HtniO', ...states, ...filter]
  const result = await run('nsenter', args, { timeoutMs: TIMEOUT_MS })
  if (result.exitCode === 0) return parseConnections(result.stdout).filter(({ peer }) => !/^(127\.|\[::1\])/.test(peer))
  throw new DroverError('internal', `ss ended with ${result.exitCode}: ${result.stderr.trim()}`)
}
