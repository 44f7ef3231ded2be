/** Fields that stand twice in a JSON text are found where they are. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { findDuplicateFields } from '../../src/apiserver/json_duplicates.ts'

it.each([
  ['{"a":1,"b":{"a":2}}', []],
  ['{"a":1,"a":2}', ['a']],
  ['{"data":{"x":"1","y":"2","x":"3","x":"4"}}', ['data.x']],
  ['{"spec":{"containers":[{"name":"a"},{"name":"b","image":"i","image":"j"}]}}', ['spec.containers[1].image']],
  ['[[{"a":1},{"a":1,"a":1}]]', ['[0][1].a']],
  ['{"a":"\\"a\\":1,\\"a\\":2","b":"{\\\\"}', []],
  ['{"\\u0061":1,"a":2}', ['a']],
  ['{ "a" : [1, 2] ,\n "a" : { } }', ['a']],
  ['"a"', []],
])('%s', (text, expected) => {
  JSON.parse(text)
  expect(findDuplicateFields(text)).toEqual(expected)
})

it('finds none in what was written by JSON.stringify, and every one that is put in', () => {
  const keys = fc.string({ minLength: 1, maxLength: 3 }).filter((key) => key !== '__proto__')
  const member = fc.dictionary(keys, fc.jsonValue({ maxDepth: 3 }), { minKeys: 1 })
  fc.assert(
    fc.property(member, member, (outer, inner) => {
      const text = JSON.stringify({ outer, list: [inner] })
      expect(findDuplicateFields(text)).toEqual([])
      const [first] = Object.keys(inner)
      const again = `${JSON.stringify(inner).slice(0, -1)},${JSON.stringify(first)}:0}`
      expect(findDuplicateFields(`{"outer":${JSON.stringify(outer)},"list":[${again}]}`)).toEqual([`list[0].${first}`])
    }),
  )
})
