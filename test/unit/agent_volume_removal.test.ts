/** Which data an agent removes: that of volumes which are being deleted, and which no claim holds. */
import { expect, it } from 'vitest'
import { VolumeRemoval } from '../../src/agent/volume_removal.ts'
import type { PersistentVolume } from '../../src/api/persistentvolume.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { eventually } from '../support/eventually.ts'

const volume = (name: string, metadata: Partial<PersistentVolume['metadata']> = {}): PersistentVolume => ({
  apiVersion: 'v1',
  kind: 'PersistentVolume',
  metadata: { name, ...metadata },
  spec: { persistentVolumeReclaimPolicy: 'Delete', csi: { driver: 'local.drover.dev', volumeHandle: name } },
})

it('leaves the data of a deleted volume for as long as a claim holds it', async () => {
  const deletionTimestamp = '2026-01-01T00:00:00Z'
  const assigned = [
    volume('used'),
    volume('held', { deletionTimestamp, finalizers: ['drover.dev/local-data', 'kubernetes.io/pv-protection'] }),
    volume('doomed', { deletionTimestamp, finalizers: ['drover.dev/local-data'] }),
  ]
  const removed: string[] = []
  let told = 0
  const removal = new VolumeRemoval({
    desired: { volumes: () => assigned },
    volumes: { removeVolume: async (name) => void removed.push(name) },
    clock: systemClock,
    log: silentLogger,
    send: () => told++ >= 0,
  })
  removal.beginSession()
  removal.wake()
  await eventually(() => told > 0)
  expect(removed).toEqual(['doomed'])
})
