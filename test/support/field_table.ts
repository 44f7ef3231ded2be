/**
 * docs/fields.md: every field of every kind, from the schemas alone. Parts that many kinds share (pods' specs, metadata,
 * conditions) stand once under their name. Pure.
 */

import { apiVersionOf, type KindDefinition } from '../../src/api/kind.ts'
import * as meta from '../../src/api/meta.ts'
import * as claims from '../../src/api/persistentvolumeclaim.ts'
import * as pod from '../../src/api/pod.ts'
import { ANNOTATION } from '../../src/api/schema.ts'
import { isObject } from '../../src/base/json.ts'
import { mapValues, type Schema } from '../../src/resources/validate.ts'

export type FieldState = 'honoured' | 'kept' | 'warned'

export interface FieldRow {
  /** `spec.ports[].port`; relative to its section. */
  path: string
  /** The member's own name. */
  name: string
  state: FieldState
  /** Of a field that is honoured but for some values: these. */
  warnedValues?: readonly string[]
  /** The section that tells of what is below. */
  section?: string
}

export interface FieldSection {
  title: string
  rows: FieldRow[]
}

const SHARED: ReadonlyMap<unknown, string> = new Map(
  [meta, pod, claims].flatMap((module) =>
    Object.entries(module).flatMap(([name, schema]): [unknown, string][] =>
      isObject(schema) && isObject(schema.properties) && schema.properties.kind === undefined
        ? [[schema.properties, name]]
        : [],
    ),
  ),
)

/** All sections: the kinds in the order of discovery, then what they share by name. */
export function fieldSections(kinds: readonly KindDefinition[]): FieldSection[] {
  const shared = new Map<string, FieldSection>()
  const own = kinds.map((kind) => {
    const section: FieldSection = { title: `${kind.kind} (${apiVersionOf(kind)})`, rows: [] }
    addMembers(kind.schema as Schema, '', section.rows, shared)
    return section
  })
  return [...own, ...[...shared.values()].sort((a, b) => (a.title < b.title ? -1 : 1))]
}

function addMembers(schema: Schema, prefix: string, rows: FieldRow[], shared: Map<string, FieldSection>): void {
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    const { schema: below, suffix } = inside(member)
    const path = `${prefix}${name}${suffix}`
    const mark = member[ANNOTATION.ignored]
    const values = Array.isArray(mark) ? mark.map(String) : undefined
    const state = mark === true || mark === 'always' ? 'warned' : member[ANNOTATION.kept] === true ? 'kept' : 'honoured'
    const section = SHARED.get(below.properties)
    rows.push({
      path,
      name,
      state,
      ...(section === undefined ? {} : { section }),
      ...(values === undefined ? {} : { warnedValues: values }),
    })
    if (state !== 'honoured') continue
    if (section === undefined) addMembers(below, `${path}.`, rows, shared)
    else if (!shared.has(section)) {
      const made: FieldSection = { title: section, rows: [] }
      shared.set(section, made)
      addMembers(below, '', made.rows, shared)
    }
  }
}

/** What a list or map holds, or the value itself where it may be null. */
function inside(schema: Schema): { schema: Schema; suffix: string } {
  if (schema.type === 'array') {
    const { schema: item, suffix } = inside(schema.items ?? {})
    return { schema: item, suffix: `[]${suffix}` }
  }
  const values = schema.properties === undefined ? mapValues(schema) : undefined
  if (values !== undefined) {
    const { schema: value, suffix } = inside(values)
    return { schema: value, suffix: `[*]${suffix}` }
  }
  const given = (schema.anyOf ?? []).filter(({ type }) => type === 'object')
  return { schema: given.length === 1 ? (given[0] ?? schema) : schema, suffix: '' }
}

const HEAD = `# Fields

Every field that Kubernetes documents for the kinds that Drover serves. Generated from the schemas by \`npm run generate\`; a test
compares it with Kubernetes' own list (v1.34), and looks for the code behind every field that is called honoured.

| word | means |
|---|---|
| honoured | Drover does what Kubernetes documents |
| kept | stored and shown for people and clients; nothing in a cluster acts on it, in Kubernetes neither |
| **warned** | stored, and answered with a \`Warning:\` header that names it: Drover does nothing with it |

A field that is not in these tables is unknown: warned about and dropped, or refused with \`fieldValidation=Strict\` (kubectl's default).
`

const WORDS: Readonly<Record<FieldState, string>> = { honoured: 'honoured', kept: 'kept', warned: '**warned**' }
const anchor = (title: string): string =>
  title
    .toLowerCase()
    .replace(/[^a-z0-9 -]/g, '')
    .replaceAll(' ', '-')

export function fieldsDocument(kinds: readonly KindDefinition[]): string {
  const sections = fieldSections(kinds).map(({ title, rows }) => {
    const lines = rows.map(({ path, state, section, warnedValues }) => {
      const but = warnedValues === undefined ? '' : `, but for ${warnedValues.join(', ')}: **warned**`
      const more = section === undefined ? '' : `; see [${section}](#${anchor(section)})`
      return `| \`${path}\` | ${WORDS[state]}${but}${more} |`
    })
    return [`\n## ${title}\n`, '| field | |', '|---|---|', ...lines, ''].join('\n')
  })
  return [HEAD, ...sections].join('')
}
