/** What the pods of this simulation are made of. Images behave by the word before the colon (sim_host.ts). */
import type { Pod } from '../../src/api/pod.ts'
import type { Random } from '../../src/base/random.ts'
import { between, pick } from './latency.ts'

export function someImage(random: Random): string {
  const kind = pick(random, ['app', 'app', 'app', 'app', 'slow', 'stubborn', 'crash', 'broken', 'missing']) ?? 'app'
  return `${kind}:${between(random, 1, 5)}`
}

export function newContainer(image: string, random: Random): Pod['spec']['containers'][number] {
  const cpu = `${pick(random, [50, 100, 200])}m`
  const memory = `${pick(random, [64, 256, 512])}Mi`
  const readinessProbe = { exec: { command: ['ready'] }, periodSeconds: between(random, 1, 5) }
  return { name: 'main', image, resources: { requests: { cpu, memory } }, readinessProbe }
}
