/** What the CLI adds to a refusal: a hint only where it helps. */
import { describe, expect, test } from 'vitest'
import { refusalHint } from '../../src/cli/rest_client.ts'

const hint = (message: string): string => refusalHint('forbidden', '/home/u/config', message)

describe('a refusal', () => {
  test.each([
    'pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "n"',
    'forbidden: User "u" cannot get path "/metrics"',
  ])('for want of a role says who grants one: %s', (message) => {
    expect(hint(message)).toContain('the credentials in /home/u/config lack a role')
  })

  test.each([
    'pods "x" is forbidden: pod rejected: RuntimeClass "nope" not found',
    'pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set it)',
    'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
  ])('that no role would change says nothing of roles: %s', (message) => expect(hint(message)).toBe(''))

  test('of other kinds', () => {
    expect(refusalHint('unauthorized', '/c', 'Unauthorized')).toContain('the credentials in /c are not')
    expect(refusalHint('notFound', '/c', 'pods "x" not found')).toBe('')
  })
})
