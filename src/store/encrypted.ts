/** A store that keeps the values of some keys encrypted in the store below it. Whoever uses it sees plain values. */
import type { SecretCipher } from './secret_cipher.ts'
import type { Fence, Store, StoredItem, StoreEvent, Write, WriteOutcome } from './store.ts'

/** `isSecret`: whether the values of a key are to be encrypted. */
export function createEncryptedStore(store: Store, cipher: SecretCipher, isSecret: (key: string) => boolean): Store {
  const plain = (item: StoredItem): StoredItem =>
    isSecret(item.key) ? { ...item, value: cipher.decrypt(item.key, item.value) } : item
  const plainIf = (item: StoredItem | undefined): StoredItem | undefined => (item === undefined ? item : plain(item))

  function plainEvent(event: StoreEvent): StoreEvent {
    if (event.type === 'put') return { type: 'put', item: plain(event.item) }
    const previous = plainIf(event.previous)
    return previous === undefined ? event : { ...event, previous }
  }

  function plainOutcome(outcome: WriteOutcome): WriteOutcome {
    if (outcome.ok) return outcome.previous === undefined ? outcome : { ...outcome, previous: plain(outcome.previous) }
    return outcome.current === undefined ? outcome : { ...outcome, current: plain(outcome.current) }
  }

  return {
    get: async (key) => plainIf(await store.get(key)),
    async list(prefix, options) {
      const result = await store.list(prefix, options)
      return { ...result, items: result.items.map(plain) }
    },
    async write(write: Write, fence?: Fence) {
      const sealed =
        write.type === 'put' && isSecret(write.key)
          ? { ...write, value: cipher.encrypt(write.key, write.value) }
          : write
      return plainOutcome(await store.write(sealed, fence))
    },
    async *watch(prefix, afterRevision, signal) {
      for await (const batch of store.watch(prefix, afterRevision, signal)) {
        yield { ...batch, events: batch.events.map(plainEvent) }
      }
    },
    campaign: (electionKey, id, signal) => store.campaign(electionKey, id, signal),
    compact: (revision) => store.compact(revision),
    health: () => store.health(),
    close: () => store.close(),
  }
}
