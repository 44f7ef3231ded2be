import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { deploymentKind } from '../../src/api/deployment.ts'
import { planPatch } from '../../src/cli/apply_patch.ts'
import { applyPatch } from '../../src/resources/patch.ts'

const schema = deploymentKind.schema

const deployment = (containers: object[], extra: object = {}) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', labels: { app: 'web' } },
  spec: { selector: { matchLabels: { app: 'web' } }, template: { spec: { containers } }, ...extra },
})

describe('planPatch', () => {
  it('is the manifest itself when nothing was applied before', () => {
    const next = deployment([{ name: 'a', image: 'x:1' }])
    expect(planPatch(schema, undefined, next)).toMatchObject(next)
  })

  it('removes what the manifest no longer says, in maps and in keyed lists', () => {
    const last = deployment(
      [
        { name: 'a', image: 'x:1', workingDir: '/w' },
        { name: 'b', image: 'y:1' },
      ],
      { replicas: 3 },
    )
    const next = deployment([{ name: 'a', image: 'x:2' }])
    const patch = planPatch(schema, last, next) as {
      spec: { replicas: null; template: { spec: { containers: object[] } } }
    }
    expect(patch.spec.replicas).toBeNull()
    expect(patch.spec.template.spec.containers).toEqual([
      { name: 'a', image: 'x:2', workingDir: null },
      { $patch: 'delete', name: 'b' },
    ])
  })

  it('brings any manifest to any other, and leaves what others set alone', () => {
    const container = fc.record(
      {
        name: fc.constantFrom('a', 'b', 'c'),
        image: fc.constantFrom('x:1', 'x:2'),
        workingDir: fc.constantFrom('/', '/w'),
      },
      { requiredKeys: ['name', 'image'] },
    )
    const containers = fc.uniqueArray(container, { selector: (item) => item.name, minLength: 1 })
    const manifest = fc
      .tuple(containers, fc.option(fc.nat(5), { nil: undefined }))
      .map(([list, replicas]) => deployment(list, replicas === undefined ? {} : { replicas }))
    fc.assert(
      fc.property(manifest, manifest, (last, next) => {
        const live = { ...structuredClone(last), status: { replicas: 2 } }
        const patched = applyPatch(deploymentKind, live, 'strategic', planPatch(schema, last, next)) as typeof live
        expect(patched.status).toEqual({ replicas: 2 })
        expect(patched.spec).toMatchObject(next.spec)
        const names = (spec: typeof next.spec): unknown[] =>
          spec.template.spec.containers.map((item) => JSON.stringify(item, Object.keys(item).sort())).sort()
        expect(names(patched.spec as typeof next.spec)).toEqual(names(next.spec))
        expect('replicas' in patched.spec).toBe('replicas' in next.spec)
      }),
    )
  })
})
