import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KINDS } from '../../src/api/kinds.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import { DroverError } from '../../src/base/errors.ts'
import { mutate, oddValue, pathInto } from '../support/mutate.ts'
import { runResources } from '../support/resources.ts'
import { SAMPLES } from '../support/samples.ts'

/** What a client may be told about its own mistake. */
const ITS_FAULT = ['invalid', 'forbidden', 'notFound', 'alreadyExists', 'conflict', 'unsupported']

async function judged(work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof DroverError) || !ITS_FAULT.includes(error.code)) throw error
    expect(error.message.length).toBeGreaterThan(10)
  }
}

describe('whatever a client sends', () => {
  for (const kind of KINDS) {
    it(`as a ${kind.kind} is stored or refused as its own fault`, async () => {
      const { resources, store, stop } = await runResources()
      const sample = SAMPLES[kind.kind]
      if (sample === undefined) throw new Error(`no sample of ${kind.kind}`)
      const { namespace = '', name = '' } = sample.metadata
      await judged(resources.create(kind, structuredClone(sample)))
      await fc.assert(
        fc.asyncProperty(
          pathInto,
          oddValue,
          fc.constantFrom('merge', 'strategic', 'json'),
          async (path, put, patchType) => {
            const odd = mutate(structuredClone(sample), path, put) as KubeObject
            await judged(resources.update(kind, odd, 'main'))
            if (kind.hasStatus) await judged(resources.update(kind, odd, 'status'))
            await judged(resources.patch(kind, namespace, name, 'main', patchType as 'merge', odd))
            await judged(resources.create(kind, odd, { dryRun: true, fieldValidation: 'Strict' }))
          },
        ),
        { numRuns: 100 },
      )
      await resources.waitForRevision((await store.health()).revision, 5000)
      const items = (await store.list('/drover/')).items
      for (const { key, value } of items) {
        const { metadata } = JSON.parse(value) as KubeObject
        expect(key.endsWith(`/${metadata.namespace ?? '_'}/${metadata.name}`), key).toBe(true)
        expect(metadata.uid).toMatch(/-/)
      }
      await stop()
    })
  }
})
