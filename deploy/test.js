// Decides whether a change may land: what is generated is current, formatting and lint, types, then all layers of
// tests. What the tests made on the machine is looked for afterwards, also when they failed.
import { spawnSync } from 'node:child_process'
import { leftSince, testTraces } from './leftovers.js'

const bin = (name) => `node_modules/.bin/${name}`
const steps = [
  ['generated code', process.execPath, ['deploy/generate.js', '--check']],
  ['format and lint', bin('biome'), ['check', '--error-on-warnings', '.']],
  ['types', bin('tsc'), ['-p', 'tsconfig.json']],
  ['tests', bin('vitest'), ['run', ...process.argv.slice(2)]],
]
const before = testTraces()
let failed = false
for (const [title, program, args] of steps) {
  const startedMs = performance.now()
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' })
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  if (status !== 0) {
    console.error(`${title}: failed after ${seconds} s${error ? `: ${error.message}` : ''}`)
    failed = true
    break
  }
  console.error(`${title}: passed in ${seconds} s`)
}
const left = await leftSince(before)
if (left.length > 0) console.error(`left on the machine by the tests:\n  ${left.join('\n  ')}`)
else console.error('left on the machine by the tests: nothing')
process.exitCode = failed || left.length > 0 ? 1 : 0
