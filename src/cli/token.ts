/** `drover token`: what lets machines join. Id and secret are made here; the cluster keeps only the secret's hash. */
import type { Command } from 'commander'
import { CLUSTER_INFO, type ClusterInfo, readClusterInfo } from '../api/cluster_info.ts'
import { type ConfigMap, configMapKind } from '../api/configmap.ts'
import {
  checkTokenId,
  createJoinToken,
  formatJoinToken,
  readTokenSecret,
  type StoredToken,
  TOKEN_NAMESPACE,
  TOKEN_TYPE,
  tokenSecret,
  tokenSecretName,
} from '../api/join_token.ts'
import { type Secret, secretKind } from '../api/secret.ts'
import { DroverError, isCode } from '../base/errors.ts'
import { type CliContext, contextOf, type Io } from './context.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'
import { alignColumns } from './table.ts'

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of `90s`, `30m`, `24h`, `7d`; Infinity for `0`, which never ends. */
export function parseTtl(text: string): number {
  if (text === '0') return Number.POSITIVE_INFINITY
  const [, number, unit = ''] = /^(\d+)([smhd])$/.exec(text) ?? []
  const ms = Number(number) * (UNITS[unit] ?? Number.NaN)
  if (!(ms > 0)) throw new DroverError('invalid', `--ttl takes 90s, 30m, 24h, 7d or 0 for ever, not "${text}"`)
  return ms
}

/** `23h`, `45m`, `expired`. */
export function remaining({ expiresAtMs }: StoredToken, nowMs: number): string {
  if (!Number.isFinite(expiresAtMs)) return 'for ever'
  const leftMs = expiresAtMs - nowMs
  if (leftMs <= 0) return 'expired'
  const unit = ['d', 'h', 'm', 's'].find((letter) => leftMs >= 2 * (UNITS[letter] ?? 0)) ?? 's'
  return `${Math.floor(leftMs / (UNITS[unit] ?? 1))}${unit}`
}

export function registerToken(program: Command, io: Io): void {
  const token = program.command('token').description('tokens that let machines join')
  const withContext =
    <Args extends unknown[]>(work: (context: CliContext, ...args: Args) => Promise<void>) =>
    async (...args: [...Args, ...unknown[]]): Promise<void> => {
      const context = contextOf(io, args.at(-1) as Command)
      try {
        await work(context, ...(args as unknown as Args))
      } finally {
        context.close()
      }
    }
  token
    .command('create')
    .description('make a token, and print the line that joins a machine')
    .option('--ttl <time>', 'how long it is good: 90s, 30m, 24h, 7d, or 0 for ever', '24h')
    .option('--description <text>', 'what it is for', '')
    .option('--token-only', 'print the token alone')
    .addHelpText('after', '\nExample:\n  drover token create --ttl 1h --description "rack 7"')
    .action(withContext(create))
  token
    .command('list')
    .alias('ls')
    .description('the tokens there are; their secrets cannot be shown again')
    .action(withContext((context) => list(context)))
  token
    .command('revoke')
    .description('let nobody join with it any more; nodes that have joined stay')
    .argument('<id...>', 'see: drover token list')
    .action(withContext(revoke))
}

interface CreateFlags {
  ttl: string
  description: string
  tokenOnly?: boolean
}

async function clusterInfo(context: CliContext): Promise<ClusterInfo> {
  const { namespace, name } = CLUSTER_INFO
  return readClusterInfo(await context.client.call<ConfigMap>('GET', resourcePath(configMapKind, namespace, name)))
}

async function create(context: CliContext, flags: CreateFlags): Promise<void> {
  const expiresAtMs = context.io.clock.now() + parseTtl(flags.ttl)
  const { caHash, nodeAddresses } = await clusterInfo(context)
  const token = createJoinToken(caHash)
  const body = tokenSecret(token, { expiresAtMs, description: flags.description })
  await context.client.call('POST', resourcePath(secretKind, TOKEN_NAMESPACE), { body })
  const text = formatJoinToken(token)
  if (flags.tokenOnly === true) context.print(text)
  else context.print(`drover agent --join ${text} --server ${nodeAddresses.join(' ')}`)
}

async function list(context: CliContext): Promise<void> {
  const query = { fieldSelector: `type=${TOKEN_TYPE}` }
  const path = resourcePath(secretKind, TOKEN_NAMESPACE)
  const { items } = await context.client.call<ObjectList<Secret>>('GET', path, { query })
  const tokens = items.map(readTokenSecret).filter((token) => token !== undefined)
  if (tokens.length === 0) {
    context.note('No tokens; make one with: drover token create')
    return
  }
  const nowMs = context.io.clock.now()
  const rows = tokens.map((token) => [token.id, remaining(token, nowMs), token.description])
  for (const line of alignColumns([['ID', 'GOOD FOR', 'DESCRIPTION'], ...rows])) context.print(line)
}

async function revoke(context: CliContext, ids: string[]): Promise<void> {
  for (const id of ids) {
    checkTokenId(id)
    try {
      await context.client.call('DELETE', resourcePath(secretKind, TOKEN_NAMESPACE, tokenSecretName(id)))
    } catch (error) {
      if (!isCode(error, 'notFound')) throw error
      throw new DroverError('notFound', `there is no token ${id}; see: drover token list`, { cause: error })
    }
    context.print(`token ${id} revoked`)
  }
}
