/**
 * Does a firewall of this machine swallow what Drover forwards? A Docker engine sets the policy of FORWARD to DROP, and
 * where br_netfilter is loaded even frames inside one bridge pass these rules. No rule of our own can help: a packet that
 * one table accepts is still judged by the next. Local clusters keep their bridge in a namespace of its own and are not
 * touched by this; an agent in the root namespace is.
 */
import { readFile } from 'node:fs/promises'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { run } from '../base/process.ts'

const BRIDGE_SWITCH = '/proc/sys/net/bridge/bridge-nf-call-iptables'

async function output(program: string, args: readonly string[]): Promise<string> {
  try {
    const result = await run(program, args)
    return result.exitCode === 0 ? result.stdout : ''
  } catch (error) {
    if (error instanceof DroverError && error.code === 'unsupported') return ''
    throw error
  }
}

/** Names of chains that drop what is forwarded unless a rule accepts it, from `nft -j list chains`. */
export function droppingChains(listing: unknown): string[] {
  const items = isObject(listing) && Array.isArray(listing.nftables) ? listing.nftables : []
  return items.flatMap((item) => {
    const chain = isObject(item) && isObject(item.chain) ? item.chain : {}
    if (chain.hook !== 'forward' || chain.policy !== 'drop' || !['ip', 'inet'].includes(String(chain.family))) return []
    return [`${String(chain.family)} ${String(chain.table)} ${String(chain.name)}`]
  })
}

/** What is wrong and how to mend it; undefined when forwarded packets are not dropped by default. */
export async function bridgeFilterProblem(): Promise<string | undefined> {
  const text = await output('nft', ['-j', 'list', 'chains'])
  const chains = text === '' ? [] : droppingChains(JSON.parse(text))
  // The older iptables is invisible to nft.
  const legacy = await output('iptables-legacy', ['-S', 'FORWARD'])
  if (legacy.includes('-P FORWARD DROP')) chains.push('iptables-legacy FORWARD')
  if (chains.length === 0) return undefined
  const bridged = (await readFile(BRIDGE_SWITCH, 'utf8').catch(() => '0')).trim() === '1'
  return (
    `the firewall drops forwarded packets by default (${chains.join(', ')}; often set by a Docker engine)` +
    `${bridged ? ', also those inside one bridge' : ''}: pods of an agent that runs on this machine itself may reach ` +
    'nothing. Let them through: iptables -I FORWARD -i drover0 -j ACCEPT; iptables -I FORWARD -o drover0 -j ACCEPT. ' +
    'Local clusters (drover up) are not affected'
  )
}
