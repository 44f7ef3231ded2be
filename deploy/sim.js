// Runs the simulation from a bundle of its own.
//   npm run sim -- --seconds 60
//   npm run sim -- --seed N [--trace] [--shrink] [--skip 1,2]
// Ends with 1 when an invariant was broken.
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundleTool } from './bundle_tool.js'

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))))
const target = resolve('node_modules/.cache/drover-sim')
mkdirSync(target, { recursive: true })
const main = join(target, 'main.js')
await bundleTool('test/sim/main.ts', main)
// Most of what a run makes is garbage at once: with room for it, little is copied.
const args = ['--max-semi-space-size=64', '--enable-source-maps', main, ...process.argv.slice(2)]
const { status, error } = spawnSync(process.execPath, args, { stdio: 'inherit' })
if (error) throw error
process.exitCode = status ?? 2
