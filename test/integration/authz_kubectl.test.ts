/** Roles with a real server and real kubectl: what people are given, refused, and told. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { podKind } from '../../src/api/pod_kind.ts'
import { roleKind } from '../../src/api/role.ts'
import { secretKind } from '../../src/api/secret.ts'
import { issueCertificate } from '../../src/base/pki.ts'
import { GUEST_TOKEN, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

const run = async (text: string, input?: string) => {
  const { exitCode, stdout, stderr } = await harness.kubectl(text.split(' '), input === undefined ? {} : { input })
  return { exitCode, out: stdout.trim(), err: stderr.trim() }
}

async function kubectl(text: string, input?: string): Promise<string> {
  const { exitCode, out, err } = await run(text, input)
  expect([text, exitCode, err]).toEqual([text, 0, expect.any(String)])
  return out
}

const RBAC = '/apis/rbac.authorization.k8s.io/v1'

describe('kubectl auth can-i', () => {
  it('answers truly, before and after a role is bound', async () => {
    expect(await run('auth can-i list pods --as ann')).toMatchObject({ exitCode: 1, out: 'no' })
    await kubectl('create role reader --verb=get,list --resource=pods,pods/log,deployments.apps')
    await kubectl('create rolebinding ann-reads --role=reader --user=ann')
    await eventually(async () =>
      expect(await run('auth can-i list pods --as ann')).toMatchObject({ exitCode: 0, out: 'yes' }),
    )
    for (const [asked, answer] of [
      ['get pods --subresource=log', 'yes'],
      ['list deployments', 'yes'],
      ['list deployments -n kube-system', 'no'],
      ['list pods --all-namespaces', 'no'],
      ['delete pods', 'no'],
      ['create selfsubjectaccessreviews.authorization.k8s.io --all-namespaces', 'yes'],
      ['get /apis', 'yes'],
      ['get /metrics', 'no'],
      ['* *', 'no'],
    ] as const) {
      expect([asked, (await run(`auth can-i ${asked} --as ann`)).out.split('\n').at(-1)]).toEqual([asked, answer])
    }
    expect(await kubectl('auth can-i * *')).toBe('yes')
    const list = (await kubectl('auth can-i --list --as ann')).replace(/ +/g, ' ')
    expect(list).toContain('deployments.apps [] [] [get list]')
    expect(list).toContain('selfsubjectrulesreviews.authorization.k8s.io [] [] [create]')
    expect((await kubectl('auth can-i --list')).replace(/ +/g, ' ')).toContain('*.* [] [] [*]')
  })

  it('goes with what is then allowed', async () => {
    expect(await kubectl('get pods --as ann')).toBe('')
    expect((await run('get pods -n kube-system --as ann')).err).toBe(
      'Error from server (Forbidden): pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "kube-system"',
    )
    expect((await run('delete pod web --as ann')).err).toBe(
      'Error from server (Forbidden): pods "web" is forbidden: User "ann" cannot delete resource "pods" in API group "" in the namespace "default"',
    )
    expect((await run('get nodes --as ann')).err).toContain(
      'cannot list resource "nodes" in API group "" at the cluster scope',
    )
    await kubectl('delete rolebinding ann-reads')
    await eventually(async () => expect((await run('get pods --as ann')).exitCode).toBe(1))
  })
})

describe('nobody hands out more than they hold', () => {
  const role = (name: string, resource: string, verb = 'get') => ({
    metadata: { name, namespace: 'default' },
    rules: [{ apiGroups: [''], resources: [resource], verbs: [verb] }],
  })
  const as = { headers: { 'impersonate-user': 'bea' } }
  const at = `${RBAC}/namespaces/default`

  beforeAll(async () => {
    await kubectl('create role keeper --verb=* --resource=roles,rolebindings')
    await kubectl('create role pods --verb=get,list --resource=pods')
    await kubectl('create role secrets --verb=get --resource=secrets')
    await kubectl('create rolebinding bea-keeps --role=keeper --user=nobody')
    await kubectl('create role makes --verb=get,list,create,update,patch,delete --resource=roles,rolebindings')
    await kubectl('create rolebinding bea-makes --role=makes --user=bea')
    await kubectl('create rolebinding bea-pods --role=pods --user=bea')
    await eventually(async () => expect((await run('get roles --as bea')).exitCode).toBe(0))
  })

  it('by making roles', async () => {
    expect((await harness.call(`${at}/roles`, { method: 'POST', body: role('mine', 'pods'), ...as })).status).toBe(201)
    const more = await harness.call(`${at}/roles`, { method: 'POST', body: role('more', 'secrets'), ...as })
    expect(more.json).toMatchObject({ code: 403, reason: 'Forbidden' })
    expect(more.json.message).toBe(
      'roles.rbac.authorization.k8s.io "more" is forbidden: user "bea" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}',
    )
  })

  it('by changing roles, in whatever way', async () => {
    const rules = [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }]
    const put = await harness.call(`${at}/roles/mine`, {
      method: 'PUT',
      body: { ...role('mine', 'pods'), rules },
      ...as,
    })
    expect(put.status).toBe(403)
    for (const [type, body] of [
      ['application/merge-patch+json', { rules }],
      ['application/json-patch+json', [{ op: 'replace', path: '/rules', value: rules }]],
      [
        'application/apply-patch+yaml',
        { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: 'mine' }, rules },
      ],
    ] as const) {
      const path = `${at}/roles/mine?fieldManager=x&force=true`
      const headers = { ...as.headers, 'content-type': type }
      const patched = await harness.call(type.includes('apply') ? path : `${at}/roles/mine`, {
        method: 'PATCH',
        body: JSON.stringify(body),
        headers,
      })
      expect([type, patched.status, patched.json.message]).toEqual([
        type,
        403,
        expect.stringContaining('not currently held'),
      ])
    }
    const labels = { metadata: { labels: { a: 'b' } } }
    const patch = { method: 'PATCH', body: JSON.stringify(labels) }
    const headers = { ...as.headers, 'content-type': 'application/merge-patch+json' }
    expect((await harness.call(`${at}/roles/secrets`, { ...patch, headers })).status).toBe(200)
    expect(harness.resources.get(roleKind, 'default', 'mine')?.rules).toEqual(role('mine', 'pods').rules)
  })

  it('by binding roles', async () => {
    const binding = (name: string, roleName: string, kind = 'Role') => ({
      metadata: { name, namespace: 'default' },
      subjects: [{ kind: 'User', name: 'eve' }],
      roleRef: { kind, name: roleName, apiGroup: 'rbac.authorization.k8s.io' },
    })
    const bind = (body: object) => harness.call(`${at}/rolebindings`, { method: 'POST', body, ...as })
    expect((await bind(binding('fine', 'pods'))).status).toBe(201)
    expect((await bind(binding('more', 'secrets'))).json.message).toContain('not currently held')
    expect((await bind(binding('most', 'cluster-admin', 'ClusterRole'))).status).toBe(403)
    expect((await bind(binding('none', 'nowhere'))).json).toMatchObject({ code: 404 })
    await kubectl('create role binder --verb=bind --resource=roles --resource-name=secrets')
    await kubectl('create rolebinding bea-binds --role=binder --user=bea')
    await eventually(async () => expect((await bind(binding('more', 'secrets'))).status).toBe(201))
    const moved = { ...binding('fine', 'secrets'), subjects: [] }
    const put = await harness.call(`${at}/rolebindings/fine`, { method: 'PUT', body: moved })
    expect(put.json).toMatchObject({ code: 422, message: expect.stringContaining('cannot change roleRef') })
  })

  it('by applying what is not there, with the verb patch alone', async () => {
    await kubectl('create role patcher --verb=patch --resource=configmaps')
    await kubectl('create rolebinding cid-patches --role=patcher --user=cid')
    const apply = () =>
      harness.call('/api/v1/namespaces/default/configmaps/new?fieldManager=x', {
        method: 'PATCH',
        body: JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'new' }, data: { a: 'b' } }),
        headers: { 'impersonate-user': 'cid', 'content-type': 'application/apply-patch+yaml' },
      })
    await eventually(async () => expect((await apply()).json.message).toContain('cannot create resource "configmaps"'))
  })
})

describe('reviews', () => {
  const sar = '/apis/authorization.k8s.io/v1/subjectaccessreviews'
  const attributes = { verb: 'get', resource: 'pods', namespace: 'default' }

  it('of others are for those who may ask', async () => {
    const spec = { user: 'bea', resourceAttributes: attributes }
    const asked = await harness.call(sar, { method: 'POST', body: { spec } })
    expect(asked.json.status).toMatchObject({ allowed: true, reason: expect.stringContaining('bea-pods') })
    const refused = await harness.call(sar, { method: 'POST', body: { spec }, token: GUEST_TOKEN })
    expect(refused.json.message).toContain(
      'cannot create resource "subjectaccessreviews" in API group "authorization.k8s.io"',
    )
    const group = { groups: ['system:masters'], resourceAttributes: { verb: '*', resource: '*', group: '*' } }
    expect((await harness.call(sar, { method: 'POST', body: { spec: group } })).json.status).toMatchObject({
      allowed: true,
    })
    expect((await harness.call(sar, { method: 'POST', body: { spec: {} } })).status).toBe(400)
  })

  it('in a namespace are about that namespace', async () => {
    const local = '/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews'
    const spec = { user: 'bea', resourceAttributes: attributes }
    expect((await harness.call(local, { method: 'POST', body: { spec } })).json.status).toMatchObject({ allowed: true })
    const elsewhere = { ...spec, resourceAttributes: { ...attributes, namespace: 'kube-system' } }
    expect((await harness.call(local, { method: 'POST', body: { spec: elsewhere } })).status).toBe(400)
  })
})

describe('a node’s certificate', () => {
  it('opens what its pods need and nothing else', async () => {
    const node = await issueCertificate(harness.authority, {
      commonName: 'system:node:n1',
      organizations: ['system:nodes'],
      usages: ['client'],
      validityMs: 3_600_000,
      clock: harness.clock,
    })
    for (const name of ['mine', 'other']) {
      const metadata = { name, namespace: 'default' }
      await harness.resources.create(secretKind, { apiVersion: 'v1', kind: 'Secret', metadata, data: { a: 'Yg==' } })
    }
    await kubectl('create serviceaccount default')
    const container = { name: 'c', image: 'i', envFrom: [{ secretRef: { name: 'mine' } }] }
    await harness.resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'default' },
      spec: { nodeName: 'n1', containers: [container] },
    })
    const file = join(harness.directory, 'node-kubeconfig')
    const config = JSON.parse(await readFile(harness.kubeconfig, 'utf8')) as { users: { user: object }[] }
    const data = (pem: string): string => Buffer.from(pem).toString('base64')
    const [user] = config.users
    if (user !== undefined) {
      user.user = { 'client-certificate-data': data(node.certPem), 'client-key-data': data(node.keyPem) }
    }
    await writeFile(file, JSON.stringify(config))
    const asNode = (text: string) => run(`--kubeconfig ${file} ${text}`)
    expect(await asNode('get secret mine -o jsonpath={.data.a}')).toMatchObject({ err: '', out: 'Yg==' })
    expect((await asNode('get secret other')).err).toContain('User "system:node:n1" cannot get resource "secrets"')
    expect((await asNode('get secrets')).err).toContain('cannot list resource "secrets"')
    expect((await asNode('delete pod p')).err).toContain('cannot delete resource "pods"')
    // As `kubectl create token` does, which came with 1.24.
    const asked = (spec: object) =>
      run(
        `--kubeconfig ${file} create --raw /api/v1/namespaces/default/serviceaccounts/default/token -f -`,
        JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec }),
      )
    expect((await asked({})).err).toContain('gets tokens only for pods that run on it')
    const uid = harness.resources.get(podKind, 'default', 'p')?.metadata.uid ?? ''
    const bound = await asked({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p', uid } })
    expect([bound.exitCode, bound.err]).toEqual([0, ''])
    expect((JSON.parse(bound.out) as { status: { token: string } }).status.token.split('.')).toHaveLength(3)
  })
})
