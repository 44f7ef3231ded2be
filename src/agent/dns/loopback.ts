/**
 * The server's addresses on `lo`. A /32 of scope global on loopback: every pod reaches it through its default route
 * without leaving the node, and no rule has to be told of it.
 */
import { networkInterfaces } from 'node:os'
import { DroverError } from '../../base/errors.ts'
import { run } from '../../base/process.ts'

const DEVICE = 'lo'

export function missingAddresses(addresses: readonly string[]): string[] {
  const present = Object.values(networkInterfaces()).flatMap((list) => list?.map(({ address }) => address) ?? [])
  return addresses.filter((address) => !present.includes(address) && !address.startsWith('127.'))
}

async function ip(...args: string[]): Promise<string | undefined> {
  const { exitCode, stderr } = await run('ip', args)
  return exitCode === 0 ? undefined : stderr.trim()
}

/** True when any had to be added. */
export async function ensureAddresses(addresses: readonly string[]): Promise<boolean> {
  const missing = missingAddresses(addresses)
  for (const address of missing) {
    const problem = await ip('addr', 'replace', `${address}/32`, 'dev', DEVICE)
    if (problem !== undefined) {
      throw new DroverError('internal', `cannot put the DNS server's address ${address} on ${DEVICE}: ${problem}`)
    }
  }
  return missing.length > 0
}

export async function removeAddresses(addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    if (address.startsWith('127.')) continue
    const problem = await ip('addr', 'del', `${address}/32`, 'dev', DEVICE)
    if (problem !== undefined && !/cannot assign requested address|address not found/i.test(problem)) {
      throw new DroverError('internal', `cannot remove ${address} from ${DEVICE}: ${problem}`)
    }
  }
}
