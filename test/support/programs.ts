/** Programs of a test's own: TypeScript beside the tests, made into one file that Node runs as a process by itself. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'

export interface TestProgram {
  path: string
  remove(): Promise<void>
}

/** `name` is a file of test/support, without its ending. */
export async function buildProgram(name: string): Promise<TestProgram> {
  // Beside the packages, so that what is not bundled is found.
  const path = join(import.meta.dirname, '../../node_modules/.cache', `drvt-${name}-${process.pid}.mjs`)
  await build({
    entryPoints: [join(import.meta.dirname, `${name}.ts`)],
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
  })
  return { path, remove: () => rm(path, { force: true }) }
}
