/** Paths, authentication, errors, pages, OpenAPI and freshness: the pure parts of the API server. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { podKind } from '../../src/api/pod_kind.ts'
import { parseSelector, selectorCell, selectorText } from '../../src/api/selector.ts'
import { createAuthenticator, createTokenAuthenticator, isOpenPath } from '../../src/apiserver/authentication.ts'
import { Freshness } from '../../src/apiserver/freshness.ts'
import { buildV2 } from '../../src/apiserver/openapi.ts'
import { encodeOpenApiV2 } from '../../src/apiserver/openapi_v2_protobuf.ts'
import { readFields } from '../../src/apiserver/protobuf_wire.ts'
import { decodeContinue, encodeContinue } from '../../src/apiserver/query.ts'
import { parseTarget, verbOf } from '../../src/apiserver/router.ts'
import { toStatus } from '../../src/apiserver/status_error.ts'
import { columnDefinitions } from '../../src/apiserver/table.ts'
import { DroverError, type ErrorCode } from '../../src/base/errors.ts'
import type { Resources } from '../../src/resources/resources.ts'

describe('paths', () => {
  it('name kinds, namespaces, names and sub-resources', () => {
    const cases: [string, string | undefined][] = [
      ['/api/v1/pods', 'Pod///'],
      ['/api/v1/namespaces/a/pods/b', 'Pod/a/b/'],
      ['/api/v1/namespaces/a/pods/b/log', 'Pod/a/b/log'],
      ['/api/v1/namespaces', 'Namespace///'],
      ['/api/v1/namespaces/a', 'Namespace//a/'],
      ['/api/v1/namespaces/a/status', 'Namespace//a/status'],
      ['/api/v1/nodes/n%2e1', 'Node//n.1/'],
      ['/apis/apps/v1/namespaces/a/deployments/b/scale', 'Deployment/a/b/scale'],
      ['/apis/apps/v1/namespaces/a/nodes/b', undefined],
      ['/api/v1/pods/b', undefined],
      ['/api/v1/namespaces/a/pods/b/log/more', undefined],
      ['/api/v1', undefined],
      ['/apis//v1/pods', undefined],
      ['/api/v1//pods', undefined],
    ]
    for (const [path, expected] of cases) {
      const target = parseTarget(path)
      const found = target && [target.kind.kind, target.namespace, target.name, target.subresource].join('/')
      expect([path, found]).toEqual([path, expected])
    }
    expect(() => parseTarget('/api/v1/nodes/%zz')).toThrow(/percent-encoding/)
  })

  it('have verbs from a closed set', () => {
    const pods = parseTarget('/api/v1/namespaces/a/pods')
    const pod = parseTarget('/api/v1/namespaces/a/pods/b')
    const none = new URLSearchParams()
    expect(verbOf('GET', pods, new URLSearchParams('watch=true'))).toBe('watch')
    expect(['GET', 'POST', 'DELETE', 'PUT'].map((method) => verbOf(method, pods, none))).toEqual([
      'list',
      'create',
      'deletecollection',
      'put',
    ])
    expect(['GET', 'PUT', 'PATCH', 'DELETE'].map((method) => verbOf(method, pod, none))).toEqual([
      'get',
      'update',
      'patch',
      'delete',
    ])
    expect(verbOf('MADE-UP', pods, none)).toBe('other')
    expect(verbOf('MADE-UP', undefined, none)).toBe('other')
  })

  it('never break on any text', { timeout: 30_000 }, () => {
    fc.assert(
      fc.property(fc.webPath(), (path) => {
        const target = parseTarget(`/api/v1${path}`)
        expect(verbOf('GET', target, new URLSearchParams())).toBeDefined()
      }),
    )
  })
})

describe('users', () => {
  const authenticate = createAuthenticator(
    createTokenAuthenticator(new Map([['secret', { username: 'u', groups: ['g'] }]]), undefined),
  )
  const peer = (authorized: boolean, subject: object) => ({
    authorized,
    getPeerCertificate: () => ({ subject }) as unknown as Record<string, never>,
  })

  it('are known by token or certificate', () => {
    expect(authenticate(undefined, 'Bearer secret')).toEqual({ name: 'u', groups: ['g', 'system:authenticated'] })
    expect(authenticate(peer(true, { CN: 'c', O: ['a', 'b'] }), undefined)).toEqual({
      name: 'c',
      groups: ['a', 'b', 'system:authenticated'],
    })
    expect(() => authenticate(undefined, 'Bearer wrong')).toThrow(/not known/)
    expect(() => authenticate(undefined, 'Basic xyz')).toThrow(/Bearer TOKEN/)
    expect(() => authenticate(undefined, undefined)).toThrow(/client certificate/)
    expect(() => authenticate(peer(false, { CN: 'c' }), undefined)).toThrow(/client certificate/)
    expect(() => authenticate(peer(true, { O: 'x' }), undefined)).toThrow(/names no user/)
  })

  it('that are unknown reach health and version', () => {
    expect(isOpenPath('/readyz/cache') && !isOpenPath('/healthzz') && !isOpenPath('/')).toBe(true)
  })
})

describe('errors', () => {
  it('have the status that Kubernetes gives them', () => {
    const codes: [ErrorCode, number, string][] = [
      ['invalid', 400, 'BadRequest'],
      ['notFound', 404, 'NotFound'],
      ['alreadyExists', 409, 'AlreadyExists'],
      ['conflict', 409, 'Conflict'],
      ['gone', 410, 'Expired'],
      ['unavailable', 503, 'ServiceUnavailable'],
      ['internal', 500, 'InternalError'],
    ]
    for (const [code, status, reason] of codes) {
      expect(toStatus(new DroverError(code, 'x'))).toMatchObject({ kind: 'Status', code: status, reason, message: 'x' })
    }
  })

  it('name fields, and tell decoding from meaning', () => {
    const subject = { group: 'apps', plural: 'deployments', kind: 'Deployment', name: 'd' }
    const field = { path: 'spec.replicas', reason: 'Invalid' as const, message: 'must be positive' }
    expect(toStatus(new DroverError('invalid', 'x', { fields: [field] }), subject)).toMatchObject({
      code: 422,
      reason: 'Invalid',
      details: {
        name: 'd',
        group: 'apps',
        kind: 'Deployment',
        causes: [{ reason: 'FieldValueInvalid', field: 'spec.replicas', message: 'must be positive' }],
      },
    })
    const unknown = { ...field, reason: 'Unknown' as const }
    expect(toStatus(new DroverError('invalid', 'x', { fields: [unknown] }), subject)).toMatchObject({ code: 400 })
  })
})

describe('pages', () => {
  it('go on where the token says', () => {
    fc.assert(
      fc.property(fc.nat(), fc.string(), (revision, after) => {
        expect(decodeContinue(encodeContinue({ revision, after }))).toEqual({ revision, after })
      }),
    )
    fc.assert(
      fc.property(fc.string(), (token) => {
        try {
          decodeContinue(token)
        } catch (error) {
          expect(error).toHaveProperty('code', 'invalid')
        }
      }),
    )
  })
})

describe('tables', () => {
  it('have NAME first, and AGE before the wide columns', () => {
    const names = columnDefinitions(podKind as never).map(({ name, priority }) => `${name}:${priority}`)
    expect(names).toEqual([
      'Name:0',
      'Ready:0',
      'Status:0',
      'Restarts:0',
      'Age:0',
      'IP:1',
      'Node:1',
      'Nominated Node:1',
      'Readiness Gates:1',
    ])
  })
})

describe('selectors', () => {
  it('read as queries', () => {
    const matchExpressions = [
      { key: 'b', operator: 'In' as const, values: ['x', 'y'] },
      { key: 'c', operator: 'DoesNotExist' as const },
    ]
    const selector = { matchLabels: { a: '1' }, matchExpressions }
    expect(selectorText(selector)).toBe('a=1,b in (x,y),!c')
    expect(parseSelector('a in (1),b in (x,y),!c')).toMatchObject({
      matchExpressions: [{ key: 'a' }, ...matchExpressions],
    })
    expect([selectorText({}), selectorCell({}), selectorCell(selector)]).toEqual(['', '<none>', 'a=1,b in (x,y),!c'])
  })
})

describe('OpenAPI', () => {
  it('refers only to what it defines', () => {
    const document = buildV2('0')
    const definitions = document.definitions as Record<string, object>
    for (const [, name] of JSON.stringify(document).matchAll(/"#\/definitions\/([^"]+)"/g)) {
      expect(definitions).toHaveProperty([name ?? ''])
    }
    expect(definitions['io.k8s.api.core.v1.Container']).toMatchObject({
      required: ['name'],
      properties: {
        ports: { 'x-kubernetes-patch-merge-key': 'containerPort', 'x-kubernetes-patch-strategy': 'merge' },
        env: { items: { $ref: '#/definitions/io.k8s.api.core.v1.EnvVar' } },
      },
    })
    const numbers = [...readFields(encodeOpenApiV2(document))].map(({ number }) => number)
    expect(numbers).toEqual([1, 2, 8, 9])
  })
})

describe('freshness', () => {
  it('shares a question only with those who came before it was asked', async () => {
    const asked: ((revision: number) => void)[] = []
    const freshness = new Freshness({
      currentRevision: () => new Promise<number>((resolve) => asked.push(resolve)),
      waitForRevision: () => Promise.resolve(),
    } as unknown as Resources)
    const first = freshness.latest()
    const second = freshness.latest()
    const third = freshness.latest()
    expect(asked).toHaveLength(1)
    asked[0]?.(1)
    await first
    await expect.poll(() => asked.length).toBe(2)
    asked[1]?.(2)
    await Promise.all([second, third])
    expect(asked).toHaveLength(2)
  })
})
