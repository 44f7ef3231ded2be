import { Ajv } from 'ajv'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KINDS } from '../../src/api/kinds.ts'
import { cleanCopy } from '../../src/resources/codec.ts'
import { checkSchema, validateMeta } from '../../src/resources/validate.ts'
import { mutate, oddValue, pathInto } from '../support/mutate.ts'
import { SAMPLES } from '../support/samples.ts'

function sampleOf(kindName: string) {
  const sample = SAMPLES[kindName]
  if (sample === undefined) throw new Error(`no sample of ${kindName}`)
  return structuredClone(sample)
}

interface Node {
  properties?: Record<string, { enum?: string[] }>
  required?: string[]
}

/** Where a word may be left out, it may be empty too. */
function withEmptyWords({ properties = {}, required = [] }: Node): void {
  for (const [name, { enum: words }] of Object.entries(properties)) {
    if (words?.includes('') === false && !required.includes(name)) words.push('')
  }
}

/** ajv, with unknown members allowed: the walk removes those and says so apart. Empty words it removes, too. */
function oracle(schema: object): (value: unknown) => boolean {
  const ajv = new Ajv({ strict: false, allErrors: false })
  ajv.addFormat(
    'date-time',
    (text: string) => !Number.isNaN(Date.parse(text)) && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*[Zz\d]$/.test(text),
  )
  ajv.addFormat('byte', true)
  const open = JSON.parse(JSON.stringify(schema), (key, value) => {
    if (typeof value?.properties === 'object') withEmptyWords(value)
    return key === 'additionalProperties' && value === false ? undefined : value
  })
  return ajv.compile(open)
}

describe('the walk over a schema', () => {
  for (const kind of KINDS) {
    it(`judges ${kind.kind} as ajv does`, () => {
      const judge = oracle(kind.schema)
      expect(checkSchema(kind.schema, sampleOf(kind.kind))).toMatchObject({ errors: [], unknown: [], ignored: [] })
      fc.assert(
        fc.property(pathInto, oddValue, (path, put) => {
          const value = mutate(sampleOf(kind.kind), path, put)
          const expected = judge(structuredClone(value))
          const { errors } = checkSchema(kind.schema, value)
          expect(errors.length === 0, JSON.stringify({ value, errors })).toBe(expected)
        }),
        { numRuns: 200 },
      )
    })
  }

  it('names what is wrong by its path', () => {
    const pod = sampleOf('Pod')
    pod.spec = {
      containers: [{ name: 'a', ports: [{ containerPort: 70000 }], imagePullPolicy: 'Sometimes' }, {}],
      restartPolicy: 1,
    }
    const kind = KINDS.find((each) => each.kind === 'Pod')
    const { errors } = checkSchema(kind?.schema, pod)
    expect(errors.map(({ path, reason, message }) => `${path}: ${reason}: ${message}`)).toEqual([
      'spec.containers[0].ports[0].containerPort: Invalid: 70000 must be less than or equal to 65535',
      'spec.containers[0].imagePullPolicy: NotSupported: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
      'spec.containers[1].name: Required: must be given',
      'spec.restartPolicy: Invalid: 1 must be a string',
    ])
  })

  it('removes unknown members and says which, at every depth', () => {
    const value = {
      ...sampleOf('ConfigMap'),
      extra: { x: 1 },
      metadata: {
        name: 'c',
        colour: 'red',
        ownerReferences: [{ apiVersion: 'v1', kind: 'K', name: 'n', uid: 'u', z: 1 }],
      },
    }
    const kind = KINDS.find((each) => each.kind === 'ConfigMap')
    const { unknown } = checkSchema(kind?.schema, value)
    expect(unknown.sort()).toEqual(['extra', 'metadata.colour', 'metadata.ownerReferences[0].z'])
    expect(checkSchema(kind?.schema, value).unknown).toEqual([])
  })

  it('refuses a schema with a word that it does not know', () => {
    expect(() => checkSchema({ type: 'string', multipleOf: 2 }, 'x')).toThrow(/multipleOf/)
  })
})

describe('rules of metadata', () => {
  const kind = KINDS.find((each) => each.kind === 'ConfigMap')
  const faults = (metadata: object): string[] => {
    if (kind === undefined) throw new Error('no ConfigMap')
    return validateMeta(kind, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'a', namespace: 'default', ...metadata },
    }).map(({ path }) => path)
  }

  it('hold for names, labels, annotations, finalizers and owners', () => {
    const owner = { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u', controller: true }
    expect(faults({})).toEqual([])
    expect(faults({ name: 'A_b' })).toEqual(['metadata.name'])
    expect(faults({ namespace: 'a.b' })).toEqual(['metadata.namespace'])
    expect(faults({ labels: { 'a b': 'c' } })).toEqual(['metadata.labels'])
    expect(faults({ labels: { a: 'c d' } })).toEqual(['metadata.labels[a]'])
    expect(faults({ annotations: { 'x.dev/ok': 'x'.repeat(300_000) } })).toEqual(['metadata.annotations'])
    expect(faults({ finalizers: ['no spaces please'] })).toEqual(['metadata.finalizers'])
    expect(faults({ ownerReferences: [owner, { ...owner, uid: 'v' }] })).toEqual(['metadata.ownerReferences'])
  })
})

describe('cleanCopy', () => {
  it('drops nulls and undefined from objects, keeps lists, and shares nothing', () => {
    const list = [null, { a: null, b: 1 }]
    const copy = cleanCopy({ a: null, b: undefined, c: { d: null }, list })
    expect(copy).toEqual({ c: {}, list: [null, { b: 1 }] })
    expect(copy.list).not.toBe(list)
  })
})
