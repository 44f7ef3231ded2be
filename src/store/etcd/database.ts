/**
 * Keeping the database: how large it is, forgetting history, giving space back, copies of it.
 *
 * A full database takes no writes until its alarm is lifted. The alarm is lifted only when there is room: otherwise the next
 * write would raise it again, and the one after a success would be refused without a word of why.
 */
import type { IDuplexStream, ISnapshotResponse } from 'etcd3'
import type { DatabasePort, DatabaseStatus } from '../../base/database.ts'
import { DroverError } from '../../base/errors.ts'
import { type EtcdConnection, toDroverError } from './connection.ts'
import { RawStream } from './raw_stream.ts'

/** A member answers nobody while it defragments: about a second for 100 MB. */
const DEFRAG_TIMEOUT_MS = 300_000
/** Of the quota that must be free before writes are taken again. */
const NEEDED_SHARE = 0.05

export function createDatabase(connection: EtcdConnection, quotaBytes: number | undefined): DatabasePort {
  function status(): Promise<DatabaseStatus[]> {
    return connection.each(async (client, call, endpoint) => {
      const found = await client.maintenance.status(call)
      return {
        endpoint,
        version: found.version,
        revision: Number(found.header.revision),
        sizeBytes: Number(found.dbSize),
        inUseBytes: Number(found.dbSizeInUse),
        ...(quotaBytes === undefined ? {} : { quotaBytes }),
        alarms: found.errors.flatMap((text) => /alarm:(\w+)/.exec(text)?.[1] ?? []),
      }
    })
  }

  async function compact(): Promise<number> {
    const read = await connection.retry((client, call) =>
      client.kv.range({ key: Buffer.from('\0'), count_only: true }, call),
    )
    const revision = Number(read.header.revision)
    // `physical`: it answers when the space is free in the file, so that a defragmentation finds it.
    await connection.call((client, call) => client.kv.compact({ revision, physical: true }, call), DEFRAG_TIMEOUT_MS)
    return revision
  }

  async function liftAlarm(members: readonly DatabaseStatus[]): Promise<void> {
    const full = members.find(
      ({ sizeBytes }) => quotaBytes !== undefined && sizeBytes > quotaBytes * (1 - NEEDED_SHARE),
    )
    if (full !== undefined) {
      throw new DroverError(
        'outOfSpace',
        `etcd at ${full.endpoint} still takes ${full.sizeBytes} of ${quotaBytes} bytes: run \`drover etcd compact\` first; if its history is gone already, give it a larger quota (--etcd-quota of the server, or that etcd's own), run \`drover etcd defrag\` again, and delete what is not needed: until then nothing can be deleted`,
      )
    }
    // Each alarm is a member's own, and is lifted by that member's id.
    const { alarms } = await connection.retry((client, call) => client.maintenance.alarm({ action: 'Get' }, call))
    for (const { memberID, alarm } of alarms) {
      const request = { action: 'Deactivate', memberID, alarm } as const
      await connection.retry((client, call) => client.maintenance.alarm(request, call))
    }
  }

  return {
    status,
    compact,
    async defrag() {
      const before = await status()
      await connection.each((client, call) => client.maintenance.defragment(call), DEFRAG_TIMEOUT_MS)
      const after = await status()
      if (after.some(({ alarms }) => alarms.includes('NOSPACE'))) await liftAlarm(after)
      return { before, after: await status() }
    },
    async *snapshot(signal) {
      const { client } = connection.stream()
      // The package types this one as readable alone; it is the same kind of stream.
      const call = await client.maintenance.snapshot()
      const stream = new RawStream(call as IDuplexStream<never, ISnapshotResponse>)
      const onAbort = (): void => stream.close()
      signal.addEventListener('abort', onAbort, { once: true })
      try {
        // The hash of it all comes in a message of its own, after the last that has content.
        for (let isComplete = false; ; ) {
          const message = await stream.next().catch((error: unknown) => {
            if (isComplete) return undefined
            throw toDroverError(error, connection.endpoint)
          })
          if (message === undefined) return
          isComplete = Number(message.remaining_bytes) === 0
          yield message.blob
        }
      } finally {
        signal.removeEventListener('abort', onAbort)
        stream.close()
      }
    },
  }
}
