// Generates src/rpc/gen from proto/, and docs/fields.md from the schemas. `node deploy/generate.js --check` only says whether it is current.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { bundleTool } from './bundle_tool.js'

const PROTO = 'proto/drover/node/v1/node.proto'
const OUT = 'src/rpc/gen'
const NOTE = `// Generated from ${PROTO} by deploy/generate.js. Do not edit.\n`
const directory = mkdtempSync(join(tmpdir(), 'drover-gen-'))
try {
  const js = join(directory, 'node.js')
  const dts = join(directory, 'node.d.ts')
  const bin = (name) => join('node_modules', '.bin', name)
  const pbjs = [
    '-t',
    'static-module',
    '-w',
    'es6',
    '--force-number',
    '--no-create',
    '--no-verify',
    '--no-delimited',
    '--no-convert',
    '--no-service',
    '--no-typeurl',
  ]
  execFileSync(bin('pbjs'), [...pbjs, '-o', js, PROTO], { stdio: ['ignore', 'ignore', 'inherit'] })
  execFileSync(bin('pbts'), ['-o', dts, js], { stdio: ['ignore', 'ignore', 'inherit'] })
  const files = { 'node.js': NOTE + readFileSync(js, 'utf8'), 'node.d.ts': NOTE + readFileSync(dts, 'utf8') }
  for (const [name, content] of Object.entries(files)) {
    const path = join(OUT, name)
    if (!process.argv.includes('--check')) writeFileSync(path, content)
    else if (readFileSync(path, 'utf8') !== content) {
      console.error(`${path} is not what ${PROTO} generates; run: npm run generate`)
      process.exitCode = 1
    }
  }
  // Inside node_modules, so that its packages are found.
  const fields = resolve('node_modules/.cache/drover-generate/write_fields.js')
  await bundleTool('test/support/write_fields.ts', fields)
  const { status } = spawnSync(process.execPath, [fields, ...process.argv.slice(2)], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
