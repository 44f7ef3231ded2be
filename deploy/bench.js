// Runs the benchmarks against a build of their own, so that clusters of dist/ are left alone.
//   npm run bench [-- cli store pods memory] [--output json]
// Ends with 1 when a limit is missed, with 2 when something could not be measured.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundleTool } from './bundle_tool.js'

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))))
const target = resolve('node_modules/.cache/drover-bench')
mkdirSync(target, { recursive: true })
cpSync('package.json', join(target, 'package.json'))

function run(args, env = {}) {
  const { status, error } = spawnSync(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  if (error) throw error
  return status ?? 2
}

if (run(['deploy/build.js', join(target, 'dist')]) !== 0) process.exit(2)
const main = join(target, 'main.js')
await bundleTool('test/bench/main.ts', main)
const args = ['--enable-source-maps', main, ...process.argv.slice(2)]
process.exitCode = run(args, { DROVER_PROGRAM: join(target, 'dist/drover.js') })
