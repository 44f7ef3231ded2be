/**
 * Rules of roles, compiled for quick matching, and whether one set of rules holds another. Pure.
 * Source: Kubernetes "Using RBAC Authorization".
 */
import type { PolicyRule } from '../../api/rbac.ts'

const ALL = '*'

export interface Attributes {
  verb: string
  /** Empty for paths that are no resources. */
  plural: string
  group: string
  subresource: string
  namespace: string
  name: string
  path: string
}

interface CompiledRule {
  readonly source: PolicyRule
  readonly verbs: ReadonlySet<string>
  readonly groups: ReadonlySet<string>
  /** Undefined: every name. */
  readonly names: ReadonlySet<string> | undefined
  readonly urls: readonly string[]
}

/** A role's rules by the resource that they name, so that a check looks at those alone. */
interface CompiledRole {
  readonly byResource: ReadonlyMap<string, readonly CompiledRule[]>
  readonly ofUrls: readonly CompiledRule[]
}

const compiled = new WeakMap<readonly PolicyRule[], CompiledRole>()

/** Objects of the cache are frozen and shared: each role is compiled once. */
function compileRole(rules: readonly PolicyRule[]): CompiledRole {
  let role = compiled.get(rules)
  if (role === undefined) {
    const all = rules.map(compileRule)
    const byResource = new Map<string, CompiledRule[]>()
    for (const rule of all) {
      for (const resource of new Set(rule.source.resources)) {
        byResource.set(resource, [...(byResource.get(resource) ?? []), rule])
      }
    }
    role = { byResource, ofUrls: all.filter(({ urls }) => urls.length > 0) }
    compiled.set(rules, role)
  }
  return role
}

function compileRule(source: PolicyRule): CompiledRule {
  const { verbs, apiGroups, resourceNames = [], nonResourceURLs = [] } = source
  const names = resourceNames.length === 0 ? undefined : new Set(resourceNames)
  return { source, verbs: new Set(verbs), groups: new Set(apiGroups), names, urls: nonResourceURLs }
}

/** A URL with `*` at its end stands for everything that begins so. */
function matchesUrl(pattern: string, path: string): boolean {
  if (pattern === ALL || pattern === path) return true
  return pattern.endsWith(ALL) && path.startsWith(pattern.slice(0, -1))
}

function fits(rule: CompiledRule, { verb, group, name }: Attributes): boolean {
  return (
    (rule.verbs.has(verb) || rule.verbs.has(ALL)) &&
    (rule.groups.has(group) || rule.groups.has(ALL)) &&
    (rule.names === undefined || rule.names.has(name))
  )
}

/** Whether one of the rules allows it. */
export function allows(rules: readonly PolicyRule[], attributes: Attributes): boolean {
  const { byResource, ofUrls } = compileRole(rules)
  const { verb, plural, subresource, path } = attributes
  if (plural === '') {
    return ofUrls.some(
      ({ verbs, urls }) => (verbs.has(verb) || verbs.has(ALL)) && urls.some((pattern) => matchesUrl(pattern, path)),
    )
  }
  const isAllowed = (resource: string): boolean => {
    const named = byResource.get(resource)
    return named?.some((rule) => fits(rule, attributes)) === true
  }
  if (isAllowed(ALL)) return true
  return subresource === '' ? isAllowed(plural) : isAllowed(`${plural}/${subresource}`) || isAllowed(`*/${subresource}`)
}

function holdsWord(words: readonly string[] | undefined, word: string): boolean {
  return words !== undefined && (words.includes(ALL) || words.includes(word))
}

function holdsResource(resources: readonly string[] | undefined, resource: string): boolean {
  if (holdsWord(resources, resource)) return true
  const slash = resource.indexOf('/')
  return slash >= 0 && resources?.includes(`*${resource.slice(slash)}`) === true
}

/** Whether an owned rule gives one atom: a rule with one verb and one resource of one group, or one URL. */
function holdsAtom(owned: PolicyRule, atom: PolicyRule): boolean {
  const every = (words: readonly string[] | undefined, holds: (word: string) => boolean): boolean =>
    (words ?? []).every(holds)
  if (!every(atom.verbs, (verb) => holdsWord(owned.verbs, verb))) return false
  if ((atom.nonResourceURLs?.length ?? 0) > 0) {
    return every(atom.nonResourceURLs, (url) => (owned.nonResourceURLs ?? []).some((own) => matchesUrl(own, url)))
  }
  const ownNames = owned.resourceNames ?? []
  const names = atom.resourceNames ?? []
  return (
    every(atom.apiGroups, (group) => holdsWord(owned.apiGroups, group)) &&
    every(atom.resources, (resource) => holdsResource(owned.resources, resource)) &&
    (ownNames.length === 0 || (names.length > 0 && names.every((name) => ownNames.includes(name))))
  )
}

function* atomsOf(rule: PolicyRule): Generator<PolicyRule> {
  for (const verb of rule.verbs) {
    for (const url of rule.nonResourceURLs ?? []) yield { verbs: [verb], nonResourceURLs: [url] }
    for (const group of rule.apiGroups ?? []) {
      for (const resource of rule.resources ?? []) {
        const atom = { verbs: [verb], apiGroups: [group], resources: [resource] }
        const names = rule.resourceNames ?? []
        if (names.length === 0) yield atom
        else for (const name of names) yield { ...atom, resourceNames: [name] }
      }
    }
  }
}

/** Bounds the work of one check; beyond it a role is refused rather than weighed. */
const MAX_ATOMS = 10_000

/** What of `wanted` the owner of `owned` does not hold; empty when all is held. */
export function missingRules(owned: readonly PolicyRule[], wanted: readonly PolicyRule[]): PolicyRule[] {
  const missing: PolicyRule[] = []
  let atoms = 0
  for (const rule of wanted) {
    for (const atom of atomsOf(rule)) {
      if (++atoms > MAX_ATOMS || !owned.some((own) => holdsAtom(own, atom))) missing.push(atom)
      if (atoms > MAX_ATOMS) return missing
    }
  }
  return missing
}

/** As Kubernetes writes a rule into an error. */
export function ruleText({ verbs, apiGroups, resources, resourceNames, nonResourceURLs }: PolicyRule): string {
  const list = (name: string, words: readonly string[] | undefined): string[] =>
    words === undefined || words.length === 0 ? [] : [`${name}:${JSON.stringify(words)}`]
  const parts = [
    ...list('APIGroups', apiGroups),
    ...list('Resources', resources),
    ...list('ResourceNames', resourceNames),
    ...list('NonResourceURLs', nonResourceURLs),
    ...list('Verbs', verbs),
  ]
  return `{${parts.join(', ')}}`
}
