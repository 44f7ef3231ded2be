/**
 * Takes an agent's lock as a process of its own, says `locked` or why not, and stays until it is ended. Argument: JSON with
 * `places` and the options of `lockAgent`.
 */
import { type AgentLockOptions, type AgentPlaces, lockAgent } from '../../src/agent/agent_lock.ts'
import { systemClock } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'

const config = JSON.parse(process.argv[2] ?? '') as { places: AgentPlaces } & Omit<AgentLockOptions, 'clock'>
try {
  const lock = await lockAgent(config.places, { ...config, clock: systemClock })
  await lock.lockRunDirectory()
  process.stdout.write('locked\n')
  process.stdin.resume()
} catch (error) {
  process.stdout.write(`${DroverError.from(error).message}\n`)
  process.exitCode = 1
}
