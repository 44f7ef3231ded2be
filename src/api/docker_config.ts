/**
 * Docker's config.json, as pull secrets hold it: which of its accounts are for an image. Pure.
 *
 * A key is a host with an optional port and an optional path: `registry.local:5000/team`. A `*` in the host stands for
 * any part of one label; the path is what the repository begins with, as plain text, as the kubelet has it.
 * Source: Kubernetes "Images", "Interpretation of config.json"; the kubelet's keyring (pkg/credentialprovider).
 */
import { isObject } from '../base/json.ts'

export interface RegistryAccount {
  username: string
  password: string
}

export interface DockerConfigEntry extends RegistryAccount {
  /** With a port where the key has one; its labels may hold `*`. */
  host: string
  /** Empty: any repository. */
  path: string
}

/** What Docker's client and others call Docker Hub, whose name in references is `docker.io`. */
const DOCKER_HUB = ['docker.io', 'index.docker.io', 'registry-1.docker.io']

function canonicalHost(host: string): string {
  const name = host.toLowerCase()
  return DOCKER_HUB.includes(name) ? 'docker.io' : name
}

/** Entries by registry, in their order; one that cannot be read gives none. */
export function dockerConfigEntries(auths: unknown): DockerConfigEntry[] {
  if (!isObject(auths)) return []
  return Object.entries(auths).flatMap(([key, value]): DockerConfigEntry[] => {
    const account = accountOf(value)
    if (account === undefined) return []
    const [host = '', ...path] = key.replace(/^https?:\/\//, '').split('/')
    // Docker's client writes `https://host/v1/` for the whole host: the version is no part of a repository.
    return [{ ...account, host: canonicalHost(host), path: path.join('/').replace(/^v[12](\/|$)/, '') }]
  })
}

function accountOf(entry: unknown): RegistryAccount | undefined {
  if (!isObject(entry)) return undefined
  let { username, password } = entry
  if (typeof entry.auth === 'string' && entry.auth !== '') {
    const decoded = Buffer.from(entry.auth, 'base64').toString('utf8')
    const colon = decoded.indexOf(':')
    if (colon < 0) return undefined
    username = decoded.slice(0, colon)
    password = decoded.slice(colon + 1)
  }
  return typeof username === 'string' && typeof password === 'string' && username !== ''
    ? { username, password }
    : undefined
}

/** Accounts for a repository in the order in which they are to be tried: longest path first, then as given; each once. */
export function accountsFor(
  entries: readonly DockerConfigEntry[],
  registry: string,
  repository: string,
): RegistryAccount[] {
  const host = canonicalHost(registry)
  const found = entries
    .filter((entry) => repository.startsWith(entry.path) && matchesHost(entry.host, host))
    .sort((a, b) => b.path.length - a.path.length)
    .map(({ username, password }) => ({ username, password }))
  return [...new Map(found.map((account) => [JSON.stringify(account), account])).values()]
}

function matchesHost(glob: string, host: string): boolean {
  const [globName, globPort] = splitPort(glob)
  const [name, port] = splitPort(host)
  const labels = name.split('.')
  const globs = globName.split('.')
  return port === globPort && globs.length === labels.length && globs.every((each, i) => matches(each, labels[i] ?? ''))
}

function splitPort(host: string): [name: string, port: string] {
  const port = /:\d+$/.exec(host)?.[0] ?? ''
  return [host.slice(0, host.length - port.length), port]
}

/** Never goes back over a star, so that a secret with many of them costs nothing. */
function matches(glob: string, label: string): boolean {
  const [first = '', ...rest] = glob.split('*')
  const last = rest.pop()
  if (last === undefined) return label === glob
  let at = first.length
  const end = label.length - last.length
  if (at > end || !label.startsWith(first) || !label.endsWith(last)) return false
  for (const piece of rest) {
    const found = label.indexOf(piece, at)
    if (found < 0 || found + piece.length > end) return false
    at = found + piece.length
  }
  return true
}
