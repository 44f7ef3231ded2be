/**
 * Elections: each candidate holds a key bound to its lease, `<election>/<lease>`; the one with the lowest create
 * revision leads, the others each watch the one before them. A leader's fence is its own key's create revision, which
 * never comes back once the key is gone.
 */
import { backoffDelayMs, reconnectPolicy } from '../../base/backoff.ts'
import { sleep, throwIfAborted } from '../../base/clock.ts'
import { assert, DroverError } from '../../base/errors.ts'
import type { Random } from '../../base/random.ts'
import type { Election, ListResult, StoredItem, WatchBatch } from '../store.ts'
import { AnsweredError } from './connection.ts'
import { optionalItem } from './convert.ts'
import { grantLease, type Lease, type LeaseOptions } from './lease.ts'

export interface ElectionOptions extends LeaseOptions {
  random: Random
  list(prefix: string): Promise<ListResult>
  watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch>
}

export async function campaign(
  options: ElectionOptions,
  electionKey: string,
  id: string,
  signal: AbortSignal,
): Promise<Election> {
  const { clock, log, random } = options
  for (let failures = 0; ; ) {
    throwIfAborted(signal)
    let lease: Lease | undefined
    try {
      lease = await grantLease(options, signal)
      const own = await enter(options, { key: `${electionKey}/${leaseName(lease.id)}`, id, lease })
      await waitForTurn(options, electionKey, own, AbortSignal.any([signal, lease.lost]))
      guardOwnKey(options, own, lease)
      return lead(own, lease)
    } catch (thrown) {
      await lease?.revoke()
      throwIfAborted(signal)
      const error = DroverError.from(thrown)
      const again = error.temporary || (lease?.lost.aborted === true && error.code === 'cancelled')
      if (!again || options.connection.closed) throw error
      failures += 1
      log.debug({ election: electionKey, failures, err: error }, 'campaign failed; entering again')
      await sleep(clock, backoffDelayMs(reconnectPolicy, failures, random), signal)
    }
  }
}

/** Lease ids are decimal on our side, hexadecimal with etcdctl, where people will look. */
function leaseName(leaseId: string): string {
  return BigInt.asUintN(64, BigInt(leaseId)).toString(16)
}

/** Puts the candidate's key. Safe to send twice: the key is this lease's alone. */
async function enter(
  options: ElectionOptions,
  candidate: { key: string; id: string; lease: Lease },
): Promise<StoredItem> {
  const key = Buffer.from(candidate.key)
  const read = { request_range: { key } }
  const put = { request_put: { key, value: Buffer.from(candidate.id), lease: candidate.lease.id } }
  const response = await options.connection.retry(
    (client, call) =>
      client.kv.txn(
        {
          compare: [{ target: 'Create', result: 'Equal', key, create_revision: 0 }],
          success: [put, read],
          failure: [read],
        },
        call,
      ),
    { signal: candidate.lease.lost },
  )
  const answer = response.responses[response.succeeded ? 1 : 0]
  const own = optionalItem(answer?.response_range?.kvs[0])
  assert(own !== undefined, `election key ${candidate.key} is there after it was put`)
  return own
}

async function waitForTurn(
  options: ElectionOptions,
  electionKey: string,
  own: StoredItem,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    throwIfAborted(signal)
    const { items, revision } = await options.list(`${electionKey}/`)
    if (!items.some((item) => item.createRevision === own.createRevision)) {
      throw new DroverError('unavailable', `candidate ${own.key} is no longer in the election`)
    }
    const before = items.filter((item) => item.createRevision < own.createRevision)
    const predecessor = before.sort((a, b) => b.createRevision - a.createRevision)[0]
    if (predecessor === undefined) return
    await untilDeleted(options, predecessor.key, revision, signal)
  }
}

async function untilDeleted(
  options: ElectionOptions,
  key: string,
  afterRevision: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const { events } of options.watch(key, afterRevision, signal)) {
      if (events.some((event) => event.type === 'delete' && event.key === key)) return
    }
  } catch (thrown) {
    // Compacted: the caller lists again and sees what happened.
    if (thrown instanceof AnsweredError && thrown.code === 'gone') return
    throw thrown
  }
  throwIfAborted(signal)
}

/** Someone may take leadership away by hand (`etcdctl del`); the leader hears of it. */
function guardOwnKey(options: ElectionOptions, own: StoredItem, lease: Lease): void {
  const guard = async () => {
    await untilDeleted(options, own.key, own.createRevision, lease.lost)
    if (!lease.lost.aborted) lease.fail(new DroverError('forbidden', `leadership ${own.key} was taken away`))
  }
  guard().catch((error: unknown) => {
    if (!lease.lost.aborted) lease.fail(DroverError.from(error))
  })
}

function lead(own: StoredItem, lease: Lease): Election {
  return {
    fence: { key: own.key, createRevision: own.createRevision },
    lost: lease.lost,
    resign: () => lease.revoke(),
  }
}
