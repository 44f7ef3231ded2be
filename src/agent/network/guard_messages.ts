/**
 * Pods that come and go, as a transaction in messages to the kernel: elements of the guard's two sets, and nothing else. Pure.
 * `nft` takes as much of the processor for them as all else that is done for a pod's network.
 */
import { type KernelCall, NETFILTER, netlinkCall } from '../../base/kernel_calls.ts'
import { GUARD_TABLE } from './names.ts'
import { ASK, attribute, ipv4Bytes, macBytes, message, nest, text, u8 } from './netlink.ts'
import { PODS, PORTS } from './plan_guard.ts'
import type { TableState } from './table.ts'

/** Beyond this many in a set `nft` is as good. */
const MAX_ELEMENTS = 64
const AF_BRIDGE = 7
/** NFNL_SUBSYS_NFTABLES, and the batch's own messages (linux/netfilter/nfnetlink.h). */
const NFTABLES = 10
const BATCH = { begin: 0x10, end: 0x11 } as const
const ELEMENTS = { add: (NFTABLES << 8) | 12, remove: (NFTABLES << 8) | 14 } as const
const LIST = { table: 1, set: 2, elements: 3 } as const
const FIRST = 1
const INTERFACE_BYTES = 16

/** Undefined when there is more to say than which elements come and go, or nothing. */
export function guardTransaction(observed: TableState, desired: TableState): KernelCall | undefined {
  if (observed.seal !== desired.seal || !sameChains(observed, desired)) return undefined
  const changes = [PORTS, PODS].flatMap((set) => {
    const [before, after] = [observed.elements.get(set), desired.elements.get(set)]
    if (before === undefined || after === undefined) return []
    const gone = [...before.keys()].filter((key) => !after.has(key))
    const fresh = [...after.keys()].filter((key) => !before.has(key))
    return [
      { type: ELEMENTS.remove, set, keys: gone },
      { type: ELEMENTS.add, set, keys: fresh },
    ].filter(({ keys }) => keys.length > 0)
  })
  if (changes.length === 0 || changes.some(({ keys }) => keys.length > MAX_ELEMENTS)) return undefined
  // Of a batch that is taken, the last alone is answered; of one that is not, what was refused comes first.
  const messages = changes.map(({ type, set, keys }, i) =>
    elementMessage(type, i === changes.length - 1 ? ASK.answer : 0, set, keys),
  )
  const frame = (type: number): Buffer => message(type, 0, u8(0), u8(0), Buffer.from([0, NFTABLES]))
  const batch = Buffer.concat([frame(BATCH.begin), ...messages, frame(BATCH.end)])
  return netlinkCall(`elements of ${GUARD_TABLE}`, NETFILTER, batch)
}

function sameChains({ chains }: TableState, { chains: others }: TableState): boolean {
  const told = (all: TableState['chains']): string =>
    JSON.stringify([...all].map(([name, rules]) => [name, rules.map(({ id }) => id)]).sort())
  return told(chains) === told(others)
}

/** struct nfgenmsg, then the set and its elements. */
function elementMessage(type: number, flags: number, set: string, keys: readonly string[]): Buffer {
  const [, table = ''] = GUARD_TABLE.split(' ')
  const create = type === ELEMENTS.add ? ASK.create : 0
  const elements = keys.map((key) => nest(FIRST, nest(FIRST, attribute(FIRST, keyBytes(key)))))
  return message(
    type,
    flags | create,
    Buffer.from([AF_BRIDGE, 0, 0, 0]),
    attribute(LIST.table, text(table)),
    attribute(LIST.set, text(set)),
    nest(LIST.elements, ...elements),
  )
}

/** `dv… . 0a:58:… . 10.…`, or the interface alone: each part in whole words of 32 bits. */
function keyBytes(key: string): Buffer {
  const [name = '', mac, address] = key.split(' . ')
  const parts: Buffer[] = [Buffer.concat([Buffer.from(name), Buffer.alloc(INTERFACE_BYTES - name.length)])]
  if (mac !== undefined) parts.push(macBytes(mac), Buffer.alloc(2))
  if (address !== undefined) parts.push(ipv4Bytes(address))
  return Buffer.concat(parts)
}
