import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseChallenges } from '../../src/agent/images/challenge.ts'
import { endpointsOf } from '../../src/agent/images/endpoint.ts'
import { candidatesFor, machinePlatform } from '../../src/agent/images/platform.ts'
import { formatReference, idPrefix, parseReference } from '../../src/agent/images/reference.ts'
import { retryAfterOf } from '../../src/agent/images/registry_session.ts'

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`

describe('references', () => {
  test.each([
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/library/busybox', 'docker.io/library/busybox:latest'],
    ['team/app', 'docker.io/team/app:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/app:v1', 'localhost:5000/app:v1'],
    ['127.0.0.1:5000/a/b/c', '127.0.0.1:5000/a/b/c:latest'],
    ['[::1]:5000/app', '[::1]:5000/app:latest'],
    ['ghcr.io/a/b-c_d__e.f:V1.0-rc', 'ghcr.io/a/b-c_d__e.f:V1.0-rc'],
    ['Registry/app', 'Registry/app:latest'],
    [`app@${DIGEST}`, `docker.io/library/app@${DIGEST}`],
    [`quay.io/app:v1@${DIGEST}`, `quay.io/app@${DIGEST}`],
  ])('%s is %s', (text, full) => {
    expect(formatReference(parseReference(text))).toBe(full)
    expect(formatReference(parseReference(full))).toBe(full)
  })

  test.each([
    ['', 'it has no name'],
    [':tag', 'it has no name'],
    ['App', 'lower-case'],
    ['a//b', 'empty'],
    ['a/b/', 'empty'],
    ['a:', 'is not a tag'],
    [`a:${'x'.repeat(129)}`, 'is not a tag'],
    ['a b', 'cannot be part'],
    ['../etc/passwd', 'not a registry host'],
    ['a/../b', 'cannot be part'],
    ['a@sha256:12', 'is not a digest'],
    [`a@sha512:${'0'.repeat(128)}`, 'is not a digest'],
    ['host.name:99999999/a', 'not a registry host'],
    ['a.b?c/d', 'not a registry host'],
    ['user@host.name/a', 'is not a digest'],
    [DIGEST.slice(7), 'image ID'],
    [`${'a/'.repeat(130)}a`, 'longer than 255'],
  ])('%s is refused: %s', (text, why) => {
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({ code: 'invalid', message: expect.stringContaining(why) }),
    )
  })

  test('any text is either refused as invalid or has one full form', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-zA-Z0-9.:/@_-]{0,40}$/)), (text) => {
        let full: string
        try {
          full = formatReference(parseReference(text))
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid' })
          return
        }
        expect(full).toMatch(/^[^/?#\s]+\/[a-z0-9._/-]+[:@][\w:.-]+$/)
        expect(full).not.toMatch(/\/\.*(\/|$)/)
        expect(formatReference(parseReference(full))).toBe(full)
      }),
      { numRuns: 2000 },
    )
  })

  test('what can be the start of an ID', () => {
    expect(idPrefix('cafe')).toBe('cafe')
    expect(idPrefix(DIGEST)).toBe(DIGEST.slice(7))
    for (const text of ['abc', 'CAFE', 'busybox', `${DIGEST}0`]) expect(idPrefix(text)).toBeUndefined()
  })
})

describe('platforms', () => {
  const item = (os: string, architecture: string, variant = '') => ({
    mediaType: '',
    digest: `${os}/${architecture}/${variant}`,
    sizeBytes: 1,
    annotations: {},
    platform: { os, architecture, variant },
  })
  test.each([
    ['x64', 'linux/amd64/', [item('windows', 'amd64'), item('linux', 'arm64', 'v8'), item('linux', 'amd64')]],
    ['x64', 'linux/amd64/', [item('linux', 'amd64', 'v3'), item('linux', 'amd64')]],
    ['x64', 'linux/amd64/v2', [item('linux', 'amd64', 'v3'), item('linux', 'amd64', 'v2')]],
    ['arm64', 'linux/arm64/v8', [item('linux', 'arm64', 'v9'), item('linux', 'arm64', 'v8')]],
    ['arm', 'linux/arm/v6', [item('linux', 'arm', 'v7'), item('linux', 'arm', 'v6')]],
  ])('%s takes %s', (machine, digest, manifests) => {
    expect(candidatesFor(manifests, machinePlatform(machine), 'x').map((found) => found.digest)).toEqual([digest])
  })

  test('none fits: says what there is', () => {
    const manifests = [item('linux', 's390x'), item('unknown', 'unknown'), item('linux', 'arm', 'v7')]
    expect(() => candidatesFor(manifests, machinePlatform('x64'), 'app:1')).toThrow(
      'app:1 has no image for linux/amd64; it has: linux/s390x, linux/arm/v7',
    )
  })
})

describe('challenges', () => {
  test.each([
    [
      'Bearer realm="https://auth.test/token",service="r,1",scope="repository:a/b:pull,push"',
      [['bearer', { realm: 'https://auth.test/token', service: 'r,1', scope: 'repository:a/b:pull,push' }]],
    ],
    ['Basic realm="a \\"b\\""', [['basic', { realm: 'a "b"' }]]],
    [
      'Negotiate, Basic realm=x, charset="UTF-8"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x', charset: 'UTF-8' }],
      ],
    ],
    [
      'Basic realm="a", Bearer realm="b"',
      [
        ['basic', { realm: 'a' }],
        ['bearer', { realm: 'b' }],
      ],
    ],
    ['', []],
    ['"', []],
  ])('%s', (header, expected) => {
    const read = parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])
    expect(read).toEqual(expected)
  })

  test('any header ends', () => {
    fc.assert(fc.property(fc.string(), (header) => parseChallenges(header).length <= header.length + 1))
  })
})

describe('when to come back', () => {
  const nowMs = Date.UTC(1994, 10, 15, 8, 12, 1)
  test.each([
    ['0', 0],
    ['120', 120],
    ['9'.repeat(400), Number.MAX_SAFE_INTEGER],
    ['Tue, 15 Nov 1994 08:12:31 GMT', 30],
    ['Tue, 15 Nov 1994 08:11:31 GMT', 0],
    ['-1', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    ['+5', undefined],
    ['soon', undefined],
    ['', undefined],
    ['1994-11-15T08:12:31Z', undefined],
    ['Tue, 15 Nov 1994 08:12:31', undefined],
    ['Tue, 15 Nov 1994 08:12:31 +0100', undefined],
    ['Tue, 15 Foo 1994 08:12:31 GMT', undefined],
    ['Tue, 15 Nov 1994 28:12:31 GMT', undefined],
    [undefined, undefined],
  ])('%s', (header, seconds) => {
    expect(retryAfterOf(header, nowMs)).toBe(seconds)
  })

  test('part of a second is waited out', () => {
    expect(retryAfterOf('Tue, 15 Nov 1994 08:12:31 GMT', nowMs + 999)).toBe(30)
  })
})

describe('endpoints', () => {
  const rules = {
    insecureRegistries: ['lab.test', 'port.test:5000'],
    mirrors: { 'docker.io': ['http://mirror.test:5000/', 'other.test'] },
  }
  test.each([
    ['quay.io', [['quay.io', ['https://quay.io'], true]]],
    ['lab.test:99', [['lab.test:99', ['https://lab.test:99', 'http://lab.test:99'], false]]],
    ['port.test', [['port.test', ['https://port.test'], true]]],
    ['port.test:5000', [['port.test:5000', ['https://port.test:5000', 'http://port.test:5000'], false]]],
    ['localhost:1', [['localhost:1', ['https://localhost:1', 'http://localhost:1'], false]]],
    ['127.9.9.9', [['127.9.9.9', ['https://127.9.9.9', 'http://127.9.9.9'], false]]],
    ['[::1]:1', [['[::1]:1', ['https://[::1]:1', 'http://[::1]:1'], false]]],
    ['127.0.0.1.evil.test', [['127.0.0.1.evil.test', ['https://127.0.0.1.evil.test'], true]]],
    [
      'docker.io',
      [
        ['mirror.test:5000', ['http://mirror.test:5000'], true],
        ['other.test', ['https://other.test'], true],
        ['docker.io', ['https://registry-1.docker.io'], true],
      ],
    ],
  ])('%s', (registry, expected) => {
    const found = endpointsOf(registry, rules).map(({ host, baseUrls, verifyTls }) => [host, baseUrls, verifyTls])
    expect(found).toEqual(expected)
  })
})
