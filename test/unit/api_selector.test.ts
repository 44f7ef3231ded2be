import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { LabelSelector, LabelSelectorRequirement } from '../../src/api/meta.ts'
import {
  matchesLabels,
  matchesSelector,
  parseFieldSelector,
  parseSelector,
  selectorErrors,
} from '../../src/api/selector.ts'

const key = fc.constantFrom('app', 'tier', 'x.dev/zone', 'constructor')
const value = fc.constantFrom('a', 'b', 'c', '')
const labels = fc.dictionary(key, value)
const requirement: fc.Arbitrary<LabelSelectorRequirement> = fc.oneof(
  fc.record({
    key,
    operator: fc.constantFrom('In' as const, 'NotIn' as const),
    values: fc.uniqueArray(value, { minLength: 1 }),
  }),
  fc.record({ key, operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const) }),
)
const selector: fc.Arbitrary<LabelSelector> = fc.record({ matchExpressions: fc.array(requirement, { maxLength: 3 }) })

function textOf({ key, operator, values = [] }: LabelSelectorRequirement): string {
  if (operator === 'Exists') return key
  if (operator === 'DoesNotExist') return `!${key}`
  return `${key} ${operator === 'In' ? 'in' : 'notin'} (${values.join(',')})`
}

const OPPOSITE = { In: 'NotIn', NotIn: 'In', Exists: 'DoesNotExist', DoesNotExist: 'Exists' } as const

describe('label selectors', () => {
  it('mean the same as text and as objects', () => {
    fc.assert(
      fc.property(selector, labels, (object, given) => {
        const parsed = parseSelector((object.matchExpressions ?? []).map(textOf).join(','))
        expect(matchesSelector(parsed, given)).toBe(matchesSelector(object, given))
        expect(selectorErrors(parsed, 'spec')).toEqual([])
      }),
    )
  })

  it('have an opposite for each requirement', () => {
    fc.assert(
      fc.property(requirement, labels, (each, given) => {
        const opposite = { ...each, operator: OPPOSITE[each.operator] }
        const [yes, no] = [each, opposite].map((one) => matchesSelector({ matchExpressions: [one] }, given))
        expect(yes).toBe(!no)
      }),
    )
  })

  it('match when all parts do', () => {
    fc.assert(
      fc.property(selector, selector, labels, (a, b, given) => {
        const both = { matchExpressions: [...(a.matchExpressions ?? []), ...(b.matchExpressions ?? [])] }
        expect(matchesSelector(both, given)).toBe(matchesSelector(a, given) && matchesSelector(b, given))
      }),
    )
  })

  it('treat empty and absent as Kubernetes does', () => {
    expect(matchesSelector({}, { a: 'b' })).toBe(true)
    expect(matchesSelector(undefined, { a: 'b' })).toBe(false)
    expect(matchesLabels({}, { a: 'b' })).toBe(false)
    expect(matchesLabels({ a: 'b' }, { a: 'b', c: 'd' })).toBe(true)
    expect(matchesSelector({ matchLabels: { a: 'b' } }, undefined)).toBe(false)
    expect(parseSelector('')).toEqual({ matchExpressions: [] })
  })

  it('are read in all their forms, and refused with the part that is wrong', () => {
    const given = { a: '1', b: '2' }
    for (const text of ['a=1', 'a==1', 'a!=2', 'a in (1,2),b', '!c', 'c notin (x)', ' a = 1 , b ']) {
      expect(matchesSelector(parseSelector(text), given), text).toBe(true)
    }
    for (const text of ['a=1=2', 'a in (1', '=x', 'a b', 'ä', 'a in 1'])
      expect(() => parseSelector(text), text).toThrow(/cannot read selector/)
  })
})

describe('field selectors', () => {
  it('are read', () => {
    expect(parseFieldSelector('spec.nodeName=n1,status.phase!=Running, metadata.name==x')).toEqual([
      { field: 'spec.nodeName', value: 'n1', equal: true },
      { field: 'status.phase', value: 'Running', equal: false },
      { field: 'metadata.name', value: 'x', equal: true },
    ])
    expect(parseFieldSelector('')).toEqual([])
    expect(() => parseFieldSelector('spec.nodeName')).toThrow(/write field=value/)
  })
})
