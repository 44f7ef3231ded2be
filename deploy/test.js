// Decides whether a change may land: what is generated is current, formatting and lint, types, then all layers of
// tests. What the tests made on the machine is looked for afterwards, also when they failed.
import { spawnSync } from 'node:child_process'

const bin = (name) => `node_modules/.bin/${name}`
const steps = [
  ['generated code', process.execPath, ['deploy/generate.js', '--check']],
  ['format and lint', bin('biome'), ['check', '--error-on-warnings', '.']],
  ['types', bin('tsc'), ['-p', 'tsconfig.json']],
  ['tests', bin('vitest'), ['run', ...process.argv.slice(2)]],
]
for (const [title, program, args] of steps) {
  const startedMs = performance.now()
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' })
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  if (status !== 0) {
    console.error(`${title}: failed after ${seconds} s${error ? `: ${error.message}` : ''}`)
    process.exit(1)
  }
  console.error(`${title}: passed in ${seconds} s`)
}
