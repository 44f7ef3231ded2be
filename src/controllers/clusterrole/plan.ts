/** Rules of a ClusterRole that gathers those of others. Pure. */
import type { ClusterRole } from '../../api/clusterrole.ts'
import type { Stored } from '../../api/meta.ts'
import type { PolicyRule } from '../../api/rbac.ts'
import { matchesSelector } from '../../api/selector.ts'
import { jsonEqual } from '../../base/json.ts'

/** Rules of all roles that one of the selectors names, by the roles' names, each rule once; undefined: it gathers none. */
export function gatheredRules(
  role: Stored<ClusterRole>,
  all: readonly Stored<ClusterRole>[],
): PolicyRule[] | undefined {
  const selectors = role.aggregationRule?.clusterRoleSelectors
  if (selectors === undefined) return undefined
  const rules: PolicyRule[] = []
  const sorted = [...all].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  for (const other of sorted) {
    if (other.metadata.name === role.metadata.name) continue
    if (!selectors.some((selector) => matchesSelector(selector, other.metadata.labels))) continue
    for (const rule of other.rules ?? []) if (!rules.some((known) => jsonEqual(known, rule))) rules.push(rule)
  }
  return rules
}
