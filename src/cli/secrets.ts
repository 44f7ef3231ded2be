/** `drover secrets`: the keys that stored Secrets are encrypted with. */
import type { Command } from 'commander'
import type { RotationResult, SecretKeysStatus } from '../api/maintenance.ts'
import { contextOf, type Io } from './context.ts'
import { alignColumns } from './table.ts'

const PATH = '/apis/drover.dev/v1/secretkeys'
/** Every server has to take the key, and every Secret is written anew. */
const ROTATE_TIMEOUT_MS = 300_000

export function registerSecrets(program: Command, io: Io): void {
  const secrets = program.command('secrets').description('keys that stored Secrets are encrypted with')
  secrets
    .command('status')
    .description('which keys the server has, and how many Secrets each encrypts')
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command)
      try {
        const status = await context.client.call<SecretKeysStatus>('GET', PATH)
        for (const line of secretKeyLines(status)) context.print(line)
      } finally {
        context.close()
      }
    })
  secrets
    .command('rotate-key')
    .description('make a new key on all servers, and encrypt every Secret with it')
    .addHelpText('after', "\nThe old keys stay in each server's pki/secrets.key: older snapshots of etcd need them.")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command)
      try {
        const options = { timeoutMs: ROTATE_TIMEOUT_MS }
        const { key, rewritten, servers } = await context.client.call<RotationResult>('POST', PATH, options)
        context.print(`${key} encrypts now, on ${servers} server(s); Secrets written anew: ${rewritten}`)
      } finally {
        context.close()
      }
    })
}

export function secretKeyLines({ keys, current, secrets }: SecretKeysStatus): string[] {
  const plain = secrets[''] ?? 0
  const rows = keys.map((key) => [key, key === current ? 'encrypts' : 'decrypts', String(secrets[key] ?? 0)])
  const unencrypted = plain === 0 ? [] : [['(none)', 'not encrypted yet', String(plain)]]
  return alignColumns([['KEY', 'USE', 'SECRETS'], ...rows, ...unencrypted])
}
