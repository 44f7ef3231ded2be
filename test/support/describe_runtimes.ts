/** The OCI runtimes that the main tests run with: runc, and crun where it is installed. */
import { afterAll, beforeAll, describe, it } from 'vitest'
import { findProgram } from '../../src/agent/runtime/handlers.ts'
import { letCrunRun } from './crun.ts'

export type RuntimeName = 'runc' | 'crun'

/** Defines a test. */
export type Define = (name: string, test: () => Promise<void> | void) => void

/**
 * The same tests with each runtime, but for those that are defined by `itOnce`, in which the runtime has no part. Without
 * crun those with it are skipped, by a name that says why.
 */
export function describeRuntimes(name: string, tests: (runtime: RuntimeName, itOnce: Define) => void): void {
  describe(`${name} (runc)`, () => tests('runc', it))
  if (findProgram('crun') === undefined) {
    describe.skip(`${name} (crun is not installed)`, () => tests('crun', () => undefined))
    return
  }
  describe(`${name} (crun)`, () => {
    let release: (() => Promise<void>) | undefined
    beforeAll(async () => {
      release = await letCrunRun()
    })
    afterAll(() => release?.())
    tests('crun', () => undefined)
  })
}
