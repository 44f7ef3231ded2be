/**
 * Writes a second through the store beside raw nested transactions on the same etcd in the same run: batches of 120
 * built beforehand, sent one after another by the same client library. The ratio is what the store's contract costs
 * (conflicts told apart, exactly once, fences). Rounds alternate, so that a busy machine slows both alike.
 */
import { Etcd3, type ITxnRequest } from 'etcd3'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import type { Store } from '../../src/store/store.ts'
import { startTestEtcd } from '../support/etcd.ts'
import { type BenchResult, median } from './result.ts'

const ROUNDS = 5
const BATCH_WRITES = 120
const ROUND_WRITES = 60 * BATCH_WRITES
const CONCURRENCY = 512
const VALUE = JSON.stringify({ kind: 'Pod', filler: 'x'.repeat(1_470) })

export async function benchStore(): Promise<BenchResult[]> {
  const etcd = await startTestEtcd({ args: ['--snapshot-count', '5000', '--log-level', 'error'] })
  const raw = new Etcd3({ hosts: etcd.endpoint })
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  const store = await createEtcdStore({ ...base, endpoints: [etcd.endpoint], writerId: 'bench' })
  try {
    const rates = { raw: [] as number[], store: [] as number[] }
    await rawRound(raw, 'warm')
    await storeRound(store, 'warm')
    for (let round = 0; round < ROUNDS; round++) {
      rates.raw.push(await rawRound(raw, `${round}`))
      rates.store.push(await storeRound(store, `${round}`))
    }
    const rawRate = median(rates.raw)
    const storeRate = median(rates.store)
    const detail = `${Math.round(storeRate)} writes/s through the store, ${Math.round(rawRate)} raw`
    return [
      {
        name: 'store writes beside raw nested transactions',
        ratio: storeRate / rawRate,
        limit: 0.6,
        better: 'higher',
        detail,
      },
    ]
  } finally {
    await store.close()
    raw.close()
    await etcd.stop()
  }
}

/** Creations, each with its own compare, as the store sends them; writes a second. */
async function rawRound(client: Etcd3, name: string): Promise<number> {
  const requests: ITxnRequest[] = []
  for (let start = 0; start < ROUND_WRITES; start += BATCH_WRITES) {
    const success = Array.from({ length: BATCH_WRITES }, (_, i) => {
      const key = Buffer.from(`/raw/${name}/${start + i}`)
      return {
        request_txn: {
          compare: [{ target: 'Mod' as const, result: 'Equal' as const, key, mod_revision: 0 }],
          success: [{ request_put: { key, value: Buffer.from(VALUE) } }],
          failure: [{ request_range: { key } }],
        },
      }
    })
    requests.push({ compare: [], success, failure: [] })
  }
  const startedMs = systemClock.monotonicMs()
  for (const request of requests) {
    const response = await client.kv.txn(request)
    if (!response.responses.every((nested) => nested.response_txn.succeeded)) throw new Error('a raw write conflicted')
  }
  return rate(startedMs)
}

async function storeRound(store: Store, name: string): Promise<number> {
  let next = 0
  const startedMs = systemClock.monotonicMs()
  const writer = async () => {
    while (next < ROUND_WRITES) {
      const key = `/bench/${name}/${next++}`
      const outcome = await store.write({ type: 'put', key, value: VALUE, expect: { modRevision: 0 } })
      if (!outcome.ok) throw new Error(`${key} conflicted`)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, writer))
  return rate(startedMs)
}

function rate(startedMs: number): number {
  return ROUND_WRITES / ((systemClock.monotonicMs() - startedMs) / 1_000)
}
