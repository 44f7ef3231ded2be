/** Which accounts of Docker's config.json are for an image: in pull secrets, and for the command line. */
import { describe, expect, test } from 'vitest'
import { accountsFor, dockerConfigEntries } from '../../src/api/docker_config.ts'
import { dockerCredentials } from '../../src/cli/image_transfer.ts'

const auth = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString('base64') })
const names = (auths: object, registry: string, repository = 'team/app'): string[] =>
  accountsFor(dockerConfigEntries(auths), registry, repository).map(({ username }) => username)

describe('accounts for an image', () => {
  test.each([
    ['https://index.docker.io/v1/', 'docker.io', 'library/busybox'],
    ['https://index.docker.io/v1', 'docker.io', 'library/busybox'],
    ['index.docker.io', 'docker.io', 'team/app'],
    ['registry-1.docker.io', 'docker.io', 'team/app'],
    ['docker.io', 'registry-1.docker.io', 'team/app'],
    ['docker.io/team', 'docker.io', 'team/app'],
    ['quay.io', 'quay.io', 'team/app'],
    ['Quay.IO', 'quay.io', 'team/app'],
    ['http://quay.io/v2/', 'quay.io', 'team/app'],
    ['quay.io/', 'quay.io', 'team/app'],
    ['quay.io/team', 'quay.io', 'team/app'],
    ['quay.io/te', 'quay.io', 'team/app'],
    ['https://quay.io/v2/team/', 'quay.io', 'team/app'],
    ['lab.test:5000', 'lab.test:5000', 'team/app'],
    ['[::1]:5000', '[::1]:5000', 'team/app'],
    ['*.azurecr.io', 'own.azurecr.io', 'team/app'],
    ['*.*.azurecr.io', 'a.b.azurecr.io', 'team/app'],
    ['prefix.*.io', 'prefix.kubernetes.io', 'team/app'],
    ['*-good.kubernetes.io', 'very-good.kubernetes.io', 'team/app'],
    ['a*b*c.test:5000', 'a1b2bc.test:5000', 'team/app'],
    ['*.azurecr.io/team', 'own.azurecr.io', 'team/app'],
  ])('%s is for %s/%s', (key, registry, repository) => {
    expect(names({ [key]: auth('ada:p') }, registry, repository)).toEqual(['ada'])
  })

  test.each([
    ['https://index.docker.io/v1/', 'quay.io'],
    ['quay.io', 'quay.io.evil.test'],
    ['quay.io', 'evil-quay.io'],
    ['quay.io', 'quay.io:5000'],
    ['lab.test:5000', 'lab.test'],
    ['lab.test:5000', 'lab.test:5001'],
    ['quay.io/other', 'quay.io'],
    ['quay.io/team/app/more', 'quay.io'],
    ['*.azurecr.io', 'azurecr.io'],
    ['*.azurecr.io', 'a.b.azurecr.io'],
    ['*.azurecr.io', 'a.azurecr.io.evil.test'],
    ['*', 'quay.io'],
    ['*.io:*', 'quay.io:5000'],
    ['ab*ba.test', 'aba.test'],
    ['a*bc*c.test', 'abc.test'],
    ['q.ay.io', 'quay.io'],
    ['', 'quay.io'],
  ])('%s is not for %s/team/app', (key, registry) => {
    expect(names({ [key]: auth('ada:p') }, registry)).toEqual([])
  })

  test('the longest path comes first, then the order given; an account comes once', () => {
    const auths = {
      '*.io': auth('any:p'),
      'quay.io': auth('host:p'),
      'https://quay.io': auth('again:p'),
      'quay.io/team/app': auth('app:p'),
      'quay.io/team': auth('any:p'),
      'quay.io/v1/': auth('host:p'),
    }
    expect(names(auths, 'quay.io')).toEqual(['app', 'any', 'host', 'again'])
    expect(names(auths, 'quay.io', 'other/app')).toEqual(['any', 'host', 'again'])
  })

  test.each([
    ['auth', auth('ada:p:w'), [{ username: 'ada', password: 'p:w' }]],
    ['name and password', { username: 'ada', password: 'p' }, [{ username: 'ada', password: 'p' }]],
    ['both: auth decides', { username: 'eve', password: 'x', ...auth('ada:p') }, [{ username: 'ada', password: 'p' }]],
    ['an empty auth', { username: 'ada', password: 'p', auth: '' }, [{ username: 'ada', password: 'p' }]],
    ['an empty password', auth('ada:'), [{ username: 'ada', password: '' }]],
    ['no colon', auth('ada'), []],
    ['no name', auth(':p'), []],
    ['not base64', { auth: '!' }, []],
    ['a name alone', { username: 'ada' }, []],
    ['an empty name', { username: '', password: 'p' }, []],
    ['other types', { username: 1, password: {}, auth: 7 }, []],
    ['nothing', {}, []],
    ['a text', 'ada:p', []],
    ['null', null, []],
  ])('an entry with %s', (_what, entry, accounts) => {
    expect(accountsFor(dockerConfigEntries({ 'quay.io': entry }), 'quay.io', 'a')).toEqual(accounts)
  })

  test.each([undefined, null, 7, 'text', []])('no entries: %s', (auths) => {
    expect(dockerConfigEntries(auths)).toEqual([])
  })

  test('a host of stars takes no time', () => {
    expect(names({ [`${'*a'.repeat(5000)}b.test`]: auth('ada:p') }, `${'a'.repeat(63)}.test`)).toEqual([])
  })
})

describe('for the command line', () => {
  const config = JSON.stringify({
    auths: { 'https://index.docker.io/v1/': auth('hub:p'), 'lab.test:5000': auth('lab:p'), 'quay.io': {} },
  })
  test.each([
    ['busybox', 'hub'],
    ['team/app:v1', 'hub'],
    ['index.docker.io/team/app', 'hub'],
    ['lab.test:5000/team/app:v1', 'lab'],
    ['lab.test/team/app', undefined],
    ['quay.io/team/app', undefined],
  ])('%s', (reference, username) => {
    expect(dockerCredentials(config, reference, '/c')?.username).toBe(username)
  })

  test('a file that is not JSON is said to be so; one without accounts has none', () => {
    expect(() => dockerCredentials('{', 'busybox', '/c')).toThrow('/c is not JSON')
    expect(dockerCredentials('{"credsStore": "desktop"}', 'busybox', '/c')).toBeUndefined()
    expect(dockerCredentials('[]', 'busybox', '/c')).toBeUndefined()
  })
})
