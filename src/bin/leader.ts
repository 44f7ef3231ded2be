/**
 * The leader's services. Every server campaigns; the one that is elected makes controllers and scheduler anew, each
 * write of theirs carrying the election's fence, and stops them the moment leadership is lost.
 */

import { DroverError } from '../base/errors.ts'
import type { Gauge } from '../base/metrics.ts'
import { type RunnerOptions, runServices, type Service } from '../base/service.ts'
import type { Fence, Store } from '../store/store.ts'
import { watchKeys } from './watched_keys.ts'

export interface LeaderOptions extends RunnerOptions {
  store: Store
  serverId: string
  isLeader: Gauge
  /** What runs while leading. */
  services(fence: Fence): Service[]
  /** Resolves when this server sees all that the store holds now. */
  caughtUp(): Promise<void>
}

export const ELECTION_KEY = '/drover-meta/leader'
/** Another server asks here whether the leader, named by its election key, still works; see leader_watch.ts. */
export const CHALLENGES = '/drover-meta/challenges'

/**
 * A server that was killed stands in the election until its lease runs out. Started again under the same name it takes
 * its own old place away, rather than wait for it; should the old process live after all, its fence fails from then on.
 */
async function leaveOldPlaces({ store, serverId }: LeaderOptions): Promise<void> {
  const { items } = await store.list(`${ELECTION_KEY}/`)
  for (const { key, value, modRevision } of items) {
    if (value === serverId) await store.write({ type: 'delete', key, expect: { modRevision } })
  }
}

/** Shows other servers that this one works as leader. */
function answerChallenges(store: Store, fence: Fence): Service {
  return {
    id: 'leader-answers',
    async run(signal) {
      const failed = new AbortController()
      await watchKeys(store, `${CHALLENGES}/`, AbortSignal.any([signal, failed.signal]), (items) => {
        for (const { key, value, modRevision } of items.values()) {
          if (value !== fence.key) continue
          store.write({ type: 'delete', key, expect: { modRevision } }).catch((error: unknown) => failed.abort(error))
        }
      })
      if (!signal.aborted) throw DroverError.from(failed.signal.reason)
    },
  }
}

/**
 * What a leader does, begun only when it sees all that leaders before it have written (their later writes fail by their
 * fence): a plan made on an older state would make a second time what the one before has just made.
 */
function leaderWork(options: LeaderOptions, fence: Fence): Service {
  return {
    id: 'leader-work',
    async run(signal) {
      const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      await Promise.race([options.caughtUp(), stopped])
      if (!signal.aborted) await runServices(options.services(fence), options, signal)
    },
  }
}

export function createLeader(options: LeaderOptions): Service {
  const { store, serverId, isLeader, log } = options
  return {
    id: 'leader',
    async run(signal) {
      await leaveOldPlaces(options)
      while (!signal.aborted) {
        const election = await store.campaign(ELECTION_KEY, serverId, signal)
        log.info({ server: serverId, fence: election.fence }, 'leading')
        isLeader.set(1)
        try {
          const services = [answerChallenges(store, election.fence), leaderWork(options, election.fence)]
          await runServices(services, options, AbortSignal.any([signal, election.lost]))
        } finally {
          isLeader.set(0)
          log.info({ server: serverId, lost: election.lost.aborted }, 'no longer leading')
          // Who lost it has nothing to give up; the next campaign starts with a lease of its own.
          await election.resign().catch((error: unknown) => log.warn({ err: error }, 'could not resign'))
        }
      }
    },
  }
}
