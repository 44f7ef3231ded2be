/** What a machine needs to join: kept in kube-public/cluster-info, and printed while the cluster has no node yet. */
import { CLUSTER_INFO, type OwnInfo, withClusterInfo } from '../api/cluster_info.ts'
import { type ConfigMap, configMapKind } from '../api/configmap.ts'
import { createJoinToken, DEFAULT_TTL_MS, formatJoinToken, tokenSecret } from '../api/join_token.ts'
import { nodeKind } from '../api/node.ts'
import { secretKind } from '../api/secret.ts'
import type { Clock } from '../base/clock.ts'
import { isCode } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import type { Resources } from '../resources/resources.ts'

/** Idempotent; several servers each write their own part. */
export async function ensureClusterInfo(resources: Resources, own: OwnInfo): Promise<void> {
  const { namespace, name } = CLUSTER_INFO
  try {
    if (resources.get(configMapKind, namespace, name) === undefined) {
      await resources.create(configMapKind, withClusterInfo(undefined, own))
      return
    }
  } catch (error) {
    if (!isCode(error, 'alreadyExists')) throw error
  }
  await resources.modify<ConfigMap>(configMapKind, namespace, name, 'main', (old) => {
    const next = withClusterInfo(old, own)
    return jsonEqual(next, old) ? undefined : next
  })
}

/** A token and the words to use it, while there is no node; undefined when there is one. */
export async function firstJoinLine(resources: Resources, own: OwnInfo, clock: Clock): Promise<string | undefined> {
  if (resources.list(nodeKind).length > 0) return undefined
  const token = createJoinToken(own.caHash)
  const facts = { expiresAtMs: clock.now() + DEFAULT_TTL_MS, description: 'made when the server first started' }
  await resources.create(secretKind, tokenSecret(token, facts))
  const servers = own.nodeAddresses.join(' ')
  return [
    '',
    'To make a machine a node of this cluster, run there as root (good for 24 hours):',
    '',
    `  drover agent --join ${formatJoinToken(token)} --server ${servers}`,
    '',
    'For another line later: drover token create',
    '',
    '',
  ].join('\n')
}
