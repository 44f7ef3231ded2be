// Bundles src/bin/drover.ts to dist/, or to the directory that is named. Roles and commands are separate chunks, loaded
// when used, so that the command line starts fast.
import { rmSync } from 'node:fs'
import { build } from 'esbuild'

const outdir = process.argv[2] ?? 'dist'
rmSync(outdir, { recursive: true, force: true })
await build({
  entryPoints: { drover: 'src/bin/drover.ts' },
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // etcd3 reads a file beside its code, and x509 wants the one reflect-metadata there is: these stay outside. The rest is
  // bundled, which halves the start and saves each process some megabytes of loader.
  // Nobody asks grpc-js for what it would need its proto-loader for.
  external: ['@grpc/proto-loader', '@peculiar/x509', 'etcd3', 'reflect-metadata'],
  // Each process holds its sources, and where each of their lines ends. Names stay, so a stack can be read.
  minifyWhitespace: true,
  lineLimit: 120,
  banner: {
    js: "import { createRequire as createRequireForBundle } from 'node:module'; const require = createRequireForBundle(import.meta.url);",
  },
  outdir,
  sourcemap: true,
  logLevel: 'warning',
})
