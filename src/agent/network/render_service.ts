/**
 * One service as nft chains and elements. Per port: a chain that picks an endpoint with `numgen random`, named by
 * elements for the cluster IP, external IPs and the node port. Sources for the meaning of the policies: Kubernetes,
 * "Virtual IPs and Service Proxies". A Local policy without a local endpoint refuses instead of dropping in silence.
 */
import { isIPv4 } from 'node:net'
import type { ServiceEndpoint, ServicePortRow, ServiceRow } from '../../rpc/tables.ts'
import { hash } from './names.ts'
import { HAIRPIN, NODE_PORTS, OUTSIDE, REFUSED, REFUSED_NODE_PORTS, SERVICES } from './skeleton.ts'
import { type Rule, rule } from './table.ts'

export interface RenderContext {
  nodeName: string
  clusterCidr: string
  isLocal(endpoint: ServiceEndpoint): boolean
  /** Whether the address is a pod's of the overlay. */
  isOverlay(address: string): boolean
}

export interface Element {
  set: string
  key: string
  verdict: string
}

export interface RenderedService {
  chains: [string, Rule[]][]
  affinities: [string, number][]
  elements: Element[]
  /** What was left out, in words. */
  problems: string[]
}

/** Ready endpoints; where none is ready, those that the service has all the same. */
function firstReady(endpoints: readonly ServiceEndpoint[]): ServiceEndpoint[] {
  const ready = endpoints.filter((endpoint) => endpoint.ready)
  return ready.length > 0 ? ready : [...endpoints]
}

/** Kernel bound on chain names is 127 characters. */
const MAX_READABLE = 90

class Renderer {
  readonly output: RenderedService = { chains: [], affinities: [], elements: [], problems: [] }
  readonly #service: ServiceRow
  readonly #context: RenderContext

  constructor(service: ServiceRow, context: RenderContext) {
    this.#service = service
    this.#context = context
  }

  port(port: ServicePortRow): void {
    // The API checks these; a wrong number here would make nft refuse the whole transaction, every service's.
    if (!this.#isPort(port.port) || (port.nodePort !== 0 && !this.#isPort(port.nodePort))) return
    const { clusterIP, externalIPs, externalTrafficPolicy, internalTrafficPolicy } = this.#service
    const known = this.#known(port)
    const usable = firstReady(known)
    const local = firstReady(known.filter((endpoint) => this.#context.isLocal(endpoint)))
    const addresses = externalIPs.filter((address) => this.#isAddress(address, 'external IP'))
    const internalLocal = internalTrafficPolicy === 'Local'
    const external = addresses.length > 0 || port.nodePort > 0
    const externalLocal = external && externalTrafficPolicy === 'Local'

    const needsAll = usable.length > 0 && (!internalLocal || external)
    const all = needsAll ? this.#endpoints('svc', port, usable) : ''
    const near = internalLocal && local.length > 0 ? this.#endpoints('near', port, local) : ''
    if (clusterIP !== '' && clusterIP !== 'None' && this.#isAddress(clusterIP, 'cluster IP')) {
      this.#address(clusterIP, port, internalLocal ? near : all)
    }
    const outer = externalLocal && usable.length > 0 ? this.#external(port, all, local) : all
    const refuse = externalLocal ? local.length === 0 : usable.length === 0
    for (const address of addresses) {
      if (outer !== '') this.#element(SERVICES, this.#key(address, port), outer)
      if (refuse) this.#element(REFUSED, this.#key(address, port))
    }
    if (port.nodePort > 0) {
      const key = `${port.protocol.toLowerCase()} . ${port.nodePort}`
      if (outer !== '') this.#element(NODE_PORTS, key, outer)
      if (refuse) this.#element(REFUSED_NODE_PORTS, key)
    }
    for (const endpoint of new Set([...usable, ...local])) this.#destination(endpoint, port)
  }

  #known(port: ServicePortRow): ServiceEndpoint[] {
    const unique = new Map<string, ServiceEndpoint>()
    for (const endpoint of port.endpoints) {
      if (!this.#isAddress(endpoint.address, 'endpoint') || !this.#isPort(endpoint.port)) continue
      unique.set(`${endpoint.address}:${endpoint.port}`, endpoint)
    }
    return [...unique.keys()].sort().flatMap((key) => unique.get(key) ?? [])
  }

  /** From inside the cluster a Local policy does not bind: only clients from outside would lose their address. */
  #external(port: ServicePortRow, all: string, local: ServiceEndpoint[]): string {
    const rules = [`ip saddr ${this.#context.clusterCidr} goto ${all}`, `fib saddr type local goto ${all}`]
    if (local.length > 0) rules.push(`goto ${this.#endpoints('ext-near', port, local)}`)
    return this.#chain('ext', port, '', rules)
  }

  #endpoints(prefix: string, port: ServicePortRow, endpoints: readonly ServiceEndpoint[]): string {
    const protocol = `meta l4proto ${port.protocol.toLowerCase()}`
    const seconds = this.#service.sessionAffinitySeconds
    if (seconds > 0) return this.#sticky(prefix, port, endpoints)
    const [only] = endpoints
    if (endpoints.length === 1 && only !== undefined) {
      return this.#chain(prefix, port, '', [`${protocol} dnat to ${only.address}:${only.port}`])
    }
    const choices = endpoints.map(({ address, port: to }, i) => `${i} : ${address} . ${to}`)
    const pick = `numgen random mod ${endpoints.length} map { ${choices.join(', ')} }`
    return this.#chain(prefix, port, '', [`${protocol} dnat ip to ${pick}`])
  }

  /**
   * ClientIP: each endpoint has a set of the clients it served lately. One set an endpoint, not one map a service: a
   * change of the other endpoints leaves a client where it is.
   */
  #sticky(prefix: string, port: ServicePortRow, endpoints: readonly ServiceEndpoint[]): string {
    const seconds = this.#service.sessionAffinitySeconds
    const remembered: string[] = []
    const choices: string[] = []
    for (const [i, { address, port: to }] of endpoints.entries()) {
      const set = `aff-${this.#id(port, `${address}:${to}`, String(seconds))}`
      const target = `${address}:${to}`
      if (!this.output.affinities.some(([name]) => name === set)) this.output.affinities.push([set, seconds])
      const dnat = `meta l4proto ${port.protocol.toLowerCase()} dnat to ${target}`
      const chain = this.#chain('ep', port, `${target}/${seconds}`, [`update @${set} { ip saddr }`, dnat])
      remembered.push(`ip saddr @${set} goto ${chain}`)
      choices.push(`${i} : goto ${chain}`)
    }
    const pick = `numgen random mod ${endpoints.length} vmap { ${choices.join(', ')} }`
    return this.#chain(prefix, port, '', [...remembered, pick])
  }

  #destination({ address, port: to }: ServiceEndpoint, port: ServicePortRow): void {
    if (!this.#context.isOverlay(address)) this.#element(OUTSIDE, `${address} . ${port.protocol.toLowerCase()} . ${to}`)
    else if (this.#context.isLocal({ address, port: to, ready: true }))
      this.#element(HAIRPIN, `${address} . ${address}`)
  }

  #address(address: string, port: ServicePortRow, chain: string): void {
    if (chain === '') this.#element(REFUSED, this.#key(address, port))
    else this.#element(SERVICES, this.#key(address, port), chain)
  }

  #key(address: string, port: ServicePortRow): string {
    return `${address} . ${port.protocol.toLowerCase()} . ${port.port}`
  }

  #element(set: string, key: string, chain = ''): void {
    this.output.elements.push({ set, key, verdict: chain === '' ? '' : `goto ${chain}` })
  }

  #id(port: ServicePortRow, ...more: string[]): string {
    const { namespace, name } = this.#service
    return hash([namespace, name, port.name, port.protocol, String(port.port), ...more].join('\n'), 12)
  }

  /** The readable tail is for people who read `nft list table ip drover`; the hash makes the name unique. */
  #chain(prefix: string, port: ServicePortRow, discriminator: string, texts: readonly string[]): string {
    const { namespace, name } = this.#service
    const readable = [namespace, name, port.name === '' ? String(port.port) : port.name].join('/')
    const safe = readable.replace(/[^A-Za-z0-9/.-]/g, '-').slice(0, MAX_READABLE)
    const chain = `${prefix}-${this.#id(port, discriminator)}/${safe}`
    if (!this.output.chains.some(([known]) => known === chain)) this.output.chains.push([chain, texts.map(rule)])
    return chain
  }

  #isPort(number: number): boolean {
    if (Number.isInteger(number) && number > 0 && number < 65536) return true
    const { namespace, name } = this.#service
    this.output.problems.push(`service ${namespace}/${name}: ${number} is no port and is left out`)
    return false
  }

  #isAddress(text: string, what: string): boolean {
    if (isIPv4(text)) return true
    const { namespace, name } = this.#service
    this.output.problems.push(`service ${namespace}/${name}: ${what} "${text}" is no IPv4 address and is left out`)
    return false
  }
}

export function renderService(service: ServiceRow, context: RenderContext): RenderedService {
  const renderer = new Renderer(service, context)
  for (const port of service.ports) renderer.port(port)
  return renderer.output
}
