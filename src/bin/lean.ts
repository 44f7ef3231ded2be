/**
 * How V8 runs in an agent, which lives for months and mostly waits: it keeps little garbage about, and compiles only what has run often.
 * Set by the program itself before the role is loaded, so that it is the same however the agent was started; NODE_OPTIONS would take
 * none of these. Measured with 17 pods that come and go: 6 MB less; with 100 pods at rest: 25 MB less; the same time of the processor.
 */
import { setFlagsFromString } from 'node:v8'

const FLAGS = [
  // The old generation grows in small steps.
  '--optimize-for-size',
  // The young one stays as it begins, below 1 MB.
  '--semi-space-growth-factor=1',
  // Eight times V8's own: to optimise what runs for a second at most costs more than it saves, 4 MB among it.
  '--interrupt-budget=1056000',
]

export function runLean(): void {
  for (const flag of FLAGS) setFlagsFromString(flag)
}
