/**
 * All services as one desired table. A service is rendered again only when its row changed; who owns an element that
 * two services claim (an external IP used twice) is settled here, by name, so that one mistake never blocks the rest.
 */
import { cidrContains, parseAddress, parseCidr } from '../../base/cidr.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ServiceEndpoint, ServiceRow } from '../../rpc/tables.ts'
import type { NodeNetworkConfig } from './network.ts'
import { type RenderContext, type RenderedService, renderService } from './render_service.ts'
import { renderSkeleton, type TableFacts } from './skeleton.ts'
import { emptyTable, type Skeleton, type TableState } from './table.ts'

export interface ServicePlan {
  /** By `NAMESPACE/NAME`; given back to the next plan so that unchanged rows cost nothing. */
  rendered: Map<string, { row: ServiceRow; service: RenderedService }>
  table: TableState
  skeleton: Skeleton
  problems: string[]
}

export function renderContext(config: NodeNetworkConfig): RenderContext {
  const podCidr = parseCidr(config.podCidr)
  const clusterCidr = parseCidr(config.cluster.clusterCidr)
  return {
    nodeName: config.nodeName,
    clusterCidr: config.cluster.clusterCidr,
    isLocal: ({ nodeName, address }: ServiceEndpoint) =>
      nodeName === config.nodeName || cidrContains(podCidr, parseAddress(address)),
    isOverlay: (address) => cidrContains(clusterCidr, parseAddress(address)),
  }
}

function hasAddress({ clusterIP, externalIPs, ports }: ServiceRow): boolean {
  return clusterIP !== '' || externalIPs.length > 0 || ports.some(({ nodePort }) => nodePort > 0)
}

export function planServices(
  config: TableFacts,
  rows: readonly ServiceRow[],
  previous?: ReadonlyMap<string, { row: ServiceRow; service: RenderedService }>,
): ServicePlan {
  const context = renderContext(config)
  const { skeleton, chains } = renderSkeleton(config)
  const table = emptyTable(skeleton)
  for (const [name, rules] of chains) table.chains.set(name, rules)
  const plan: ServicePlan = { rendered: new Map(), table, skeleton, problems: [] }

  const byKey = new Map(rows.map((row) => [`${row.namespace}/${row.name}`, row]))
  for (const key of [...byKey.keys()].sort()) {
    const row = byKey.get(key)
    // Headless and ExternalName services are names: there is no address to send anything from.
    if (row === undefined || !hasAddress(row)) continue
    const known = previous?.get(key)
    const service = known !== undefined && jsonEqual(known.row, row) ? known.service : renderService(row, context)
    plan.rendered.set(key, { row, service })
    plan.problems.push(...service.problems)
    for (const [name, rules] of service.chains) table.chains.set(name, rules)
    for (const [name, seconds] of service.affinities) table.affinities.set(name, seconds)
    for (const { set, key: element, verdict } of service.elements) {
      const elements = table.elements.get(set)
      const claimed = elements?.get(element)
      if (claimed === undefined) elements?.set(element, verdict)
      else if (claimed !== verdict) plan.problems.push(`service ${key}: ${element} belongs to another service already`)
    }
  }
  return plan
}
