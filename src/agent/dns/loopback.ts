/**
 * The server's addresses on `lo`. A /32 of scope global on loopback: every pod reaches it through its default route
 * without leaving the node, and no rule has to be told of it.
 */
import { createSocket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import { DroverError } from '../../base/errors.ts'
import { run } from '../../base/process.ts'
import { readText } from '../../base/records.ts'

const DEVICE = 'lo'

/** What is bound to an address that the host need not have tells nothing (ip(7)). */
const BINDS_ANYTHING = '/proc/sys/net/ipv4/ip_nonlocal_bind'

/** On a node with a hundred pods a list of its interfaces is long: a socket asks for the one address. */
async function missingAddresses(addresses: readonly string[]): Promise<string[]> {
  const ours = addresses.filter((address) => !address.startsWith('127.'))
  const isPresent = readText(BINDS_ANYTHING)?.trim() === '0' ? isBindable : isListed
  const present = await Promise.all(ours.map(isPresent))
  return ours.filter((_, i) => present[i] === false)
}

async function isListed(address: string): Promise<boolean> {
  return Object.values(networkInterfaces()).some((list) => list?.some((one) => one.address === address))
}

function isBindable(address: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4')
    socket.once('error', (error: NodeJS.ErrnoException) => {
      socket.close()
      if (error.code === 'EADDRNOTAVAIL') resolve(false)
      else reject(DroverError.from(error))
    })
    socket.bind({ address, port: 0 }, () => socket.close(() => resolve(true)))
  })
}

async function ip(...args: string[]): Promise<string | undefined> {
  const { exitCode, stderr } = await run('ip', args)
  return exitCode === 0 ? undefined : stderr.trim()
}

/** True when any had to be added. */
export async function ensureAddresses(addresses: readonly string[]): Promise<boolean> {
  const missing = await missingAddresses(addresses)
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
