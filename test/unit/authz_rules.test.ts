import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ClusterRole } from '../../src/api/clusterrole.ts'
import { clusterRoleKind } from '../../src/api/clusterrole.ts'
import { clusterRoleBindingKind } from '../../src/api/clusterrolebinding.ts'
import type { Stored } from '../../src/api/meta.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import type { PolicyRule } from '../../src/api/rbac.ts'
import { roleBindingKind } from '../../src/api/rolebinding.ts'
import { attributesOf } from '../../src/apiserver/authorization/attributes.ts'
import { Authorizer } from '../../src/apiserver/authorization/authorizer.ts'
import { impersonate } from '../../src/apiserver/authorization/impersonation.ts'
import { type Attributes, allows, missingRules } from '../../src/apiserver/authorization/rules.ts'
import { parseTarget } from '../../src/apiserver/router.ts'
import { gatheredRules } from '../../src/controllers/clusterrole/plan.ts'
import { DEFAULT_CLUSTER_ROLES, ensureDefaultRoles } from '../../src/resources/default_roles.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const asked = (given: Partial<Attributes>): Attributes => ({
  verb: 'get',
  plural: 'pods',
  group: '',
  subresource: '',
  namespace: 'a',
  name: 'x',
  path: '',
  ...given,
})
const rule = (given: Partial<PolicyRule>): PolicyRule => ({
  verbs: ['get'],
  apiGroups: [''],
  resources: ['pods'],
  ...given,
})

describe('a rule', () => {
  it.each<[string, PolicyRule, Partial<Attributes>, boolean]>([
    ['names verb, group and resource', rule({}), {}, true],
    ['of another verb', rule({}), { verb: 'list' }, false],
    ['of another group', rule({}), { group: 'apps' }, false],
    ['of the resource leaves sub-resources out', rule({}), { subresource: 'log' }, false],
    ['of a sub-resource leaves the resource out', rule({ resources: ['pods/log'] }), {}, false],
    ['of a sub-resource', rule({ resources: ['pods/log'] }), { subresource: 'log' }, true],
    ['of a sub-resource of all', rule({ resources: ['*/scale'] }), { subresource: 'scale' }, true],
    ['of all resources', rule({ resources: ['*'] }), { subresource: 'exec' }, true],
    ['of all verbs', rule({ verbs: ['*'] }), { verb: 'anything' }, true],
    ['with names, of one of them', rule({ resourceNames: ['x'] }), {}, true],
    ['with names, of another', rule({ resourceNames: ['y'] }), {}, false],
    ['with names, of a list', rule({ resourceNames: ['x'] }), { name: '' }, false],
    ['of resources, asked about a path', rule({ resources: ['*'] }), { plural: '', path: '/metrics' }, false],
    ['of a path', { verbs: ['get'], nonResourceURLs: ['/metrics'] }, { plural: '', path: '/metrics' }, true],
    [
      'of a path, asked about one below',
      { verbs: ['get'], nonResourceURLs: ['/a'] },
      { plural: '', path: '/a/b' },
      false,
    ],
    ['of all paths below', { verbs: ['get'], nonResourceURLs: ['/a/*'] }, { plural: '', path: '/a/b/c' }, true],
    ['of a path, asked about a resource', { verbs: ['*'], nonResourceURLs: ['*'] }, {}, false],
  ])('%s', (_name, given, attributes, expected) => {
    expect(allows([given], asked(attributes))).toBe(expected)
  })
})

const words = (...all: string[]) => fc.uniqueArray(fc.constantFrom(...all), { minLength: 1, maxLength: 3 })
const anyRule: fc.Arbitrary<PolicyRule> = fc.oneof(
  fc.record({
    verbs: words('get', 'list', '*'),
    apiGroups: words('', 'apps', '*'),
    resources: words('pods', 'pods/log', 'secrets', '*/log', '*'),
    resourceNames: fc.oneof(fc.constant<string[]>([]), words('x', 'y')),
  }),
  fc.record({ verbs: words('get', 'post', '*'), nonResourceURLs: words('/a', '/a/*', '/a/b', '*') }),
)
const anyAttributes: fc.Arbitrary<Attributes> = fc.oneof(
  fc.record({
    verb: fc.constantFrom('get', 'list', 'delete'),
    plural: fc.constantFrom('pods', 'secrets', 'nodes'),
    group: fc.constantFrom('', 'apps', 'batch'),
    subresource: fc.constantFrom('', 'log', 'exec'),
    namespace: fc.constant('a'),
    name: fc.constantFrom('', 'x', 'y', 'z'),
    path: fc.constant(''),
  }),
  fc
    .record({ verb: fc.constantFrom('get', 'post', 'put'), path: fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/c') })
    .map(({ verb, path }) => asked({ verb, path, plural: '', name: '', namespace: '' })),
)

describe('holding rules', () => {
  const may = (rules: PolicyRule[], attributes: Attributes): boolean => allows(rules, attributes)

  it('means holding everything that they allow', () => {
    fc.assert(
      fc.property(
        fc.array(anyRule, { maxLength: 4 }),
        fc.array(anyRule, { maxLength: 2 }),
        anyAttributes,
        (owned, wanted, attributes) => {
          if (missingRules(owned, wanted).length > 0) return
          if (may(wanted, attributes)) expect(may(owned, attributes)).toBe(true)
        },
      ),
      { numRuns: 3_000 },
    )
  })

  it('is so of one’s own rules and of nothing', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 4 }), (rules) => {
        expect(missingRules(rules, rules)).toEqual([])
        expect(missingRules(rules, [])).toEqual([])
      }),
    )
  })

  it('is not so of what is added up from less', () => {
    const [x, y] = ['x', 'y'].map((name) => rule({ resourceNames: [name] }))
    expect(missingRules([x ?? rule({}), y ?? rule({})], [rule({})])).toHaveLength(1)
    expect(
      missingRules([rule({ verbs: ['get'] }), rule({ verbs: ['list'] })], [rule({ verbs: ['get', 'list'] })]),
    ).toEqual([])
  })
})

describe('a request', () => {
  it.each([
    ['GET', '/api/v1/namespaces/a', 'get', { plural: 'namespaces', namespace: 'a', name: 'a' }],
    [
      'GET',
      '/api/v1/namespaces/a/pods/p/log',
      'get',
      { plural: 'pods', namespace: 'a', name: 'p', subresource: 'log' },
    ],
    ['POST', '/apis/drover.dev/v1/plan', 'post', { verb: 'create', group: 'drover.dev', plural: 'plan', name: '' }],
    [
      'GET',
      '/apis/drover.dev/v1/namespaces/a/pods/p/why',
      'get',
      { group: 'drover.dev', plural: 'pods', namespace: 'a', subresource: 'why' },
    ],
    ['DELETE', '/apis/drover.dev/v1/images', 'delete', { verb: 'deletecollection', plural: 'images' }],
    [
      'POST',
      '/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews',
      'post',
      { verb: 'create', plural: 'localsubjectaccessreviews', namespace: 'a' },
    ],
    ['GET', '/apis/apps/v1', 'get', { plural: '', path: '/apis/apps/v1' }],
    ['GET', '/metrics', 'get', { plural: '', path: '/metrics' }],
  ])('%s %s', (method, path, verb, expected) => {
    expect(attributesOf({ target: parseTarget(path), verb, method, path })).toMatchObject(expected)
  })
})

describe('the default roles', () => {
  it('that gather others begin with what they will gather', () => {
    const stored = DEFAULT_CLUSTER_ROLES as unknown as Stored<ClusterRole>[]
    for (const each of stored) {
      const rules = gatheredRules(each, stored)
      if (rules !== undefined) expect([each.metadata.name, rules]).toEqual([each.metadata.name, each.rules])
    }
  })
})

describe('the authorizer', () => {
  let world: TestResources
  let authorizer: Authorizer
  const apiVersion = 'rbac.authorization.k8s.io/v1'
  const ann = { name: 'ann', groups: ['dev', 'system:authenticated'] }

  beforeAll(async () => {
    world = await runResources()
    authorizer = new Authorizer(world.resources)
    await ensureDefaultRoles(world.resources)
  })
  afterAll(async () => {
    authorizer.close()
    await world.stop()
  })

  const bind = (name: string, subjects: { kind: string; name: string; namespace?: string }[], role: string) =>
    world.resources.create(roleBindingKind, {
      apiVersion,
      kind: 'RoleBinding',
      metadata: { name, namespace: 'default' },
      subjects,
      roleRef: { kind: 'ClusterRole', name: role },
    })

  it('puts back what the defaults lack, and leaves alone what it shall not touch', async () => {
    const name = 'system:basic-user'
    await world.resources.modify(clusterRoleKind, '', name, 'main', (found) => ({
      ...found,
      rules: [{ verbs: ['get'], apiGroups: ['x'], resources: ['y'] }],
    }))
    await world.resources.delete(clusterRoleBindingKind, '', 'cluster-admin')
    await ensureDefaultRoles(world.resources)
    expect(world.resources.get(clusterRoleKind, '', name)?.rules).toHaveLength(3)
    expect(world.resources.get(clusterRoleBindingKind, '', 'cluster-admin')).toBeDefined()
    await world.resources.modify(clusterRoleKind, '', name, 'main', (found) => ({
      ...found,
      metadata: { ...found.metadata, annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'false' } },
      rules: [],
    }))
    await ensureDefaultRoles(world.resources)
    expect(world.resources.get(clusterRoleKind, '', name)?.rules).toEqual([])
  })

  it('gives a role in a namespace, there and nowhere else, for as long as it is bound', async () => {
    const inDefault = asked({ namespace: 'default' })
    expect(authorizer.isAllowed(ann, inDefault)).toBe(false)
    await bind('devs', [{ kind: 'Group', name: 'dev' }], 'view')
    await eventually(() => expect(authorizer.decide(ann, inDefault)).toMatchObject({ allowed: true }))
    expect(authorizer.decide(ann, inDefault).reason).toBe(
      'RBAC: allowed by RoleBinding "default/devs" of ClusterRole "view" to Group "dev"',
    )
    expect(authorizer.isAllowed(ann, asked({ namespace: 'kube-system' }))).toBe(false)
    expect(authorizer.isAllowed(ann, asked({ namespace: '', name: '' }))).toBe(false)
    expect(authorizer.isAllowed(ann, asked({ namespace: 'default', plural: 'secrets' }))).toBe(false)
    await world.resources.delete(roleBindingKind, 'default', 'devs')
    await eventually(() => expect(authorizer.isAllowed(ann, inDefault)).toBe(false))
  })

  it('says in Kubernetes’ words who may not do what', async () => {
    expect(() =>
      authorizer.require(ann, asked({ verb: 'delete', name: 'w', plural: 'deployments', group: 'apps' })),
    ).toThrow(
      'deployments.apps "w" is forbidden: User "ann" cannot delete resource "deployments" in API group "apps" in the namespace "a"',
    )
    expect(() => authorizer.require(ann, asked({ plural: 'nodes', namespace: '', name: '', verb: 'list' }))).toThrow(
      'nodes is forbidden: User "ann" cannot list resource "nodes" in API group "" at the cluster scope',
    )
    await bind('broken', [{ kind: 'User', name: 'ann' }], 'no-such-role')
    await eventually(() =>
      expect(() => authorizer.require(ann, asked({ namespace: 'default' }))).toThrow(
        /RBAC: clusterrole.* "no-such-role" not found/,
      ),
    )
  })

  it('lets a service account be a subject', async () => {
    await bind('robots', [{ kind: 'ServiceAccount', name: 'ci', namespace: 'default' }], 'edit')
    const robot = { name: 'system:serviceaccount:default:ci', groups: [] }
    await eventually(() =>
      expect(authorizer.isAllowed(robot, asked({ namespace: 'default', verb: 'create' }))).toBe(true),
    )
    expect(
      authorizer.isAllowed(
        robot,
        asked({ namespace: 'default', verb: 'create', group: 'rbac.authorization.k8s.io', plural: 'roles' }),
      ),
    ).toBe(false)
  })

  it('lets nobody speak as another who may not', () => {
    expect(() => impersonate(authorizer, ann, { 'impersonate-user': 'root' })).toThrow(
      /cannot impersonate resource "users"/,
    )
    const admin = { name: 'admin', groups: ['system:masters'] }
    expect(impersonate(authorizer, admin, { 'impersonate-user': 'bob', 'impersonate-group': 'x, y' })).toEqual({
      name: 'bob',
      groups: ['x', 'y', 'system:authenticated'],
    })
    expect(impersonate(authorizer, admin, { 'impersonate-user': 'system:serviceaccount:a:b' }).groups).toContain(
      'system:serviceaccounts:a',
    )
    expect(() => impersonate(authorizer, admin, { 'impersonate-group': 'x' })).toThrow(/without impersonating a user/)
    const robot = { name: 'system:serviceaccount:default:ci', groups: [] }
    expect(impersonate(authorizer, robot, { 'impersonate-user': 'system:serviceaccount:default:x' }).name).toContain(
      ':x',
    )
    expect(() =>
      impersonate(authorizer, robot, {
        'impersonate-user': 'system:serviceaccount:default:x',
        'impersonate-group': 'system:masters',
      }),
    ).toThrow(/cannot impersonate resource "groups"/)
  })

  it('gives a node what its own pods need', async () => {
    const node = (name: string) => ({ name: `system:node:${name}`, groups: ['system:nodes', 'system:authenticated'] })
    const spec = {
      nodeName: 'n1',
      serviceAccountName: 'ci',
      containers: [{ name: 'c', image: 'i', envFrom: [{ secretRef: { name: 'mine' } }] }],
    }
    const metadata = { name: 'p', namespace: 'default' }
    await world.resources.create(podKind, { apiVersion: 'v1', kind: 'Pod', metadata, spec }, { internal: true })
    const here = { namespace: 'default' }
    const table: [Partial<Attributes>, boolean][] = [
      [{ plural: 'secrets', name: 'mine', ...here }, true],
      [{ plural: 'secrets', name: 'other', ...here }, false],
      [{ plural: 'secrets', name: 'mine', namespace: 'kube-system' }, false],
      [{ plural: 'secrets', name: '', verb: 'list', ...here }, false],
      [{ plural: 'secrets', name: 'mine', verb: 'update', ...here }, false],
      [{ plural: 'pods', name: 'p', ...here }, true],
      [{ plural: 'pods', name: 'p', subresource: 'status', verb: 'patch', ...here }, true],
      [{ plural: 'pods', name: 'p', verb: 'delete', ...here }, false],
      [{ plural: 'pods', name: '', verb: 'create', ...here }, false],
      [{ plural: 'pods', name: 'p', subresource: 'exec', verb: 'create', ...here }, false],
      [{ plural: 'serviceaccounts', name: 'ci', subresource: 'token', verb: 'create', ...here }, true],
      [{ plural: 'serviceaccounts', name: 'default', subresource: 'token', verb: 'create', ...here }, false],
      [{ plural: 'nodes', name: 'n1', namespace: '' }, true],
      [{ plural: 'nodes', name: 'n1', namespace: '', verb: 'update' }, false],
      [{ plural: 'nodes', name: 'n2', namespace: '' }, false],
      [{ plural: 'services', name: '', namespace: '', verb: 'list' }, true],
    ]
    for (const [given, expected] of table) {
      expect([given, authorizer.isAllowed(node('n1'), asked(given))]).toEqual([given, expected])
      const own = given.plural === 'services' || (given.plural === 'nodes' && given.name === 'n2')
      expect([given, 'n2', authorizer.isAllowed(node('n2'), asked(given))]).toEqual([given, 'n2', own])
    }
    expect(
      authorizer.isAllowed({ name: 'system:node:n1', groups: [] }, asked({ plural: 'pods', name: 'p', ...here })),
    ).toBe(false)
  })
})
