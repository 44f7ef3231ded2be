/** What a network namespace holds of a node's network, as lines that do not depend on its history. */
import { GUARD_TABLE, TABLE, VXLAN } from '../../src/agent/network/names.ts'
import { isObject } from '../../src/base/json.ts'
import type { TestNamespace } from './netns.ts'

async function listing(place: TestNamespace, args: readonly string[]): Promise<unknown> {
  const { exitCode, stdout, stderr } = await place.exec(args)
  if (exitCode !== 0) throw new Error(`${args.join(' ')}: ${stderr}`)
  return stdout.trim() === '' ? [] : JSON.parse(stdout)
}

const objects = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.filter(isObject) : [])

/** A table without handles. Order of rules within their chain counts; order of chains, sets and elements is the kernel's. */
export async function rulesOf(place: TestNamespace, table = TABLE): Promise<string[]> {
  const listed = await listing(place, ['nft', '-j', 'list', 'table', ...table.split(' ')])
  const perChain = new Map<string, number>()
  const lines = objects(isObject(listed) ? listed.nftables : []).flatMap((item) => {
    const [kind = '', value] = Object.entries(item)[0] ?? []
    if (kind === 'metainfo' || !isObject(value)) return []
    const { handle: _, ...rest } = value
    const position = kind === 'rule' ? (perChain.get(String(rest.chain)) ?? 0) : 0
    if (kind === 'rule') perChain.set(String(rest.chain), position + 1)
    if (Array.isArray(rest.elem)) rest.elem = rest.elem.map((element) => JSON.stringify(element)).sort()
    return [JSON.stringify([kind, position, rest])]
  })
  return lines.sort()
}

/** Pods' ends: their MACs are the kernel's choice, and numbers differ from host to host. */
async function linksOf(place: TestNamespace): Promise<string[]> {
  return objects(await listing(place, ['ip', '-j', '-d', 'link', 'show'])).flatMap((link) => {
    const { ifname, ifalias, mtu, master, operstate, linkinfo } = link
    if (ifname === 'lo') return []
    const port = isObject(linkinfo) && isObject(linkinfo.info_slave_data) ? linkinfo.info_slave_data : {}
    const { hairpin, isolated } = port
    const info = isObject(linkinfo) ? linkinfo.info_kind : undefined
    return [JSON.stringify({ ifname, ifalias, mtu, master, operstate, info, hairpin, isolated })]
  })
}

export async function networkState(place: TestNamespace): Promise<Record<string, string[]>> {
  const lines = async (...args: string[]): Promise<string[]> =>
    objects(await listing(place, args)).map((item) => JSON.stringify(item))
  const [rules, guard, links, addresses, routes, neighbours, forwards] = await Promise.all([
    rulesOf(place),
    rulesOf(place, GUARD_TABLE),
    linksOf(place),
    place.exec(['ip', '-o', '-4', 'addr', 'show']),
    lines('ip', '-j', '-4', 'route', 'show'),
    lines('ip', '-j', 'neigh', 'show', 'dev', VXLAN),
    lines('bridge', '-j', 'fdb', 'show', 'dev', VXLAN),
  ])
  const held = addresses.stdout.split('\n').map((line) => line.replace(/^\d+: /, '').trim())
  const all = { rules, guard, links, addresses: held, routes, neighbours, forwards }
  return Object.fromEntries(Object.entries(all).map(([name, list]) => [name, [...list].sort()]))
}
