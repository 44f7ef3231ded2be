/**
 * Pinned network namespaces and `ip` batches, in the root namespace or in a pinned one. A namespace is entered with
 * `nsenter --net=FILE`; `ip netns exec` would remount /sys.
 */
import { readdir, readFile, rm } from 'node:fs/promises'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { run } from '../base/process.ts'

const DIRECTORY = '/run/netns'

export interface NetLink {
  name: string
  alias: string
  master: string
  up: boolean
  addresses: string[]
}

export function namespacePath(name: string): string {
  return `${DIRECTORY}/${name}`
}

async function ip(path: string | undefined, args: readonly string[], input?: string): Promise<string> {
  const [program = 'ip', ...rest] = path === undefined ? ['ip', ...args] : ['nsenter', `--net=${path}`, 'ip', ...args]
  const result = await run(program, rest, input === undefined ? {} : { input })
  if (result.exitCode === 0) return result.stdout
  const said = result.stderr.trim() || `exit code ${result.exitCode}`
  const denied = /operation not permitted|permission denied/i.test(said)
  throw new DroverError(
    denied ? 'forbidden' : 'internal',
    denied ? `ip: ${said}; local clusters need root` : `ip ${args.join(' ')}: ${said}`,
  )
}

export async function ipBatch(path: string | undefined, commands: readonly string[]): Promise<void> {
  if (commands.length > 0) await ip(path, ['-batch', '-'], `${commands.join('\n')}\n`)
}

export async function ipJson(path: string | undefined, args: readonly string[]): Promise<unknown> {
  const text = await ip(path, ['-j', ...args])
  return text.trim() === '' ? [] : JSON.parse(text)
}

function objects(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

export async function observeLinks(path: string | undefined): Promise<NetLink[]> {
  // Two listings: `ip addr` leaves out aliases, `ip link` addresses.
  const [listing, addressing] = await Promise.all([
    ipJson(path, ['link', 'show']),
    ipJson(path, ['-4', 'addr', 'show']),
  ])
  const held = new Map(objects(addressing).map((item) => [item.ifname, objects(item.addr_info)]))
  return objects(listing).map((item) => ({
    name: String(item.ifname),
    alias: String(item.ifalias ?? ''),
    master: String(item.master ?? ''),
    up: Array.isArray(item.flags) && item.flags.includes('UP'),
    addresses: (held.get(item.ifname) ?? []).map(({ local, prefixlen }) => `${String(local)}/${String(prefixlen)}`),
  }))
}

/** Names of pinned namespaces, those with a live mount only. */
export async function pinnedNamespaces(): Promise<Set<string>> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8')
  const names = new Set<string>()
  for (const line of mounts.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const target = before.split(' ')[4] ?? ''
    const match = /^(?:\/var)?\/run\/netns\/([^/]+)$/.exec(target)
    if (match?.[1] !== undefined && after.startsWith('nsfs ')) names.add(match[1])
  }
  return names
}

/** Files that nothing is mounted on any more: left by a crash, or by somebody who unmounted them. */
export async function abandonedNamespaces(): Promise<string[]> {
  const files: string[] = await readdir(DIRECTORY).catch(() => [])
  const pinned = await pinnedNamespaces()
  return files.filter((file) => !pinned.has(file))
}

/** Creates the namespace unless it is there; a file without a mount is a leftover of a crash or a reboot. */
export async function ensureNamespace(name: string): Promise<void> {
  if ((await pinnedNamespaces()).has(name)) return
  await rm(namespacePath(name), { force: true })
  await ip(undefined, ['netns', 'add', name])
}

export async function removeNamespace(name: string): Promise<void> {
  const files: string[] = await readdir(DIRECTORY).catch(() => [])
  if (!files.includes(name)) return
  if ((await pinnedNamespaces()).has(name)) await ip(undefined, ['netns', 'del', name])
  else await rm(namespacePath(name), { force: true })
}
