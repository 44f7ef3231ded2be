import { afterEach, describe, expect, it } from 'vitest'
import { deploymentKind } from '../../src/api/deployment.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources | undefined
afterEach(async () => {
  await test?.stop()
})

const template = {
  metadata: { labels: { app: 'a' } },
  spec: { containers: [{ name: 'c', image: 'x:1', securityContext: { privileged: true } }] },
}
const pod = (namespace: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace },
  spec: template.spec,
})

async function setUp(labels: Record<string, string>) {
  test = await runResources({})
  const { resources } = test
  await resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team', labels } })
  const warnings: string[] = []
  return { resources, warnings, options: { warn: (message: string) => warnings.push(message) } }
}

describe('pod security at the door', () => {
  it('refuses a pod that its namespace does not let in, and tells who writes a workload of such pods', async () => {
    const { resources, warnings, options } = await setUp({ 'pod-security.kubernetes.io/enforce': 'baseline' })
    await expect(resources.create(podKind, pod('team'), options)).rejects.toMatchObject({
      code: 'forbidden',
      message:
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)',
    })
    const metadata = { name: 'd', namespace: 'team' }
    const spec = { selector: { matchLabels: { app: 'a' } }, template }
    await resources.create(deploymentKind, { apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec }, options)
    expect(warnings).toContainEqual(expect.stringMatching(/^would violate PodSecurity "baseline:latest": privileged/))
    await expect(resources.create(podKind, pod('default'), options)).resolves.toBeDefined()
  })

  it('only warns where it was asked to warn', async () => {
    const { resources, warnings, options } = await setUp({ 'pod-security.kubernetes.io/warn': 'restricted' })
    await resources.create(podKind, pod('team'), options)
    expect(warnings).toContainEqual(expect.stringMatching(/^would violate PodSecurity "restricted:latest": privileged/))
  })
})
