/** Bytes and packets of pods, from the host's ends of their interfaces: what one end sends the other receives. */
import type { Traffic } from './network.ts'

/** Pure: by interface, as its peer sees it, from the text of /proc/net/dev. Source: proc_net(5). */
export function parsePeerTraffic(text: string): ReadonlyMap<string, Traffic> {
  const found = new Map<string, Traffic>()
  for (const line of text.split('\n')) {
    const [, name = '', rest = ''] = /^\s*([^:\s]+):\s*(.*)$/.exec(line) ?? []
    const fields = rest.trim().split(/\s+/).map(Number)
    if (name === '' || fields.length < 12) continue
    const at = (from: number) => {
      const [bytes = 0, packets = 0, errors = 0, dropped = 0] = fields.slice(from, from + 4)
      return { bytes, packets, errors, dropped }
    }
    found.set(name, { sent: at(0), received: at(8) })
  }
  return found
}
