import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import { startTestEtcd } from '../support/etcd.ts'
import { describeStoreContract } from '../support/store_contract.ts'

const base = { clock: systemClock, random: systemRandom, log: silentLogger }

describeStoreContract('the store on etcd', async () => {
  const etcd = await startTestEtcd()
  const store = await createEtcdStore({ ...base, endpoints: [etcd.endpoint], writerId: 'contract' })
  return {
    store,
    close: async () => {
      await store.close()
      await etcd.stop()
    },
  }
})
