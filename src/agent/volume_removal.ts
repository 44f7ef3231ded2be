/**
 * Removes the data of volumes that are being deleted, and says in the node's status which are gone: the server keeps a volume's object
 * until then. Only what a server says is to go goes: data that nobody names is left where it is.
 */
import { isTerminating } from '../api/conditions.ts'
import { LOCAL_PROVISIONER, VOLUME_PROTECTION } from '../api/names.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { type AgentMessage, jsonBytes } from '../rpc/messages.ts'
import type { Desired } from './desired.ts'
import type { VolumeDriver } from './volumes/volumes.ts'

export interface VolumeRemovalOptions {
  desired: Pick<Desired, 'volumes'>
  volumes: Pick<VolumeDriver, 'removeVolume'>
  clock: Clock
  log: Logger
  send(message: AgentMessage): boolean
}

const RETRY_MS = 2_000

export class VolumeRemoval {
  readonly #options: VolumeRemovalOptions
  readonly #removed = new Set<string>()
  #lastJson = '[]'
  #running = false
  #again = false
  #timer: Timer | undefined

  constructor(options: VolumeRemovalOptions) {
    this.#options = options
  }

  /** A new session knows nothing of what was said to the one before. */
  beginSession(): void {
    this.#lastJson = ''
  }

  /** The assignments have changed. One pass at a time; a change in its middle makes another. */
  wake(): void {
    if (this.#running) {
      this.#again = true
      return
    }
    this.#running = true
    void this.#pass().finally(() => {
      this.#running = false
      if (!this.#again) return
      this.#again = false
      this.wake()
    })
  }

  async #pass(): Promise<void> {
    const { desired, volumes, log, clock } = this.#options
    const doomed = desired.volumes().filter(
      (volume) =>
        isTerminating(volume) &&
        // Deleted by hand while a claim still has it: the data is that claim's.
        volume.metadata.finalizers?.includes(VOLUME_PROTECTION) !== true &&
        volume.spec.csi?.driver === LOCAL_PROVISIONER &&
        volume.spec.persistentVolumeReclaimPolicy === 'Delete',
    )
    const names = new Set(doomed.map(({ metadata }) => metadata.name ?? ''))
    for (const name of this.#removed) if (!names.has(name)) this.#removed.delete(name)
    for (const { metadata, spec } of doomed) {
      const name = metadata.name ?? ''
      if (this.#removed.has(name)) continue
      try {
        await volumes.removeVolume(spec.csi?.volumeHandle ?? name)
        this.#removed.add(name)
        log.info({ volume: name }, 'data of a deleted volume removed')
      } catch (thrown) {
        const err = DroverError.from(thrown)
        log[err.temporary ? 'debug' : 'warn']({ err, volume: name }, 'cannot remove a volume yet; will try again')
        this.#timer?.cancel()
        this.#timer = clock.schedule(RETRY_MS, () => this.wake(), true)
      }
    }
    this.#report()
  }

  #report(): void {
    const removedVolumes = [...this.#removed].sort()
    const json = JSON.stringify(removedVolumes)
    if (json === this.#lastJson || (json === '[]' && this.#lastJson === '')) return
    if (this.#options.send({ type: 'nodeStatus', statusJson: jsonBytes({ removedVolumes }) })) this.#lastJson = json
  }
}
