/** Between the store's types and etcd's messages: keys, ranges, items. Pure. */
import type { IKeyValue } from 'etcd3'
import type { StoredItem } from '../store.ts'

/** protobuf leaves a message field that is not set as null; the package's types say it is always there. */
export type Maybe<T> = T | null | undefined

export function toItem(kv: IKeyValue): StoredItem {
  return {
    key: kv.key.toString('utf8'),
    value: kv.value.toString('utf8'),
    modRevision: Number(kv.mod_revision),
    createRevision: Number(kv.create_revision),
  }
}

export function optionalItem(kv: Maybe<IKeyValue>): StoredItem | undefined {
  return kv === null || kv === undefined ? undefined : toItem(kv)
}

/** The first key after every key with this prefix; etcd writes "to the end" as a single zero byte. */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix)
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0xff
    if (byte < 0xff) {
      end[i] = byte + 1
      return end.subarray(0, i + 1)
    }
  }
  return Buffer.from([0])
}

/** The first key of a prefix, or the first after `after` where that lies further. */
export function rangeStart(prefix: string, after: string | undefined): Buffer {
  const start = Buffer.from(prefix === '' ? '\0' : prefix)
  if (after === undefined) return start
  const next = Buffer.from(`${after}\0`)
  return Buffer.compare(next, start) > 0 ? next : start
}
