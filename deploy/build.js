// Bundles src/bin/drover.ts to dist/. Roles and commands are separate chunks, loaded when used, so that the CLI starts
// fast; packages stay outside the bundle.
import { rmSync } from 'node:fs'
import { build } from 'esbuild'

rmSync('dist', { recursive: true, force: true })
await build({
  entryPoints: { drover: 'src/bin/drover.ts' },
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  outdir: 'dist',
  sourcemap: true,
  logLevel: 'warning',
})
