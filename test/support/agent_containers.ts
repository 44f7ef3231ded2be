/** What a driver made anew finds of a node's containers: what the next agent would see. */
import { join } from 'node:path'
import { createRuntimeDriver } from '../../src/agent/runtime/driver.ts'
import type { ContainerState } from '../../src/agent/runtime/runtime.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import type { AgentNode } from './agent_node.ts'

export function listOf(node: AgentNode): Promise<ContainerState[]> {
  return createRuntimeDriver({
    runtime: 'runc',
    conmon: 'conmon',
    dataDir: join(node.directory, 'data'),
    runDir: join(node.directory, 'run'),
    cgroupParent: node.cgroupParent,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  }).listContainers()
}
