/** Label selectors: as objects, and as the text of a query. Source: Kubernetes "Labels and Selectors". */
import { DroverError, type FieldError } from '../base/errors.ts'
import type { LabelSelector, LabelSelectorRequirement } from './meta.ts'
import { isLabelKey } from './names.ts'

type Labels = Readonly<Record<string, string>> | undefined

/** Own members only: a key such as `constructor` is a label like any other. */
function labelOf(labels: Labels, key: string): string | undefined {
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined
}

function matchesRequirement({ key, operator, values = [] }: LabelSelectorRequirement, labels: Labels): boolean {
  const value = labelOf(labels, key)
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
  }
}

/** An empty selector matches everything; an absent one nothing. */
export function matchesSelector(selector: LabelSelector | undefined, labels: Labels): boolean {
  if (selector === undefined) return false
  for (const [key, value] of Object.entries(selector.matchLabels ?? {}))
    if (labelOf(labels, key) !== value) return false
  return (selector.matchExpressions ?? []).every((requirement) => matchesRequirement(requirement, labels))
}

/** A service's plain map of labels; an empty or absent one matches nothing. */
export function matchesLabels(wanted: Labels, labels: Labels): boolean {
  const entries = Object.entries(wanted ?? {})
  return entries.length > 0 && entries.every(([key, value]) => labelOf(labels, key) === value)
}

/** In the words that `parseSelector` reads; empty for one that matches everything. */
export function selectorText({ matchLabels = {}, matchExpressions = [] }: LabelSelector): string {
  const words = { In: 'in', NotIn: 'notin' } as const
  const parts = [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values = [] }) => {
      if (operator === 'Exists') return key
      return operator === 'DoesNotExist' ? `!${key}` : `${key} ${words[operator]} (${values.join(',')})`
    }),
  ]
  return parts.join(',')
}

/** As a table shows it. */
export function selectorCell(selector: LabelSelector | undefined): string {
  return selectorText(selector ?? {}) || '<none>'
}

export function selectorErrors(selector: LabelSelector, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const key of Object.keys(selector.matchLabels ?? {})) {
    if (!isLabelKey(key))
      errors.push({ path: `${path}.matchLabels`, reason: 'Invalid', message: `"${key}" is no label` })
  }
  for (const [index, { operator, values = [] }] of (selector.matchExpressions ?? []).entries()) {
    const needsValues = operator === 'In' || operator === 'NotIn'
    if (needsValues !== values.length > 0) {
      const message = needsValues ? `${operator} needs values` : `${operator} takes no values`
      errors.push({ path: `${path}.matchExpressions[${index}].values`, reason: 'Invalid', message })
    }
  }
  return errors
}

/**
 * Parses a query's selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Throws `invalid` with the part that is wrong.
 */
export function parseSelector(text: string): LabelSelector {
  const matchExpressions: LabelSelectorRequirement[] = []
  // Commas inside parentheses belong to a set.
  for (const raw of text.split(/,(?![^(]*\))/)) {
    const part = raw.trim()
    if (part === '') continue
    matchExpressions.push(parseRequirement(part))
  }
  return { matchExpressions }
}

function parseRequirement(part: string): LabelSelectorRequirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part)
  if (set !== null) {
    const [, key = '', operator, list = ''] = set
    return checked(
      part,
      key,
      operator === 'in' ? 'In' : 'NotIn',
      list.split(',').map((value) => value.trim()),
    )
  }
  const equality = /^([^\s!=]+)\s*(==|=|!=)\s*([^\s=]*)$/.exec(part)
  if (equality !== null) {
    const [, key = '', operator, value = ''] = equality
    return checked(part, key, operator === '!=' ? 'NotIn' : 'In', [value])
  }
  if (part.startsWith('!')) return checked(part, part.slice(1).trim(), 'DoesNotExist')
  return checked(part, part, 'Exists')
}

function checked(
  part: string,
  key: string,
  operator: LabelSelectorRequirement['operator'],
  values?: string[],
): LabelSelectorRequirement {
  if (!isLabelKey(key)) {
    throw new DroverError(
      'invalid',
      `cannot read selector "${part}"; write key=value, key!=value, key in (a,b), key or !key`,
    )
  }
  return values === undefined ? { key, operator } : { key, operator, values }
}

export interface FieldRequirement {
  field: string
  value: string
  equal: boolean
}

/** Parses `a.b=c,d!=e`. Which fields exist is for the kind to say. */
export function parseFieldSelector(text: string): FieldRequirement[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const match = /^([^!=]+?)\s*(==|=|!=)\s*(.*)$/.exec(part)
      if (match === null) throw new DroverError('invalid', `cannot read field selector "${part}"; write field=value`)
      const [, field = '', operator, value = ''] = match
      return { field, value, equal: operator !== '!=' }
    })
}
