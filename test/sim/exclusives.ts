/**
 * Pods that may never run twice. What counts is what they are to the world: a StatefulSet's pod by its name, a pod of an exclusive
 * deployment by its app, whatever object it belongs to. On a machine that stands still nothing runs; when it goes on, its fencer is given
 * the window that docs/design/fencing.md states, and no more.
 */
import { isExclusive } from '../../src/api/exclusive.ts'
import type { Stored } from '../../src/api/meta.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { SimHost } from './sim_host.ts'
import type { World } from './world.ts'

/** A round, a kill, and on a slow machine the wait for a processor. */
const WINDOW_MS = 300

export class Exclusives {
  readonly #world: World
  readonly #identities = new Map<string, string>()

  constructor(world: World) {
    this.#world = world
  }

  /** Remembered beyond the object: the pod may outlive it. */
  note({ metadata, spec }: Stored<Pod>): void {
    if (this.#identities.has(metadata.uid) || !isExclusive({ metadata, spec })) return
    const owner = metadata.ownerReferences?.find(({ controller }) => controller === true)
    const name = owner?.kind === 'StatefulSet' ? metadata.name : `app ${metadata.labels?.app}`
    this.#identities.set(metadata.uid, `${metadata.namespace}/${name}`)
  }

  /** Of a pod that has started on this machine, or of all that run there. */
  check(host: SimHost, podUid?: string): void {
    if (host.frozen || host.down) return
    for (const { state } of host.running) {
      const identity = this.#identities.get(state.podUid)
      if (identity === undefined || (podUid !== undefined && state.podUid !== podUid)) continue
      for (const { host: other } of this.#world.agents) {
        if (other.frozen || this.#world.time.nowMs - other.thawedMs < WINDOW_MS) continue
        const copy = other.running.find(
          (each) => each.state.podUid !== state.podUid && this.#identities.get(each.state.podUid) === identity,
        )
        if (copy === undefined) continue
        this.#world.fail(
          'no two copies of a fenced pod',
          `${identity} runs as ${state.id} on ${host.name} and as ${copy.state.id} on ${other.name}`,
        )
      }
    }
  }

  /** A machine goes on: what was replaced meanwhile must have ended when the window is over. */
  thawed(host: SimHost): void {
    this.#world.time.schedule(WINDOW_MS + 1, () => this.check(host))
  }
}
