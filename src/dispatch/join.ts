/**
 * How a machine becomes a node. The Node object is the one record of who may speak for a name: a joining writes a fresh
 * join id into it, the certificate carries that id, and a session is taken only while the two agree. Removing the
 * Node, or joining anew under its name, therefore ends the old certificate; nothing else has to be remembered.
 *
 * Order of the checks: the rate of failures, the token, and only then anything that tells the caller of the cluster.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { readTokenSecret, secretSha256, TOKEN_NAMESPACE, tokenSecretName } from '../api/join_token.ts'
import { ANNOTATION, isDnsSubdomain, JOIN_ID_PREFIX } from '../api/names.ts'
import { isNodeReady, type Node, nodeAddress, nodeKind } from '../api/node.ts'
import { secretKind } from '../api/secret.ts'
import type { Clock } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import type { CertificateAndKey } from '../base/pki.ts'
import type { Random } from '../base/random.ts'
import type { Resources } from '../resources/resources.ts'
import type { JoinRequest, JoinResponse, RenewRequest, RenewResponse } from '../rpc/join_messages.ts'
import { parseJson } from '../rpc/messages.ts'
import type { NodeCaller } from '../rpc/server.ts'
import { FailureLimit } from './failure_limit.ts'

export interface JoinAuthority {
  ca: CertificateAndKey
  /** Life of a node's certificate. */
  certificateMs: number
  clusterName: string
  /** `host:port` of the servers' node listeners. */
  servers(): readonly string[]
}

export interface JoinOptions {
  resources: Resources
  clock: Clock
  random: Random
  log: Logger
  authority: JoinAuthority
}

const MAX_CLOCK_OFFSET_MS = 5 * 60_000
const BARRIER_TIMEOUT_MS = 10_000
const UNKNOWN =
  'the join token is not known to this cluster: it is wrong, has been revoked, or expired long ago; make one with: drover token create'

export interface JoinDesk {
  join(request: JoinRequest, source: string): Promise<JoinResponse>
  renew(caller: NodeCaller, request: RenewRequest): Promise<RenewResponse>
}

export function createJoinDesk(options: JoinOptions): JoinDesk {
  const { resources, clock, random, log, authority } = options
  const failures = new FailureLimit(clock)

  const issue = async (nodeName: string, joinId: string | undefined, publicKey: Uint8Array): Promise<string> => {
    const { signPublicKey } = await import('../base/pki.ts')
    return signPublicKey(authority.ca, publicKey, {
      commonName: `system:node:${nodeName}`,
      organizations: ['system:nodes'],
      ...(joinId === undefined ? {} : { organizationalUnits: [`${JOIN_ID_PREFIX}${joinId}`] }),
      usages: ['client'],
      validityMs: authority.certificateMs,
      clock,
    })
  }

  return {
    async join(request, source) {
      failures.check(source)
      try {
        await resources.waitForRevision(await resources.currentRevision(), BARRIER_TIMEOUT_MS)
        checkToken(resources, request, clock.now())
      } catch (error) {
        if (isCode(error, 'unauthorized')) {
          failures.add(source)
          log.warn({ source, node: request.nodeName, tokenId: request.tokenId.slice(0, 16) }, 'join refused: bad token')
        }
        throw error
      }
      const { nodeName, publicKey } = request
      checkClock(request.clockMs, clock.now())
      if (!isDnsSubdomain(nodeName)) {
        throw new DroverError(
          'invalid',
          `"${nodeName}" is no name for a node: lower case letters, digits, "-" and "."; choose one with --node-name`,
        )
      }
      const joinId = random.uuid()
      // The key is tried before anything is written: a request that cannot end well leaves nothing behind.
      const certificate = await issue(nodeName, joinId, publicKey)
      await register(resources, request, joinId)
      log.info({ node: nodeName, source, tokenId: request.tokenId }, 'node joined')
      const { ca, clusterName } = authority
      return { certificate, ca: ca.certPem, servers: [...authority.servers()], clusterName }
    },
    async renew({ nodeName, joinId }, { publicKey, clockMs }) {
      checkClock(clockMs, clock.now())
      checkMember(resources, { nodeName, joinId })
      const certificate = await issue(nodeName, joinId, publicKey)
      log.info({ node: nodeName }, 'node certificate renewed')
      return { certificate, ca: authority.ca.certPem, servers: [...authority.servers()] }
    },
  }
}

/**
 * Throws `gone` when the certificate's joining is over: its Node was removed, or the name was joined anew. One without a
 * join id was made with the CA's key itself, by hand, and is bound to no joining.
 */
export function checkMember(resources: Resources, { nodeName, joinId }: NodeCaller): void {
  if (joinId === undefined) return
  const node = resources.get(nodeKind, '', nodeName)
  if (node === undefined) {
    throw new DroverError('gone', `node ${nodeName} was removed from the cluster; join again with a new token`)
  }
  if (node.metadata.annotations?.[ANNOTATION.joinId] !== joinId) {
    throw new DroverError('gone', `another machine has joined as node ${nodeName} since; join again under another name`)
  }
}

function checkToken(resources: Resources, { tokenId, tokenSecret }: JoinRequest, nowMs: number): void {
  const secret = resources.get(secretKind, TOKEN_NAMESPACE, tokenSecretName(tokenId))
  const stored = secret === undefined ? undefined : readTokenSecret(secret)
  // Compared in any case, so that the time taken does not tell whether the id exists.
  const right = sameText(secretSha256(tokenSecret), stored?.secretSha256 ?? '')
  if (stored === undefined || !right || !stored.joins) throw new DroverError('unauthorized', UNKNOWN)
  if (stored.expiresAtMs > nowMs) return
  const at = new Date(stored.expiresAtMs).toISOString()
  throw new DroverError('unauthorized', `the join token expired at ${at}; make a new one with: drover token create`)
}

function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}

function checkClock(theirsMs: number, oursMs: number): void {
  const offsetMs = theirsMs - oursMs
  if (Math.abs(offsetMs) <= MAX_CLOCK_OFFSET_MS) return
  const seconds = Math.round(Math.abs(offsetMs) / 1000)
  throw new DroverError(
    'invalid',
    `this machine's clock is ${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'} the server's (${new Date(oursMs).toISOString()}): set it, for example with NTP; ${MAX_CLOCK_OFFSET_MS / 60_000} minutes are tolerated`,
  )
}

/** Makes the Node, or takes over the one of a machine that has gone. Throws `alreadyExists` when its machine lives. */
async function register(resources: Resources, request: JoinRequest, joinId: string): Promise<void> {
  const { nodeName, machineId } = request
  const identity = { [ANNOTATION.joinId]: joinId, [ANNOTATION.machineId]: machineId }
  const { labels, taints } = declared(request.nodeJson)
  const created: Node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: nodeName, labels, annotations: identity },
    spec: taints === undefined ? {} : { taints },
  }
  try {
    await resources.create(nodeKind, created)
    return
  } catch (error) {
    if (!isCode(error, 'alreadyExists')) throw error
  }
  await resources.modify<Node>(nodeKind, '', nodeName, 'main', (node) => {
    const same = machineId !== '' && node.metadata.annotations?.[ANNOTATION.machineId] === machineId
    if (isNodeReady(node) && !same) {
      const address = nodeAddress(node, 'InternalIP') ?? 'unknown'
      throw new DroverError(
        'alreadyExists',
        `node name "${nodeName}" is in use by a live node (address ${address}): choose another with --node-name; if that node is no more, wait until it is NotReady, or remove it first: drover node rm ${nodeName}`,
      )
    }
    const { metadata } = node
    return {
      ...node,
      metadata: {
        ...metadata,
        labels: { ...metadata.labels, ...labels },
        annotations: { ...metadata.annotations, ...identity },
      },
    }
  })
}

/** What the machine says of itself; the schema is checked when it is written. */
function declared(json: Uint8Array): { labels: Record<string, string>; taints: NonNullable<Node['spec']>['taints'] } {
  const node = json.length === 0 ? {} : parseJson(json, 'the node in Join')
  if (!isObject(node)) throw new DroverError('invalid', 'the node in Join is not an object')
  const { metadata, spec } = node as unknown as Partial<Node>
  return { labels: metadata?.labels ?? {}, taints: spec?.taints }
}
