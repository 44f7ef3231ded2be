/** Where a registry is reached. Pure. */
import { DroverError } from '../../base/errors.ts'

export interface Endpoint {
  /** What credentials are asked for by, and what messages name. */
  host: string
  /** Tried in order until one answers. */
  baseUrls: readonly string[]
  verifyTls: boolean
}

export interface EndpointRules {
  insecureRegistries: readonly string[]
  mirrors: Readonly<Record<string, readonly string[]>>
}

/** Docker Hub's name is not its address. */
const ADDRESSES: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' }

/** The mirrors of a registry and then itself. An insecure one is tried with TLS first, so that it is used where it is. */
export function endpointsOf(registry: string, rules: EndpointRules): Endpoint[] {
  const address = ADDRESSES[registry] ?? registry
  const mirrors = (rules.mirrors[registry] ?? []).map((mirror): Endpoint => {
    const url = mirror.includes('://') ? mirror.replace(/\/+$/, '') : undefined
    if (url === undefined) return byHost(mirror, mirror, rules)
    if (!URL.canParse(url) || !/^https?:/.test(url)) {
      throw new DroverError(
        'invalid',
        `"${mirror}" is not a mirror of ${registry}; write for example https://mirror.local`,
      )
    }
    const { host, hostname } = new URL(url)
    return { host, baseUrls: [url], verifyTls: !isInsecure(host, hostname, rules) }
  })
  return [...mirrors, byHost(registry, address, rules)]
}

function byHost(name: string, address: string, rules: EndpointRules): Endpoint {
  const { hostname } = new URL(`https://${address}`)
  const insecure = isInsecure(address, hostname, rules)
  return {
    host: name,
    baseUrls: insecure ? [`https://${address}`, `http://${address}`] : [`https://${address}`],
    verifyTls: !insecure,
  }
}

function isInsecure(host: string, hostname: string, rules: EndpointRules): boolean {
  const loopback = hostname === 'localhost' || /^127\.\d+\.\d+\.\d+$/.test(hostname) || hostname === '[::1]'
  return loopback || rules.insecureRegistries.includes(host) || rules.insecureRegistries.includes(hostname)
}
