/**
 * The roles and bindings that every cluster begins with, as Kubernetes has them, without those of components that Drover
 * does not have. At each start what is missing of them is put back, unless the annotation `autoupdate` says `false`; what
 * people added stays. Source: Kubernetes "Using RBAC Authorization", default roles.
 */
import { type ClusterRole, clusterRoleKind } from '../api/clusterrole.ts'
import { type ClusterRoleBinding, clusterRoleBindingKind } from '../api/clusterrolebinding.ts'
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { type PolicyRule, RBAC_GROUP, type Subject } from '../api/rbac.ts'
import { isCode } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import type { Resources } from './resources.ts'

const AUTOUPDATE = 'rbac.authorization.kubernetes.io/autoupdate'
const BOOTSTRAPPING = { 'kubernetes.io/bootstrapping': 'rbac-defaults' }
const AGGREGATE = `${RBAC_GROUP}/aggregate-to-`
const API_VERSION = `${RBAC_GROUP}/v1`
const READ = ['get', 'list', 'watch']
const WRITE = ['create', 'delete', 'deletecollection', 'patch', 'update']
const ALL_VERBS = [...WRITE, ...READ]
const DROVER = 'drover.dev'

const on = (group: string, verbs: string[], ...resources: string[]): PolicyRule => ({
  apiGroups: [group],
  resources,
  verbs,
})
const paths = (...nonResourceURLs: string[]): PolicyRule => ({ nonResourceURLs, verbs: ['get'] })

function role(name: string, rules: PolicyRule[], aggregateTo?: string): ClusterRole {
  const labels = aggregateTo === undefined ? BOOTSTRAPPING : { ...BOOTSTRAPPING, [AGGREGATE + aggregateTo]: 'true' }
  const metadata = { name, labels, annotations: { [AUTOUPDATE]: 'true' } }
  return { apiVersion: API_VERSION, kind: 'ClusterRole', metadata, rules }
}

/** Holds the rules of all roles that are labelled for it; a controller gathers them, `rules` are those of the beginning. */
function gathered(name: string, rules: PolicyRule[], aggregateTo?: string): ClusterRole {
  return {
    ...role(name, rules, aggregateTo),
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [AGGREGATE + name]: 'true' } }] },
  }
}

function binding(name: string, roleName: string, ...groups: string[]): ClusterRoleBinding {
  return {
    apiVersion: API_VERSION,
    kind: 'ClusterRoleBinding',
    metadata: { name, labels: BOOTSTRAPPING, annotations: { [AUTOUPDATE]: 'true' } },
    subjects: groups.map((group) => ({ kind: 'Group', apiGroup: RBAC_GROUP, name: group })),
    roleRef: { apiGroup: RBAC_GROUP, kind: 'ClusterRole', name: roleName },
  }
}

const withStatus = (...plurals: string[]): string[] => plurals.flatMap((plural) => [plural, `${plural}/status`])

const VIEW: PolicyRule[] = [
  on('', READ, 'configmaps', ...withStatus('persistentvolumeclaims', 'pods', 'services', 'namespaces')),
  on('', READ, 'serviceaccounts', 'pods/log', 'endpoints', 'events', 'limitranges', ...withStatus('resourcequotas')),
  on('discovery.k8s.io', READ, 'endpointslices'),
  on('apps', READ, 'controllerrevisions', ...withStatus('daemonsets', 'deployments', 'replicasets', 'statefulsets')),
  on('apps', READ, 'deployments/scale', 'replicasets/scale', 'statefulsets/scale'),
  on('autoscaling', READ, ...withStatus('horizontalpodautoscalers')),
  on('batch', READ, ...withStatus('cronjobs', 'jobs')),
  on('policy', READ, ...withStatus('poddisruptionbudgets')),
  on('networking.k8s.io', READ, 'networkpolicies', ...withStatus('ingresses')),
  on('metrics.k8s.io', READ, 'pods'),
  on(DROVER, ['get'], 'pods/why'),
]

const EDIT: PolicyRule[] = [
  on('', READ, 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy', 'secrets', 'services/proxy'),
  on('', ['impersonate'], 'serviceaccounts'),
  on('', WRITE, 'pods', 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy'),
  on('', ['create'], 'pods/eviction', 'serviceaccounts/token'),
  on(
    '',
    WRITE,
    'configmaps',
    'events',
    'persistentvolumeclaims',
    'secrets',
    'serviceaccounts',
    'services',
    'services/proxy',
  ),
  on('apps', WRITE, 'daemonsets', 'deployments', 'replicasets', 'statefulsets'),
  on('apps', WRITE, 'deployments/scale', 'deployments/rollback', 'replicasets/scale', 'statefulsets/scale'),
  on('autoscaling', WRITE, 'horizontalpodautoscalers'),
  on('batch', WRITE, 'cronjobs', 'jobs'),
  on('policy', WRITE, 'poddisruptionbudgets'),
  on('networking.k8s.io', WRITE, 'ingresses', 'networkpolicies'),
  on('coordination.k8s.io', ALL_VERBS, 'leases'),
]

const ADMIN: PolicyRule[] = [
  on('authorization.k8s.io', ['create'], 'localsubjectaccessreviews'),
  on(RBAC_GROUP, ALL_VERBS, 'rolebindings', 'roles'),
]

/** Without a binding: nodes are authorized by what their pods need (apiserver/authorization/node.ts). */
const NODE: PolicyRule[] = [
  on('', READ, 'services'),
  on('discovery.k8s.io', READ, 'endpointslices'),
  on(
    '',
    ['get'],
    'nodes',
    'pods',
    'secrets',
    'configmaps',
    'persistentvolumeclaims',
    'persistentvolumes',
    'serviceaccounts',
  ),
  on('', ['get', 'patch', 'update'], 'nodes/status', 'pods/status'),
  on('', ['create', 'patch'], 'events'),
  on('', ['create'], 'serviceaccounts/token'),
]

const HEALTH = ['/healthz', '/livez', '/readyz', '/version', '/version/']

export const DEFAULT_CLUSTER_ROLES: readonly ClusterRole[] = [
  role('cluster-admin', [on('*', ['*'], '*'), { nonResourceURLs: ['*'], verbs: ['*'] }]),
  gathered('admin', [...EDIT, ...VIEW, ...ADMIN]),
  gathered('edit', [...EDIT, ...VIEW], 'admin'),
  gathered('view', VIEW, 'edit'),
  role('system:aggregate-to-admin', ADMIN, 'admin'),
  role('system:aggregate-to-edit', EDIT, 'edit'),
  role('system:aggregate-to-view', VIEW, 'view'),
  role('system:auth-delegator', [
    on('authentication.k8s.io', ['create'], 'tokenreviews'),
    on('authorization.k8s.io', ['create'], 'subjectaccessreviews'),
  ]),
  role('system:basic-user', [
    on('authorization.k8s.io', ['create'], 'selfsubjectaccessreviews', 'selfsubjectrulesreviews'),
    on('authentication.k8s.io', ['create'], 'selfsubjectreviews'),
  ]),
  role('system:discovery', [paths('/api', '/api/*', '/apis', '/apis/*', '/openapi', '/openapi/*', ...HEALTH)]),
  role('system:public-info-viewer', [paths(...HEALTH)]),
  role('system:monitoring', [
    paths('/metrics', '/healthz', '/healthz/*', '/livez', '/livez/*', '/readyz', '/readyz/*'),
  ]),
  role('system:service-account-issuer-discovery', [paths('/.well-known/openid-configuration', '/openid/v1/jwks')]),
  role('system:node', NODE),
]

export const DEFAULT_BINDINGS: readonly ClusterRoleBinding[] = [
  binding('cluster-admin', 'cluster-admin', 'system:masters'),
  binding('system:basic-user', 'system:basic-user', 'system:authenticated'),
  binding('system:discovery', 'system:discovery', 'system:authenticated'),
  binding('system:public-info-viewer', 'system:public-info-viewer', 'system:authenticated', 'system:unauthenticated'),
  binding('system:monitoring', 'system:monitoring', 'system:monitoring'),
  binding(
    'system:service-account-issuer-discovery',
    'system:service-account-issuer-discovery',
    'system:serviceaccounts',
  ),
]

/** What stands there, with what it lacks of the default; undefined when it lacks nothing. Pure. */
export function mendedRole(found: ClusterRole, wanted: ClusterRole): ClusterRole | undefined {
  const rules = withMissing(found.rules, wanted.aggregationRule === undefined ? wanted.rules : undefined)
  const aggregationRule = found.aggregationRule ?? wanted.aggregationRule
  const next: ClusterRole = { ...found, metadata: mendedMeta(found, wanted) }
  if (rules !== undefined) next.rules = rules
  if (aggregationRule !== undefined) next.aggregationRule = aggregationRule
  return jsonEqual(next, found) ? undefined : next
}

export function mendedBinding(found: ClusterRoleBinding, wanted: ClusterRoleBinding): ClusterRoleBinding | undefined {
  const subjects: Subject[] = withMissing(found.subjects, wanted.subjects) ?? []
  const next = { ...found, metadata: mendedMeta(found, wanted), subjects }
  return jsonEqual(next, found) ? undefined : next
}

function withMissing<T>(found: T[] | undefined, wanted: T[] | undefined): T[] | undefined {
  if (wanted === undefined) return found
  const missing = wanted.filter((one) => !(found ?? []).some((other) => jsonEqual(one, other)))
  return [...(found ?? []), ...missing]
}

function mendedMeta<T extends KubeObject>(found: T, wanted: T): T['metadata'] {
  const { labels, annotations } = found.metadata
  return {
    ...found.metadata,
    labels: { ...wanted.metadata.labels, ...labels },
    annotations: { ...wanted.metadata.annotations, ...annotations },
  }
}

/** Idempotent; safe on several servers at once. */
export async function ensureDefaultRoles(resources: Resources): Promise<void> {
  await Promise.all([
    ...DEFAULT_CLUSTER_ROLES.map((wanted) => ensure(resources, clusterRoleKind, wanted, mendedRole)),
    ...DEFAULT_BINDINGS.map((wanted) => ensure(resources, clusterRoleBindingKind, wanted, mendedBinding)),
  ])
}

async function ensure<T extends KubeObject>(
  resources: Resources,
  kind: KindDefinition<T>,
  wanted: T,
  mended: (found: T, wanted: T) => T | undefined,
): Promise<void> {
  const { name = '' } = wanted.metadata
  const isOurs = (found: T): boolean => found.metadata.annotations?.[AUTOUPDATE] !== 'false'
  try {
    const found = resources.get(kind, '', name)
    if (found === undefined) await resources.create(kind, structuredClone(wanted))
    else if (isOurs(found) && mended(found, wanted) !== undefined) {
      await resources.modify(kind, '', name, 'main', (now) => (isOurs(now) ? mended(now, wanted) : undefined))
    }
  } catch (error) {
    // Another server starts at the same time, or someone takes it away just now.
    if (!isCode(error, 'alreadyExists') && !isCode(error, 'notFound')) throw error
  }
}
