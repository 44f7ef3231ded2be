/**
 * How `drover agent` comes by its identity: from files that were named, from its own disk, or by joining. An agent that
 * has joined before needs nothing but its data directory.
 */
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import {
  joinCluster,
  keepRenewed,
  mustJoin,
  readIdentity,
  type StoredIdentity,
  saveServers,
  setRemoved,
  tokenLabel,
} from '../agent/identity.ts'
import { type JoinToken, parseJoinToken } from '../api/join_token.ts'
import type { Taint } from '../api/node.ts'
import { systemClock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import { hostOf } from '../rpc/client.ts'
import type { TlsFiles } from '../rpc/server.ts'
import { type AgentFlags, parseHostPort } from './flags.ts'

export interface Membership {
  nodeName: string
  servers: string[]
  nodeAddress: string
  tls: () => TlsFiles
  onMembership: (member: boolean) => void
  onServers: (servers: readonly string[]) => void
  /** Keeps the certificate renewed. */
  services: Service[]
}

function readOption(path: string | undefined, option: string): string {
  if (path === undefined) {
    throw new DroverError('invalid', `--ca, --cert and --key belong together: ${option} is missing`)
  }
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new DroverError('invalid', `${option}: cannot read ${path}: ${(error as Error).message}`, { cause: error })
  }
}

/** A token as it is, or the file that holds it: arguments can be seen by everyone on the machine. */
function readJoinToken(text: string | undefined): JoinToken | undefined {
  if (text === undefined) return undefined
  return parseJoinToken(text.includes('/') ? readOption(text, '--join') : text)
}

/** `key=value:Effect` or `key:Effect`. */
export function parseTaint(text: string): Taint {
  const match = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(text)
  const [, key, value, effect] = match ?? []
  if (key === undefined || effect === undefined) {
    throw new DroverError(
      'invalid',
      `--taint takes KEY=VALUE:EFFECT with NoSchedule, PreferNoSchedule or NoExecute, not "${text}"`,
    )
  }
  return { key, effect: effect as Taint['effect'], ...(value === undefined ? {} : { value }) }
}

/** The address that this machine sends from when it talks to the server; nothing is sent to find out. */
function ownAddress(server: string): Promise<string> {
  const host = hostOf(server)
  const { port } = parseHostPort(server, '--server')
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  return new Promise<string>((resolve, reject) => {
    const fail = (error: Error): void =>
      reject(
        new DroverError('unavailable', `no route to ${server}: ${error.message}; or name --node-address`, {
          cause: error,
        }),
      )
    socket.once('error', fail)
    socket.connect(port, host, () => resolve(socket.address().address))
  }).finally(() => socket.close())
}

function serversOf(flags: AgentFlags, stored: StoredIdentity | undefined): string[] {
  // Those that were named first: they are whom a machine asks to join. It may have heard of others since.
  const servers = [...new Set([...(flags.server ?? []), ...(stored?.servers ?? [])])]
  if (servers.length === 0) throw new DroverError('invalid', 'name a server: --server HOST:PORT')
  for (const server of servers) parseHostPort(server, '--server')
  return servers
}

export interface Declared {
  labels: Readonly<Record<string, string>>
  taints: readonly Taint[]
}

/** Joins if it must. Throws what stands in the way, in words for the user. */
export async function resolveMembership(flags: AgentFlags, declared: Declared, log: Logger): Promise<Membership> {
  if (flags.ca !== undefined || flags.cert !== undefined || flags.key !== undefined) return fromFiles(flags)
  const { dataDir } = flags
  const stored = readIdentity(dataDir)
  const token = readJoinToken(flags.join)
  const nodeName = flags.nodeName ?? stored?.nodeName ?? hostname().toLowerCase()
  const servers = serversOf(flags, stored)
  if (mustJoin(stored, { nodeName, token, nowMs: systemClock.now(), dataDir })) {
    if (token === undefined) throw new DroverError('internal', 'invariant broken: a join needs a token')
    await joinCluster({ token, servers, nodeName, ...declared, dataDir, clock: systemClock, random: systemRandom, log })
  } else if (token !== undefined) {
    log.info({ join: tokenLabel(token) }, 'this node has joined already: --join is not needed and was ignored')
  }
  return {
    nodeName,
    servers,
    nodeAddress: flags.nodeAddress ?? (await ownAddress(servers[0] ?? '')),
    tls: () => currentTls(dataDir),
    onMembership: (member) => setRemoved(dataDir, !member),
    onServers: (known) => saveServers(dataDir, known),
    services: [
      {
        id: 'certificate-renewal',
        run: (signal) => keepRenewed({ dataDir, servers, clock: systemClock, log }, signal),
      },
    ],
  }
}

function currentTls(dataDir: string): TlsFiles {
  const stored = readIdentity(dataDir)
  if (stored === undefined) throw new DroverError('internal', `the certificate in ${dataDir}/pki has gone: join again`)
  return stored.tls
}

/** Whoever made these files renews them: they are read again at each dialling. */
async function fromFiles(flags: AgentFlags): Promise<Membership> {
  const tls = (): TlsFiles => ({
    ca: readOption(flags.ca, '--ca'),
    cert: readOption(flags.cert, '--cert'),
    key: readOption(flags.key, '--key'),
  })
  tls()
  const servers = serversOf(flags, undefined)
  return {
    nodeName: flags.nodeName ?? hostname().toLowerCase(),
    servers,
    nodeAddress: flags.nodeAddress ?? (await ownAddress(servers[0] ?? '')),
    tls,
    onMembership: () => undefined,
    onServers: () => undefined,
    services: [],
  }
}
