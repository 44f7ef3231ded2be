/**
 * Partitions of a local cluster: nftables rules on the bridge between the hosts, in the switch's own namespace. Each rule's
 * comment says what it is for, so that what is cut is read from the kernel and nowhere else. Dropped frames leave no
 * trace at either end, as with a cable that was pulled.
 */
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { run } from '../base/process.ts'

const TABLE = 'bridge drover_chaos'

/** `host` cannot reach `peer`, nor the other way: another host, a server, or everything there is. */
export interface Cut {
  host: string
  peer: string
}

export const EVERYTHING = 'everything'

export interface CutRequest extends Cut {
  /** The host's port on the bridge. */
  link: string
  /** What the peer is: nothing but itself on the other side; another host's port; or ports of servers. */
  to:
    | { type: 'everything' }
    | { type: 'host'; link: string }
    | { type: 'server'; address: string; ports: readonly number[] }
}

const commentOf = ({ host, peer }: Cut): string => `${host} ${peer}`

/** Pure: the rules of one cut, both directions. */
export function cutRules(request: CutRequest): string[] {
  const { link, to } = request
  const rule = (match: string): string => `add rule ${TABLE} forward ${match} drop comment "${commentOf(request)}"`
  switch (to.type) {
    case 'everything':
      return [rule(`iifname "${link}"`), rule(`oifname "${link}"`)]
    case 'host':
      return [rule(`iifname "${link}" oifname "${to.link}"`), rule(`iifname "${to.link}" oifname "${link}"`)]
    case 'server': {
      const ports = `{ ${to.ports.join(', ')} }`
      return [
        rule(`iifname "${link}" ip daddr ${to.address} tcp dport ${ports}`),
        rule(`oifname "${link}" ip saddr ${to.address} tcp sport ${ports}`),
      ]
    }
  }
}

interface Rule extends Cut {
  handle: number
}

/** Pure: rules as `nft -j list table` prints them. */
export function parseRules(listing: unknown): Rule[] {
  const items = isObject(listing) && Array.isArray(listing.nftables) ? listing.nftables : []
  return items.flatMap((item: unknown) => {
    const rule = isObject(item) && isObject(item.rule) ? item.rule : undefined
    const [host, peer] = String(rule?.comment ?? '').split(' ')
    return rule === undefined || !host || !peer ? [] : [{ host, peer, handle: Number(rule.handle) }]
  })
}

export class Partitions {
  readonly #namespacePath: string

  constructor(switchNamespacePath: string) {
    this.#namespacePath = switchNamespacePath
  }

  /** What is cut now. */
  async observe(): Promise<Cut[]> {
    const cuts = new Map((await this.#rules()).map(({ host, peer }) => [commentOf({ host, peer }), { host, peer }]))
    return [...cuts.values()]
  }

  async cut(requests: readonly CutRequest[]): Promise<void> {
    const present = new Set((await this.#rules()).map(commentOf))
    const rules = requests.filter((request) => !present.has(commentOf(request))).flatMap(cutRules)
    if (rules.length === 0) return
    // Before everything else that looks at bridged frames.
    const chain = `add chain ${TABLE} forward { type filter hook forward priority -300; policy accept; }`
    await this.#apply([`add table ${TABLE}`, chain, ...rules])
  }

  /** Lets go of the host's cuts, those that others have from it too; of all cuts without a host. Says how many. */
  async heal(host?: string): Promise<number> {
    const rules = await this.#rules()
    const mine = rules.filter((rule) => host === undefined || rule.host === host || rule.peer === host)
    if (mine.length === 0) return 0
    await this.#apply(
      mine.length === rules.length
        ? [`delete table ${TABLE}`]
        : mine.map(({ handle }) => `delete rule ${TABLE} forward handle ${handle}`),
    )
    return new Set(mine.map(commentOf)).size
  }

  async #rules(): Promise<Rule[]> {
    const { stdout, stderr, exitCode } = await this.#nft(['-j', 'list', 'table', ...TABLE.split(' ')])
    if (exitCode === 0) return parseRules(JSON.parse(stdout))
    // No table, or no namespace: nothing is cut.
    if (/No such file or directory/.test(stderr)) return []
    throw new DroverError('internal', `nft: ${stderr.trim()}`)
  }

  async #apply(lines: readonly string[]): Promise<void> {
    const { exitCode, stderr } = await this.#nft(['-f', '-'], `${lines.join('\n')}\n`)
    if (exitCode !== 0) throw new DroverError('internal', `nft: ${stderr.trim()}`)
  }

  #nft(args: readonly string[], input?: string) {
    return run('nsenter', [`--net=${this.#namespacePath}`, 'nft', ...args], input === undefined ? {} : { input })
  }
}
