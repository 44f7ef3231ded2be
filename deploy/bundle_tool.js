// Bundles a program of test/ that runs on demand (simulation, benchmarks); packages are taken from node_modules.
import { build } from 'esbuild'

export async function bundleTool(entry, outfile) {
  await build({
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    outfile,
    sourcemap: true,
    logLevel: 'warning',
  })
}
