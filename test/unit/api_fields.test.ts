/**
 * Nothing is accepted and ignored. Kubernetes' own list of fields is held against the schemas; what a schema calls
 * ignored must be warned about; what it calls honoured must have code behind it; and docs/fields.md says the same.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { KINDS } from '../../src/api/kinds.ts'
import * as pod from '../../src/api/pod.ts'
import { ANNOTATION } from '../../src/api/schema.ts'
import { checkSchema, mapValues, type Schema } from '../../src/resources/validate.ts'
import { fieldSections, fieldsDocument } from '../support/field_table.ts'
import { isModel, modelOf, unknownFields } from '../support/kubernetes_fields.ts'

describe('fields', () => {
  for (const kind of KINDS) {
    it(`${kind.kind}: every field that Kubernetes documents is known`, () => {
      expect(isModel(modelOf(kind)), `Kubernetes has a ${modelOf(kind)}`).toBe(true)
      expect(unknownFields(kind), 'add them to the schema: with ignored() if nothing honours them').toEqual([])
    })
  }

  it('that are ignored are warned about, wherever they stand', () => {
    for (const kind of KINDS) {
      const { value, ignored } = withIgnored(kind.schema as Schema, '')
      const found = checkSchema(kind.schema, value)
      expect(found.ignored.sort(), kind.kind).toEqual(ignored.sort())
    }
  })

  it('that are honoured have code behind them', () => {
    const code = codeOutsideSchemas()
    const silent = fieldSections(KINDS).flatMap(({ title, rows }) => {
      // Pods' fields are honoured by nodes, scheduler and controllers: defaults and rules alone do nothing for a pod.
      const words = Object.hasOwn(pod, title) ? code.outside : code.all
      return rows
        .filter(({ state, name, warnedValues }) => state === 'honoured' && !warnedValues && !words.has(name))
        .map(({ path }) => `${title}: ${path}`)
    })
    expect(silent, 'no code reads or writes these: honour them, or mark them ignored() or kept()').toEqual([])
  })

  it('are all in docs/fields.md', () => {
    const written = readFileSync('docs/fields.md', 'utf8')
    expect(written === fieldsDocument(KINDS), 'docs/fields.md is not current; run: npm run generate').toBe(true)
  })
})

/** A value that gives every ignored field once, and their paths. */
function withIgnored(schema: Schema, path: string): { value: unknown; ignored: string[] } {
  const mark = schema[ANNOTATION.ignored]
  if (mark === true) return { value: {}, ignored: [path] }
  if (mark === 'always') return { value: null, ignored: [path] }
  if (Array.isArray(mark)) return { value: mark[0], ignored: [`${path}=${JSON.stringify(mark[0])}`] }
  if (schema.type === 'array') {
    const item = withIgnored(schema.items ?? {}, `${path}[0]`)
    return { value: item.ignored.length > 0 ? [item.value] : [], ignored: item.ignored }
  }
  const values = schema.properties === undefined ? mapValues(schema) : undefined
  if (values !== undefined) {
    const member = withIgnored(values, `${path}[x]`)
    return { value: member.ignored.length > 0 ? { x: member.value } : {}, ignored: member.ignored }
  }
  const ignored: string[] = []
  const value: Record<string, unknown> = {}
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const member = withIgnored(property, path === '' ? name : `${path}.${name}`)
    if (member.ignored.length === 0) continue
    value[name] = member.value
    ignored.push(...member.ignored)
  }
  return { value, ignored }
}

/** Files that list fields without honouring them: wire formats and documents. */
const LISTS = /protobuf|openapi|\/gen\//

/** Selectors and readiness gates are honoured by these functions, which scheduler, dispatch and controllers call. */
const MATCHERS = /^api\/((node_)?selector|readiness_gates)\.ts$/

/**
 * Words of the program outside comments, schemas and lists of fields: a member that something reads, writes or takes
 * apart is among them.
 */
function codeOutsideSchemas(): { all: ReadonlySet<string>; outside: ReadonlySet<string> } {
  const all = new Set<string>()
  const outside = new Set<string>()
  for (const file of readdirSync('src', { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || LISTS.test(file)) continue
    const text = readFileSync(join('src', file), 'utf8')
      .replace(/('(?:[^'\\\n]|\\.)*')|\/\*[\s\S]*?\*\/|\/\/.*$/gm, '$1')
      .replace(/^import[\s\S]*?from .*$/gm, '')
    const isApi = file.startsWith('api/')
    for (const [word] of (isApi ? withoutSchemas(text) : text).matchAll(/[A-Za-z_]\w*/g)) {
      all.add(word)
      if (!isApi || MATCHERS.test(file)) outside.add(word)
    }
  }
  return { all, outside }
}

/** A schema's own line gives a field's name; the code around it is what honours the field. */
function withoutSchemas(text: string): string {
  return text
    .replace(/ignoredAll\([\s\S]*?\),/g, '')
    .replace(/\b\w+: (?=(?:opt|kept|unhonoured|object|oneOf|listByKey|setOf|ignored|Type\.\w+)\()/g, '')
    .replace(/\b\w+: (?:text|bool|count|int32|int64|time|stringMap|Time|[A-Z]\w+)(?=[,\s}])/g, '')
}
