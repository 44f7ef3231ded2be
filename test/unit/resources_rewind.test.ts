/** A list as of a revision in the past is what the list was then, through any filter. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { parseSelector } from '../../src/api/selector.ts'
import type { ListFilter } from '../../src/resources/resources.ts'
import { runResources } from '../support/resources.ts'

const FILTERS: readonly ListFilter[] = [
  {},
  { namespace: 'default' },
  { labels: parseSelector('l=x') },
  { namespace: 'kube-system', labels: parseSelector('l!=x') },
  { fields: [{ field: 'metadata.name', value: 'a', equal: true }] },
]

const step = fc.record({
  name: fc.constantFrom('a', 'b', 'c'),
  namespace: fc.constantFrom('default', 'kube-system'),
  label: fc.option(fc.constantFrom('x', 'y'), { nil: undefined }),
})

it('whatever was made, changed and deleted since', { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const { resources, stop } = await runResources()
      const shown = (filter: ListFilter, revision?: number): string[] =>
        resources
          .snapshot(configMapKind, filter, revision)
          .items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}@${metadata.resourceVersion}`)
          .sort()
      try {
        const seen = new Map<number, string[][]>()
        const remember = async (): Promise<void> => {
          await resources.waitForRevision(await resources.currentRevision(), 5_000)
          seen.set(
            resources.revision(),
            FILTERS.map((filter) => shown(filter)),
          )
        }
        await remember()
        for (const [index, { name, namespace, label }] of steps.entries()) {
          const metadata = { name, namespace, labels: { ...(label === undefined ? {} : { l: label }) } }
          const object = { apiVersion: 'v1' as const, kind: 'ConfigMap' as const, metadata, data: { n: String(index) } }
          const isThere = resources.get(configMapKind, namespace, name) !== undefined
          if (!isThere) await resources.create(configMapKind, object)
          else if (label === undefined) await resources.delete(configMapKind, namespace, name)
          else await resources.update(configMapKind, object, 'main')
          await remember()
        }
        for (const [revision, lists] of seen) {
          expect(FILTERS.map((filter) => shown(filter, revision))).toEqual(lists)
        }
      } finally {
        await stop()
      }
    }),
    { numRuns: 40 },
  )
})

it('a revision from before what is kept is refused', async () => {
  const { resources, stop } = await runResources({ ringEvents: 4 })
  try {
    const first = resources.revision()
    for (let n = 0; n < 6; n++) {
      const metadata = { name: `m${n}`, namespace: 'default' }
      await resources.create(configMapKind, { apiVersion: 'v1', kind: 'ConfigMap', metadata })
    }
    await resources.waitForRevision(await resources.currentRevision(), 5_000)
    expect(() => resources.snapshot(configMapKind, {}, first)).toThrow(/too old resource version/)
    expect(resources.snapshot(configMapKind, {}, resources.revision() - 2).items).toHaveLength(4)
  } finally {
    await stop()
  }
})
