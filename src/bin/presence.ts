/**
 * Which servers live. Each holds a key that is bound to its lease, `/drover-meta/servers/<id>/<lease>`, and watches the
 * others'. A server that dies is missed when its lease has run out; its nodes have called another by then, or are judged
 * by one. While the store cannot be asked, everyone counts as alive who was: nothing could be written anyway.
 */
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import { Gauge, type Registry } from '../base/metrics.ts'
import type { Service } from '../base/service.ts'
import type { ApiEndpoint, ApiEndpoints } from '../controllers/apiservice/controller.ts'
import type { ServerDirectory } from '../dispatch/peers.ts'
import type { Store, StoredItem } from '../store/store.ts'
import type { TokenKeys } from './shared_pki.ts'
import { watchKeys } from './watched_keys.ts'

export interface PresenceOptions {
  store: Store
  serverId: string
  /** `host:port` each, where agents and other servers reach us. */
  nodeAddresses: readonly string[]
  /** Where pods reach our API. */
  apiEndpoints?: readonly ApiEndpoint[]
  /** Keys that tokens of service accounts are signed and verified with; see shared_pki.ts. */
  tokenKeys?: TokenKeys
  log: Logger
  registry: Registry
}

export interface Presence {
  services: Service[]
  servers: ServerDirectory
  /** Ids of all that live, this one among them. */
  ids(): string[]
  /** Of all servers that live. */
  apiEndpoints: ApiEndpoints
  /** Counts up with every lease of ours that the others can see; undefined without one. */
  term(): number | undefined
}

const PREFIX = '/drover-meta/servers'

interface Announcement {
  id: string
  nodeAddresses: string[]
  apiEndpoints: ApiEndpoint[]
  tokenKeys: TokenKeys
}

/** `/drover-meta/servers/<id>/<lease>` */
const idOfKey = (key: string): string => key.slice(PREFIX.length + 1).split('/')[0] ?? ''

const isEndpoint = (value: unknown): value is ApiEndpoint =>
  isObject(value) && typeof value.address === 'string' && typeof value.port === 'number'

function parseAnnouncement({ key, value }: StoredItem): Announcement {
  const id = idOfKey(key)
  try {
    const parsed: unknown = JSON.parse(value)
    const addresses = isObject(parsed) && Array.isArray(parsed.nodeAddresses) ? parsed.nodeAddresses.map(String) : []
    const served = isObject(parsed) && Array.isArray(parsed.apiEndpoints) ? parsed.apiEndpoints : []
    const tokenKeys = isObject(parsed) && Array.isArray(parsed.tokenKeys) ? parsed.tokenKeys.map(String) : []
    return { id, nodeAddresses: addresses, apiEndpoints: served.filter(isEndpoint), tokenKeys }
  } catch {
    // Of a version that we do not know: it lives all the same.
    return { id, nodeAddresses: [], apiEndpoints: [], tokenKeys: [] }
  }
}

/** Of the other servers that live, as the store says it now. */
export async function liveTokenKeys(store: Store, serverId: string): Promise<Map<string, TokenKeys>> {
  const { items } = await store.list(`${PREFIX}/`)
  const others = items.map(parseAnnouncement).filter(({ id }) => id !== serverId)
  return new Map(others.map(({ id, tokenKeys }) => [id, tokenKeys]))
}

export function createPresence(options: PresenceOptions): Presence {
  const { store, serverId, nodeAddresses, apiEndpoints = [], log, registry } = options
  const listeners = new Set<() => void>()
  let seen: Map<string, Announcement> | undefined
  const terms = { count: 0, held: undefined as AbortSignal | undefined }
  const onHeld = (lost: AbortSignal): void => {
    terms.count++
    terms.held = lost
  }
  new Gauge({
    name: 'drover_servers',
    help: 'Servers of the cluster that live, this one included',
    registers: [registry],
    collect() {
      this.set(new Set([serverId, ...[...(seen?.values() ?? [])].map(({ id }) => id)]).size)
    },
  })
  return {
    services: [
      { id: 'presence', run: (signal) => announce(options, onHeld, signal) },
      {
        id: 'presence-watch',
        run: (signal) =>
          watchKeys(store, `${PREFIX}/`, signal, (items) => {
            const now = new Map([...items].map(([key, item]) => [key, parseAnnouncement(item)]))
            const before = new Set([...(seen?.values() ?? [])].map(({ id }) => id))
            seen = now
            for (const listener of listeners) listener()
            const after = new Set([...now.values()].map(({ id }) => id))
            for (const id of after) if (!before.has(id) && id !== serverId) log.info({ server: id }, 'server is there')
            for (const id of before) if (!after.has(id) && id !== serverId) log.warn({ server: id }, 'server has gone')
          }),
      },
    ],
    ids: () => [...new Set([serverId, ...[...(seen?.values() ?? [])].map(({ id }) => id)])],
    term: () => (terms.held === undefined || terms.held.aborted ? undefined : terms.count),
    apiEndpoints: {
      list: () => {
        const others = [...(seen?.values() ?? [])].filter(({ id }) => id !== serverId)
        return [...apiEndpoints, ...others.flatMap((one) => one.apiEndpoints)]
      },
      onChange(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    },
    servers: {
      isAlive: (id) => seen === undefined || id === serverId || [...seen.values()].some((one) => one.id === id),
      addressesOf: (id) => [...(seen?.values() ?? [])].find((one) => one.id === id)?.nodeAddresses ?? [],
      nodeAddresses: () => {
        const others = [...(seen?.values() ?? [])].filter(({ id }) => id !== serverId)
        return [...new Set([...nodeAddresses, ...others.flatMap((one) => one.nodeAddresses)])]
      },
    },
  }
}

async function announce(
  { store, serverId, nodeAddresses, apiEndpoints = [], tokenKeys = [], log }: PresenceOptions,
  onHeld: (lost: AbortSignal) => void,
  signal: AbortSignal,
): Promise<void> {
  const value = JSON.stringify({ nodeAddresses, apiEndpoints, tokenKeys })
  while (!signal.aborted) {
    const place = `${PREFIX}/${serverId}`
    // Of an earlier life of ours, whose lease has not run out yet.
    for (const { key } of (await store.list(`${place}/`)).items) await store.write({ type: 'delete', key })
    const held = await store.campaign(place, value, signal)
    onHeld(held.lost)
    await new Promise<void>((resolve) => {
      for (const end of [held.lost, signal]) {
        if (end.aborted) resolve()
        end.addEventListener('abort', () => resolve(), { once: true })
      }
    })
    if (held.lost.aborted) log.warn({ reason: DroverError.from(held.lost.reason).message }, 'our presence was lost')
    await held.resign().catch((error: unknown) => log.debug({ err: error }, 'could not take our presence back'))
  }
}
