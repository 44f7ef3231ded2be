/** What each of Kubernetes' own types of Secret must hold. */
import { describe, expect, it } from 'vitest'
import { type Secret, secretKind } from '../../src/api/secret.ts'

const base64 = (text: string): string => Buffer.from(text).toString('base64')

function faults(type: string, data: Record<string, string>, annotations: Record<string, string> = {}): string[] {
  const encoded = Object.fromEntries(Object.entries(data).map(([key, value]) => [key, base64(value)]))
  const secret: Secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', annotations }, type, data: encoded }
  return secretKind.validate(secret).map(({ path }) => path)
}

describe('types of Secrets', () => {
  it.each([
    ['kubernetes.io/service-account-token', {}, ['metadata.annotations[kubernetes.io/service-account.name]']],
    ['kubernetes.io/dockerconfigjson', {}, ['data[.dockerconfigjson]']],
    ['kubernetes.io/dockerconfigjson', { '.dockerconfigjson': 'no' }, ['data[.dockerconfigjson]']],
    ['kubernetes.io/dockerconfigjson', { '.dockerconfigjson': '{"auths":{}}' }, []],
    ['kubernetes.io/dockercfg', { '.dockercfg': '{' }, ['data[.dockercfg]']],
    ['kubernetes.io/basic-auth', {}, ['data[username]', 'data[password]']],
    ['kubernetes.io/basic-auth', { password: 'x' }, []],
    ['kubernetes.io/ssh-auth', { 'ssh-privatekey': '' }, ['data[ssh-privatekey]']],
    ['kubernetes.io/ssh-auth', { 'ssh-privatekey': 'x' }, []],
    ['kubernetes.io/tls', { 'tls.crt': '' }, ['data[tls.key]']],
    ['kubernetes.io/tls', { 'tls.crt': '', 'tls.key': '' }, []],
    ['Opaque', {}, []],
    ['helm.sh/release.v1', {}, []],
  ])('%s with %j', (type, data: Record<string, string>, expected: string[]) => {
    expect(faults(type, data)).toEqual(expected)
  })

  it('a token of an account needs its name, and no data', () => {
    const annotations = { 'kubernetes.io/service-account.name': 'robot' }
    expect(faults('kubernetes.io/service-account-token', {}, annotations)).toEqual([])
  })
})
