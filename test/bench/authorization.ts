/**
 * What the question "may they?" adds to a request: a user of ten groups among 2,000 bindings of 500 roles, allowed by the last role looked
 * at, refused, and a service account's token verified again. The ratio is to the budget of 20 µs.
 */

import { generateKeyPairSync } from 'node:crypto'
import { clusterRoleKind } from '../../src/api/clusterrole.ts'
import { roleBindingKind } from '../../src/api/rolebinding.ts'
import { serviceAccountKind } from '../../src/api/serviceaccount.ts'
import { Authorizer } from '../../src/apiserver/authorization/authorizer.ts'
import { systemClock } from '../../src/base/clock.ts'
import { parseSigningKeys } from '../../src/base/cluster_keys.ts'
import { seededRandom } from '../../src/base/random.ts'
import { ensureDefaultRoles } from '../../src/resources/default_roles.ts'
import { createServiceAccountTokens } from '../../src/resources/service_account_tokens.ts'
import { runResources } from '../support/resources.ts'
import type { BenchResult } from './result.ts'

const BUDGET_US = 20
const ROUNDS = 50_000
const ROLES = 500
const BINDINGS = 2_000
const apiVersion = 'rbac.authorization.k8s.io/v1'

function microseconds(work: () => unknown): number {
  for (let i = 0; i < ROUNDS / 10; i++) work()
  const startMs = systemClock.monotonicMs()
  for (let i = 0; i < ROUNDS; i++) work()
  return ((systemClock.monotonicMs() - startMs) * 1_000) / ROUNDS
}

export async function benchAuthorization(): Promise<BenchResult[]> {
  const world = await runResources()
  const { resources } = world
  const authorizer = new Authorizer(resources)
  try {
    await ensureDefaultRoles(resources)
    const rules = Array.from({ length: 10 }, (_, i) => ({
      apiGroups: ['apps'],
      resources: [`kind${i}`],
      verbs: ['get', 'list'],
    }))
    await Promise.all(
      Array.from({ length: ROLES }, (_, i) =>
        resources.create(clusterRoleKind, { apiVersion, kind: 'ClusterRole', metadata: { name: `role-${i}` }, rules }),
      ),
    )
    await Promise.all(
      Array.from({ length: BINDINGS }, (_, i) =>
        resources.create(roleBindingKind, {
          apiVersion,
          kind: 'RoleBinding',
          metadata: { name: `binding-${i}`, namespace: i % 2 === 0 ? 'default' : 'kube-system' },
          subjects: [{ kind: 'Group', name: `group-${i % 200}` }],
          roleRef: { kind: 'ClusterRole', name: i % 200 === 8 ? 'view' : `role-${i % ROLES}` },
        }),
      ),
    )
    await resources.waitForRevision(await resources.currentRevision(), 10_000)
    const user = {
      name: 'ann',
      groups: [...Array.from({ length: 10 }, (_, i) => `group-${i}`), 'system:authenticated'],
    }
    const pods = { verb: 'list', group: '', plural: 'pods', subresource: '', namespace: 'default', name: '', path: '' }
    if (!authorizer.isAllowed(user, pods)) throw new Error('the benchmark’s user should be allowed')
    const allowed = microseconds(() => authorizer.decide(user, pods))
    const refused = microseconds(() => authorizer.decide(user, { ...pods, plural: 'secrets' }))
    const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' })
    const keys = parseSigningKeys(pem.toString(), 'bench')
    const tokens = createServiceAccountTokens({ resources, clock: systemClock, random: seededRandom(1), keys })
    const metadata = { name: 'ci', namespace: 'default' }
    await resources.create(serviceAccountKind, { apiVersion: 'v1', kind: 'ServiceAccount', metadata })
    const { token } = tokens.issueToken({ namespace: 'default', serviceAccount: 'ci' })
    const known = microseconds(() => tokens.verify(token))
    const result = (name: string, us: number, detail: string): BenchResult => ({
      name,
      ratio: us / BUDGET_US,
      limit: 1,
      better: 'lower',
      detail: `${us.toFixed(1)} µs of ${BUDGET_US} µs; ${detail}`,
    })
    return [
      result('authorization, allowed', allowed, `11 groups, ${BINDINGS} bindings, ${ROLES} roles`),
      result('authorization, refused', refused, 'every binding that names the user has been looked at'),
      result('service account token', known, 'known signature; account looked up'),
    ]
  } finally {
    authorizer.close()
    await world.stop()
  }
}
