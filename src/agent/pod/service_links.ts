/**
 * Variables that tell a container where the services of its namespace are. Pure. Source: Kubernetes "Service", section
 * "Environment variables"; the longer names are those that Docker's links had.
 */
import { hostPort } from '../../base/host_port.ts'
import type { ServiceRow } from '../../rpc/tables.ts'

/** The API's own service, which every pod is told of. */
const API_SERVICE = { namespace: 'default', name: 'kubernetes' }

export function serviceLinks(
  rows: readonly ServiceRow[],
  { namespace, enabled }: { namespace: string; enabled: boolean },
): Map<string, string> {
  const env = new Map<string, string>()
  const wanted = rows.filter((row) => (enabled && row.namespace === namespace) || isApi(row))
  // Of two services of one name, the namespace's own is meant.
  wanted.sort(
    (a, b) => Number(a.namespace === namespace) - Number(b.namespace === namespace) || compare(a.name, b.name),
  )
  for (const row of wanted) addService(env, row)
  return env
}

function isApi({ namespace, name }: ServiceRow): boolean {
  return namespace === API_SERVICE.namespace && name === API_SERVICE.name
}

function addService(env: Map<string, string>, { name, clusterIP, ports }: ServiceRow): void {
  const [first] = ports
  // Headless services have no one address to be told.
  if (clusterIP === '' || first === undefined) return
  const prefix = name.toUpperCase().replaceAll('-', '_')
  const url = ({ protocol, port }: typeof first): string => `${protocol.toLowerCase()}://${hostPort(clusterIP, port)}`
  env.set(`${prefix}_SERVICE_HOST`, clusterIP)
  env.set(`${prefix}_SERVICE_PORT`, String(first.port))
  env.set(`${prefix}_PORT`, url(first))
  for (const row of ports) {
    const port = `${prefix}_PORT_${row.port}_${row.protocol}`
    if (row.name !== '')
      env.set(`${prefix}_SERVICE_PORT_${row.name.toUpperCase().replaceAll('-', '_')}`, String(row.port))
    env.set(port, url(row))
    env.set(`${port}_PROTO`, row.protocol.toLowerCase())
    env.set(`${port}_PORT`, String(row.port))
    env.set(`${port}_ADDR`, clusterIP)
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
