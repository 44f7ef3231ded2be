/**
 * UDP endpoints that left: the kernel remembers a UDP "connection" for as long as the client keeps sending, and would
 * send it to the dead pod for ever. TCP needs nothing: its connections end by themselves.
 */
import type { ServiceRow } from '../../rpc/tables.ts'

function datagramEndpoints(rows: readonly ServiceRow[]): Set<string> {
  const addresses = new Set<string>()
  for (const { ports } of rows) {
    for (const { protocol, endpoints } of ports) {
      if (protocol === 'UDP') for (const { address } of endpoints) addresses.add(address)
    }
  }
  return addresses
}

/** Addresses that no UDP port leads to any more. */
export function goneDatagramEndpoints(before: readonly ServiceRow[], after: readonly ServiceRow[]): string[] {
  const present = datagramEndpoints(after)
  return [...datagramEndpoints(before)].filter((address) => !present.has(address))
}
