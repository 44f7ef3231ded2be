/**
 * `kubectl --as`: one user speaks as another, if roles give it the verb `impersonate` on the user, on each group and on all
 * else that is claimed. Source: Kubernetes "User impersonation".
 */
import type { IncomingHttpHeaders } from 'node:http'
import { parseServiceAccountUser, serviceAccountGroups } from '../../api/serviceaccount.ts'
import { DroverError } from '../../base/errors.ts'
import { ANONYMOUS, AUTHENTICATED, type User } from '../authentication.ts'
import type { Authorizer } from './authorizer.ts'

const EXTRA_PREFIX = 'impersonate-extra-'
const GROUP = 'authentication.k8s.io'

function valuesOf(headers: IncomingHttpHeaders, name: string): string[] {
  const value = headers[name]
  const lines = value === undefined ? [] : Array.isArray(value) ? value : [value]
  return lines.flatMap((line) => line.split(',').map((word) => word.trim())).filter((word) => word !== '')
}

function extraOf(headers: IncomingHttpHeaders): Record<string, string[]> {
  const keys = Object.keys(headers).filter((name) => name.startsWith(EXTRA_PREFIX))
  return Object.fromEntries(
    keys.map((name) => [decodeURIComponent(name.slice(EXTRA_PREFIX.length)), valuesOf(headers, name)]),
  )
}

/** The user as whom the request is made. Throws `forbidden`. */
export function impersonate(authorizer: Authorizer, user: User, headers: IncomingHttpHeaders): User {
  const [name] = valuesOf(headers, 'impersonate-user')
  const groups = valuesOf(headers, 'impersonate-group')
  const [uid] = valuesOf(headers, 'impersonate-uid')
  const extra = extraOf(headers)
  if (name === undefined) {
    if (groups.length === 0 && uid === undefined && Object.keys(extra).length === 0) return user
    throw new DroverError('invalid', 'requested groups, uid or extra to impersonate without impersonating a user')
  }
  const require = (group: string, plural: string, what: { name: string; namespace?: string; subresource?: string }) =>
    authorizer.require(user, { verb: 'impersonate', group, plural, subresource: '', namespace: '', path: '', ...what })
  const account = parseServiceAccountUser(name)
  if (account === undefined) require('', 'users', { name })
  else require('', 'serviceaccounts', account)
  for (const group of groups) require('', 'groups', { name: group })
  if (uid !== undefined) require(GROUP, 'uids', { name: uid })
  for (const [key, values] of Object.entries(extra)) {
    for (const value of values) require(GROUP, 'userextras', { name: value, subresource: key })
  }
  const own = groups.length === 0 && account !== undefined ? serviceAccountGroups(account.namespace) : groups
  const all = name === ANONYMOUS || own.includes(AUTHENTICATED) ? own : [...own, AUTHENTICATED]
  return {
    name,
    groups: all,
    ...(uid === undefined ? {} : { uid }),
    ...(Object.keys(extra).length > 0 ? { extra } : {}),
  }
}
