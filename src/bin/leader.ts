/**
 * The leader's services. Every server campaigns; the one that is elected makes controllers and scheduler anew, each
 * write of theirs carrying the election's fence, and stops them the moment leadership is lost.
 */

import type { Gauge } from '../base/metrics.ts'
import { type RunnerOptions, runServices, type Service } from '../base/service.ts'
import type { Fence, Store } from '../store/store.ts'

export interface LeaderOptions extends RunnerOptions {
  store: Store
  serverId: string
  isLeader: Gauge
  /** What runs while leading. */
  services(fence: Fence): Service[]
}

const ELECTION_KEY = '/drover-meta/leader'

export function createLeader(options: LeaderOptions): Service {
  const { store, serverId, isLeader, log } = options
  return {
    id: 'leader',
    async run(signal) {
      while (!signal.aborted) {
        const election = await store.campaign(ELECTION_KEY, serverId, signal)
        log.info({ server: serverId, fence: election.fence }, 'leading')
        isLeader.set(1)
        try {
          await runServices(options.services(election.fence), options, AbortSignal.any([signal, election.lost]))
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
