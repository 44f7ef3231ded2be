/**
 * The control plane's own keeping, for administrators (roles may name `secretkeys` and `database` of the group drover.dev):
 *
 *   GET  /apis/drover.dev/v1/secretkeys              which keys there are, and what is encrypted with which
 *   POST /apis/drover.dev/v1/secretkeys              a new key on all servers, and every Secret written anew
 *   GET  /apis/drover.dev/v1/database                size, space in use, quota, alarms of each member
 *   POST /apis/drover.dev/v1/database/compact        forgets history
 *   POST /apis/drover.dev/v1/database/defrag         gives free space back, lifts the alarm of a full database
 *   GET  /apis/drover.dev/v1/database/snapshot       the whole database, as `etcdctl snapshot restore` takes it
 */
import { DroverError } from '../base/errors.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'

const SECRET_KEYS_PATH = '/apis/drover.dev/v1/secretkeys'
const DATABASE_PATH = '/apis/drover.dev/v1/database'

export const isMaintenance = (path: string): boolean =>
  path === SECRET_KEYS_PATH || path === DATABASE_PATH || path.startsWith(`${DATABASE_PATH}/`)

/** False when nothing is served there. */
export async function handleMaintenance(context: ApiContext, exchange: Exchange): Promise<boolean> {
  if (!isMaintenance(exchange.path)) return false
  const { secretKeys, database } = context
  const apiVersion = 'drover.dev/v1'
  const send = (kind: string, answer: object): void => exchange.sendJson(200, { kind, apiVersion, ...answer })
  const required = <T>(port: T | undefined): T => {
    if (port === undefined) throw new DroverError('unsupported', 'this server does not keep a database of its own')
    return port
  }
  switch (`${exchange.method} ${exchange.path}`) {
    case `GET ${SECRET_KEYS_PATH}`:
      send('SecretKeys', await required(secretKeys).status())
      return true
    case `POST ${SECRET_KEYS_PATH}`:
      send('SecretKeyRotation', await required(secretKeys).rotate())
      return true
    case `GET ${DATABASE_PATH}`:
      send('Database', { members: await required(database).status() })
      return true
    case `POST ${DATABASE_PATH}/compact`:
      send('DatabaseCompaction', { revision: await required(database).compact() })
      return true
    case `POST ${DATABASE_PATH}/defrag`:
      send('DatabaseDefragmentation', await required(database).defrag())
      return true
    case `GET ${DATABASE_PATH}/snapshot`:
      await sendSnapshot(exchange, required(database).snapshot(exchange.signal))
      return true
    default:
      return false
  }
}

/** The status line waits for the first chunk: until then a failure is told as one. */
async function sendSnapshot(exchange: Exchange, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  let hasBegun = false
  for await (const chunk of chunks) {
    if (!hasBegun) exchange.begin(200, 'application/octet-stream')
    hasBegun = true
    await exchange.write(Buffer.from(chunk))
  }
  if (!hasBegun) throw new DroverError('unavailable', 'etcd sent an empty snapshot')
  exchange.end()
}
