/**
 * Finds and reads the kubeconfig: --kubeconfig, then --cluster, then $KUBECONFIG, then the local cluster "default",
 * then ~/.kube/config. Source: Kubernetes "Organizing Cluster Access Using kubeconfig Files".
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parse } from 'yaml'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { localKubeconfig } from '../base/paths.ts'

export interface ConnectionConfig {
  server: URL
  namespace: string
  ca?: string
  cert?: string
  key?: string
  token?: string
  insecure: boolean
  /** Where it was read from, for messages. */
  source: string
}

export interface KubeconfigOptions {
  kubeconfig?: string
  cluster?: string
  context?: string
  env: NodeJS.ProcessEnv
}

function locate({ kubeconfig, cluster, env }: KubeconfigOptions): string {
  if (kubeconfig !== undefined) return kubeconfig
  if (cluster !== undefined) {
    const path = localKubeconfig(cluster)
    if (existsSync(path)) return path
    throw new DroverError(
      'notFound',
      `there is no local cluster "${cluster}"; start it with: drover up --cluster ${cluster}`,
    )
  }
  const candidates = [...(env.KUBECONFIG ?? '').split(':').filter((path) => path !== ''), localKubeconfig('default')]
  candidates.push(join(homedir(), '.kube', 'config'))
  const found = candidates.find((path) => existsSync(path))
  if (found !== undefined) return found
  const named = env.KUBECONFIG ? ` (KUBECONFIG names ${env.KUBECONFIG}, which is not there)` : ''
  throw new DroverError(
    'notFound',
    `no cluster to talk to${named}; start one with: drover up, or pass --kubeconfig FILE`,
  )
}

type Entry = Record<string, unknown>

function named(list: unknown, name: unknown, field: string, path: string): Entry {
  const entry = Array.isArray(list) ? list.find((item) => isObject(item) && item.name === name) : undefined
  const value = isObject(entry) ? entry[field] : undefined
  if (!isObject(value)) throw new DroverError('invalid', `${path} has no ${field} named "${String(name)}"`)
  return value
}

/** The field itself in base64 under `<name>-data`, or a file named under `<name>`. */
function material(entry: Entry, name: string, path: string): string | undefined {
  const data = entry[`${name}-data`]
  if (typeof data === 'string') return Buffer.from(data, 'base64').toString('utf8')
  const file = entry[name]
  return typeof file === 'string' ? readFileSync(resolve(dirname(path), file), 'utf8') : undefined
}

export function loadKubeconfig(options: KubeconfigOptions): ConnectionConfig {
  const path = locate(options)
  let document: unknown
  try {
    document = parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new DroverError('invalid', `cannot read kubeconfig ${path}: ${(error as Error).message}`, { cause: error })
  }
  if (!isObject(document)) throw new DroverError('invalid', `${path} is not a kubeconfig`)
  const context = named(document.contexts, options.context ?? document['current-context'], 'context', path)
  const cluster = named(document.clusters, context.cluster, 'cluster', path)
  const user = named(document.users, context.user, 'user', path)
  if (typeof cluster.server !== 'string' || !URL.canParse(cluster.server)) {
    throw new DroverError('invalid', `${path} names no usable server address`)
  }
  const optional = {
    ca: material(cluster, 'certificate-authority', path),
    cert: material(user, 'client-certificate', path),
    key: material(user, 'client-key', path),
    token: typeof user.token === 'string' ? user.token : undefined,
  }
  return {
    server: new URL(cluster.server),
    namespace: typeof context.namespace === 'string' ? context.namespace : 'default',
    insecure: cluster['insecure-skip-tls-verify'] === true,
    source: path,
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
  }
}
