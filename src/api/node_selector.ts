/** Node selectors: of pods' node affinity and of volumes. Source: Kubernetes v1 `NodeSelector`, "Assigning Pods to Nodes". */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { ATOMIC, object, oneOf, opt, text } from './schema.ts'

export const NodeSelectorRequirement = object({
  key: text,
  operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'),
  values: opt(Type.Array(text)),
})
export type NodeSelectorRequirement = Static<typeof NodeSelectorRequirement>

export const NodeSelectorTerm = object(
  {
    matchExpressions: opt(Type.Array(NodeSelectorRequirement)),
    matchFields: opt(Type.Array(NodeSelectorRequirement)),
  },
  ATOMIC,
)
export type NodeSelectorTerm = Static<typeof NodeSelectorTerm>

export const NodeSelector = object({ nodeSelectorTerms: Type.Array(NodeSelectorTerm) }, ATOMIC)
export type NodeSelector = Static<typeof NodeSelector>

/** The only field of a node that `matchFields` may name. */
export const NODE_NAME_FIELD = 'metadata.name'

export interface NodeIdentity {
  name: string
  labels: Readonly<Record<string, string>>
}

function matchesValue({ operator, values = [] }: NodeSelectorRequirement, value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
      return value !== undefined && isWhole(value) && Number(value) > Number(values[0])
    case 'Lt':
      return value !== undefined && isWhole(value) && Number(value) < Number(values[0])
  }
}

const isWhole = (value: string): boolean => /^-?\d+$/.test(value)

/** Terms are alternatives, requirements of a term must all hold; a term without requirements matches nothing. */
export function matchesNodeSelector(selector: NodeSelector, node: NodeIdentity): boolean {
  return selector.nodeSelectorTerms.some(({ matchExpressions = [], matchFields = [] }) => {
    if (matchExpressions.length + matchFields.length === 0) return false
    const byLabel = matchExpressions.every((requirement) =>
      matchesValue(requirement, Object.hasOwn(node.labels, requirement.key) ? node.labels[requirement.key] : undefined),
    )
    return byLabel && matchFields.every((requirement) => matchesValue(requirement, node.name))
  })
}

/** A selector that only the node of this name matches. */
export function nodeNameSelector(nodeName: string): NodeSelector {
  return {
    nodeSelectorTerms: [{ matchFields: [{ key: NODE_NAME_FIELD, operator: 'In', values: [nodeName] }] }],
  }
}

/** The one node that the selector names, when it says so by name. */
export function namedNode(selector: NodeSelector | undefined): string | undefined {
  const [term, ...others] = selector?.nodeSelectorTerms ?? []
  if (term === undefined || others.length > 0) return undefined
  const named = term.matchFields?.find(({ key, operator }) => key === NODE_NAME_FIELD && operator === 'In')
  return named?.values?.length === 1 ? named.values[0] : undefined
}

export function nodeSelectorErrors(selector: NodeSelector, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (selector.nodeSelectorTerms.length === 0) {
    errors.push({ path: `${path}.nodeSelectorTerms`, reason: 'Required', message: 'give at least one term' })
  }
  for (const [index, { matchExpressions = [], matchFields = [] }] of selector.nodeSelectorTerms.entries()) {
    const at = `${path}.nodeSelectorTerms[${index}]`
    for (const [field, list] of [
      ['matchExpressions', matchExpressions],
      ['matchFields', matchFields],
    ] as const) {
      for (const [place, requirement] of list.entries()) {
        const fault = requirementFault(requirement, field === 'matchFields')
        if (fault !== undefined) errors.push({ path: `${at}.${field}[${place}]`, reason: 'Invalid', message: fault })
      }
    }
  }
  return errors
}

function requirementFault(
  { key, operator, values = [] }: NodeSelectorRequirement,
  isField: boolean,
): string | undefined {
  if (isField && (key !== NODE_NAME_FIELD || values.length !== 1 || (operator !== 'In' && operator !== 'NotIn'))) {
    return `of fields only ${NODE_NAME_FIELD} can be matched, with In or NotIn and one value`
  }
  if (operator === 'Exists' || operator === 'DoesNotExist') {
    return values.length > 0 ? `${operator} takes no values` : undefined
  }
  if (operator === 'Gt' || operator === 'Lt') {
    return values.length === 1 && isWhole(values[0] ?? '') ? undefined : `${operator} takes one whole number`
  }
  return values.length > 0 ? undefined : `${operator} needs values`
}
