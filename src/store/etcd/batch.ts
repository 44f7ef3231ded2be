/**
 * Group commit as data: many independent writes in one etcd transaction, and what its answer means. Pure.
 *
 *   outer compare   marker value == the previous batch's   (the chain, see commit.ts)
 *                   election key's create revision         (the fence, where there is one)
 *   outer success   one operation a write: plain, or a nested transaction with the write's own compare;
 *                   then put marker = this batch's value
 *   outer failure   read marker, read election key: tells which compare it was
 *
 * etcd refuses two writes of one key in one transaction, even in different nested ones: such writes go into
 * different batches.
 */
import type { ICompare, IRequestOp, IResponseOp, ITxnRequest, ITxnResponse } from 'etcd3'
import { assert } from '../../base/errors.ts'
import type { Fence, StoredItem, Write, WriteOutcome } from '../store.ts'
import { type Maybe, optionalItem } from './convert.ts'

export interface Marker {
  key: Buffer
  /** What the previous batch left there; undefined when nothing stands there. */
  previous: string | undefined
  next: string
}

/** Bytes that a write adds to a message, about. */
export function writeBytes(write: Write): number {
  const value = write.type === 'put' ? Buffer.byteLength(write.value) : 0
  return value + 3 * write.key.length + 64
}

export function buildBatch(writes: readonly Write[], marker: Marker, fence: Fence | undefined): ITxnRequest {
  const compare: ICompare[] = [compareMarker(marker.key, marker.previous)]
  const failure: IRequestOp[] = [{ request_range: { key: marker.key } }]
  if (fence !== undefined) {
    const key = Buffer.from(fence.key)
    compare.push({ target: 'Create', result: 'Equal', key, create_revision: fence.createRevision })
  }
  const success = writes.map(buildOperation)
  success.push({ request_put: { key: marker.key, value: Buffer.from(marker.next) } })
  return { compare, success, failure }
}

export function compareMarker(key: Buffer, value: string | undefined): ICompare {
  return value === undefined
    ? { target: 'Create', result: 'Equal', key, create_revision: 0 }
    : { target: 'Value', result: 'Equal', key, value: Buffer.from(value) }
}

function buildOperation(write: Write): IRequestOp {
  const key = Buffer.from(write.key)
  const operation: IRequestOp =
    write.type === 'put'
      ? { request_put: { key, value: Buffer.from(write.value) } }
      : { request_delete_range: { key, prev_kv: true } }
  if (write.expect === undefined) return operation
  return {
    request_txn: {
      compare: [{ target: 'Mod', result: 'Equal', key, mod_revision: write.expect.modRevision }],
      success: [operation],
      failure: [{ request_range: { key } }],
    },
  }
}

/** What became of each write of a batch whose outer compares held. */
export function readOutcomes(writes: readonly Write[], response: ITxnResponse): WriteOutcome[] {
  const revision = Number(response.header.revision)
  assert(response.responses.length === writes.length + 1, 'etcd answers every operation of a batch')
  return writes.map((write, i) => readOutcome(write, response.responses[i], revision))
}

function readOutcome(write: Write, response: IResponseOp | undefined, revision: number): WriteOutcome {
  let answer: Maybe<IResponseOp> = response
  if (write.expect !== undefined) {
    const nested = response?.response_txn
    answer = nested?.responses[0]
    if (nested?.succeeded !== true) return conflict(revision, optionalItem(answer?.response_range?.kvs[0]))
  }
  if (write.type === 'put') return { ok: true, revision }
  return deleted(revision, optionalItem(answer?.response_delete_range?.prev_kvs[0]))
}

function conflict(revision: number, current: StoredItem | undefined): WriteOutcome {
  return current === undefined ? { ok: false, revision } : { ok: false, revision, current }
}

function deleted(revision: number, previous: StoredItem | undefined): WriteOutcome {
  return previous === undefined ? { ok: true, revision } : { ok: true, revision, previous }
}

/** What the failure branch read of the marker. */
export function readMarker(response: ITxnResponse): { value: string; modRevision: number } | undefined {
  const item = optionalItem(response.responses[0]?.response_range?.kvs[0])
  return item === undefined ? undefined : { value: item.value, modRevision: item.modRevision }
}

/**
 * What became of a write of a batch that is known to have been applied at `revision`, though its answer was lost:
 * `after` is its key as of that revision, `before` as of the one before.
 */
export function outcomeFromHistory(
  write: Write,
  revision: number,
  state: { before: StoredItem | undefined; after: StoredItem | undefined },
): WriteOutcome {
  const { before, after } = state
  if (write.type === 'put') {
    return after?.modRevision === revision ? { ok: true, revision } : conflict(revision, after)
  }
  const held = write.expect === undefined || write.expect.modRevision === (before?.modRevision ?? 0)
  assert(!held || after === undefined, `the deletion of ${write.key} at revision ${revision} left it there`)
  return held ? deleted(revision, before) : conflict(revision, after)
}
