/** `npm run bench [-- PART… [--output json]]`: runs the parts one after the other and ends with a table. */
import { DroverError } from '../../src/base/errors.ts'
import { benchApi } from './api.ts'
import { benchAuthorization } from './authorization.ts'
import { benchCli } from './cli.ts'
import { benchDns } from './dns.ts'
import { benchHeal } from './heal.ts'
import { benchMemory } from './memory.ts'
import { benchNetwork } from './network.ts'
import { benchNode } from './node.ts'
import { benchPods } from './pods.ts'
import { type BenchResult, exitCodeOf, reportOf, tableLines } from './result.ts'
import { benchStore } from './store.ts'

const PARTS: Readonly<Record<string, () => Promise<BenchResult[]>>> = {
  api: benchApi,
  authorization: benchAuthorization,
  cli: benchCli,
  dns: benchDns,
  network: benchNetwork,
  store: benchStore,
  pods: benchPods,
  heal: benchHeal,
  node: benchNode,
  memory: benchMemory,
}

const NEED_ROOT: readonly string[] = ['network', 'pods', 'heal', 'memory', 'node']

function parse(words: readonly string[]): { parts: string[]; json: boolean } {
  const at = words.indexOf('--output')
  const format = at < 0 ? 'table' : words[at + 1]
  const parts = words.filter((_, index) => at < 0 || (index !== at && index !== at + 1))
  const known = Object.keys(PARTS)
  const wrong = parts.find((part) => !known.includes(part))
  if (wrong !== undefined) throw new DroverError('invalid', `no benchmark "${wrong}"; there are: ${known.join(', ')}`)
  if (format !== 'table' && format !== 'json') throw new DroverError('invalid', '--output takes table or json')
  return { parts: parts.length > 0 ? parts : known, json: format === 'json' }
}

async function main(): Promise<number> {
  const { parts, json } = parse(process.argv.slice(2))
  if (parts.some((part) => NEED_ROOT.includes(part)) && process.getuid?.() !== 0) {
    throw new DroverError('forbidden', `${NEED_ROOT.join(', ')} need root: they make namespaces or start a cluster`)
  }
  const results: BenchResult[] = []
  for (const part of parts) {
    process.stderr.write(`bench: ${part}\n`)
    results.push(...((await PARTS[part]?.()) ?? []))
  }
  process.stdout.write(json ? `${JSON.stringify(reportOf(results), null, 2)}\n` : `${tableLines(results).join('\n')}\n`)
  return exitCodeOf(results)
}

try {
  process.exitCode = await main()
} catch (error) {
  const { code, message, stack } = DroverError.from(error)
  process.stderr.write(`bench: ${code === 'internal' ? stack : message}\n`)
  process.exitCode = 2
}
