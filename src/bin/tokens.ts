/** Bearer tokens from a file: lines of `TOKEN,USER,GROUP;GROUP`; empty lines and `#` comments do not count. */
import { DroverError } from '../base/errors.ts'
import { readIfExists } from '../base/files.ts'

export interface TokenUser {
  username: string
  groups: string[]
}

const MIN_TOKEN_LENGTH = 16

export function readTokens(path: string | undefined): ReadonlyMap<string, TokenUser> {
  const tokens = new Map<string, TokenUser>()
  if (path === undefined) return tokens
  const text = readIfExists(path)
  if (text === undefined) throw new DroverError('invalid', `--token-file: there is no file ${path}`)
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const [token = '', username = '', groups = ''] = line.split(',')
    if (token.length < MIN_TOKEN_LENGTH || username === '') {
      // The line itself holds a secret: it is not repeated.
      throw new DroverError(
        'invalid',
        `${path}:${index + 1}: write TOKEN,USER,GROUP;GROUP with a token of ${MIN_TOKEN_LENGTH} characters or more`,
      )
    }
    tokens.set(token, { username, groups: groups.split(';').filter((group) => group !== '') })
  }
  return tokens
}
