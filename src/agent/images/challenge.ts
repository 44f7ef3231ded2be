/** `WWW-Authenticate`, as far as registries use it. Pure. Source: RFC 9110 §11.6.1; distribution "token authentication". */

export interface Challenge {
  /** Lower case: `bearer`, `basic`, … */
  scheme: string
  /** Names in lower case. */
  parameters: ReadonlyMap<string, string>
}

const PARAMETER = /^\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(,|$)?/
const SCHEME = /^[\s,]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s+|$|(?=,))/

/** All challenges of a header; what cannot be read ends the list. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = []
  let rest = header
  for (let scheme = SCHEME.exec(rest); scheme !== null; scheme = SCHEME.exec(rest)) {
    rest = rest.slice(scheme[0].length)
    const parameters = new Map<string, string>()
    for (let match = PARAMETER.exec(rest); match !== null; match = PARAMETER.exec(rest)) {
      const [all, name = '', quoted, plain] = match
      parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '')
      rest = rest.slice(all.length)
    }
    challenges.push({ scheme: (scheme[1] ?? '').toLowerCase(), parameters })
  }
  return challenges
}
