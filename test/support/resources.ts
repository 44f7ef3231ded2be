/** Resources on a memory store, running, for tests. */
import type { KindDefinition } from '../../src/api/kind.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { Service } from '../../src/base/service.ts'
import { ensureBuiltins } from '../../src/resources/builtins.ts'
import { createResources, type ResourcesOptions } from '../../src/resources/create.ts'
import type { Resources } from '../../src/resources/resources.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'

export interface TestResources {
  resources: Resources & Service
  store: Store
  signal: AbortSignal
  stop(): Promise<void>
}

export async function runResources(
  given: Partial<ResourcesOptions> & { kinds?: readonly KindDefinition[]; clock?: Clock } = {},
): Promise<TestResources> {
  const clock = given.clock ?? systemClock
  const store = given.store ?? createMemoryStore({ clock })
  const resources = createResources({
    random: seededRandom(1),
    log: silentLogger,
    serviceCidr: '10.96.0.0/24',
    nodePortRange: { from: 30000, to: 30009 },
    ...given,
    store,
    clock,
  })
  const controller = new AbortController()
  const running = resources.run(controller.signal)
  // A run that fails says so here, instead of leaving the test to wait.
  await Promise.race([resources.ready(), running])
  await ensureBuiltins(resources)
  return {
    resources,
    store,
    signal: controller.signal,
    async stop() {
      controller.abort()
      await running
    },
  }
}
