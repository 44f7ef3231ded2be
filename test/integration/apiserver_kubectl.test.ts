/** Real kubectl against the real server: what people type, with an empty cache as on a new machine. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import { type Node, nodeKind } from '../../src/api/node.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'
import { KUBECTL_IS_OLD } from '../support/kubectl_version.ts'

let harness: Harness

beforeAll(async () => {
  harness = await startHarness()
})
afterAll(() => harness.stop())

async function kubectl(args: string, input?: string): Promise<string> {
  const result = await harness.kubectl(args.split(' '), input === undefined ? {} : { input })
  expect([args, result.exitCode, result.stderr]).toEqual([args, 0, expect.any(String)])
  return result.stdout.trim()
}

async function refused(args: string, input?: string): Promise<string> {
  const result = await harness.kubectl(args.split(' '), input === undefined ? {} : { input })
  expect([args, result.exitCode]).not.toEqual([args, 0])
  return result.stderr.trim()
}

const manifest = (name: string, image = 'img:1'): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, labels: {app: ${name}}}
spec:
  replicas: 2
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec:
      containers:
      - {name: c, image: "${image}", ports: [{containerPort: 80}], resources: {requests: {cpu: 100m}}}
`

const read = (name: string): Deployment | undefined => harness.resources.get(deploymentKind, 'default', name)

/** What the deployment controller would report once all replicas serve. */
function finishRollout(name: string): Promise<unknown> {
  return harness.resources.modify(deploymentKind, 'default', name, 'status', (found) => {
    const count = found.spec.replicas ?? 1
    const counts = { replicas: count, updatedReplicas: count, readyReplicas: count, availableReplicas: count }
    const condition = { type: 'Available', status: 'True' as const, reason: 'MinimumReplicasAvailable', message: '' }
    return {
      ...found,
      status: { observedGeneration: found.metadata.generation ?? 1, ...counts, conditions: [condition] },
    }
  })
}

describe('kubectl', () => {
  it('finds its way with an empty cache', async () => {
    expect(await kubectl('version')).toContain('+drover.0.1.0')
    const resources = await kubectl('api-resources --no-headers')
    for (const line of ['pods po v1 true Pod', 'deployments deploy apps/v1 true Deployment']) {
      expect(resources.replace(/ +/g, ' ')).toContain(line)
    }
    expect(await kubectl('get namespaces -o name')).toContain('namespace/default')
    expect(await kubectl('explain deployment.spec.template.spec.containers')).toContain('imagePullPolicy')
    if (!KUBECTL_IS_OLD) {
      expect(await kubectl('auth whoami -o jsonpath={.status.userInfo.username}')).toBe('admin')
    }
    expect(await kubectl('auth can-i create pods')).toBe('yes')
  })

  it('applies, sees no change, applies a change, shows a diff', async () => {
    expect(await kubectl('apply -f -', manifest('web'))).toBe('deployment.apps/web created')
    expect(await kubectl('apply -f -', manifest('web'))).toBe('deployment.apps/web unchanged')
    expect(await kubectl('apply -f -', manifest('web', 'img:2'))).toBe('deployment.apps/web configured')
    expect(read('web')?.spec.template.spec.containers).toMatchObject([{ image: 'img:2', ports: [{ protocol: 'TCP' }] }])
    const diff = await harness.kubectl(['diff', '-f', '-'], { input: manifest('web', 'img:3') })
    expect(diff.exitCode).toBe(1)
    expect(diff.stdout).toMatch(/\+ +- image: img:3/)
    expect(read('web')?.spec.template.spec.containers[0]?.image).toBe('img:2')
  })

  it('applies on the server: ownership, conflicts, a diff, and what was applied by the client before', async () => {
    const apply = 'apply --server-side -f -'
    expect(await kubectl(apply, manifest('owned'))).toBe('deployment.apps/owned serverside-applied')
    const before = read('owned')?.metadata.resourceVersion
    expect(await kubectl(apply, manifest('owned'))).toBe('deployment.apps/owned serverside-applied')
    expect(read('owned')?.metadata.resourceVersion, 'nothing was written').toBe(before)
    if (!KUBECTL_IS_OLD) {
      expect(await kubectl('get deployment owned -o yaml')).not.toContain('managedFields')
      expect(await kubectl('get deployment owned -o yaml --show-managed-fields')).toContain('manager: kubectl')
    }
    await kubectl('scale deployment owned --replicas=5')
    const turned = manifest('owned').replace('replicas: 2', 'replicas: 3')
    const said = await refused(apply, turned)
    expect(said).toMatch(
      /Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps\/v1/,
    )
    expect(said).toContain('.spec.replicas')
    await kubectl(`${apply} --force-conflicts`, turned)
    expect(read('owned')?.spec.replicas).toBe(3)
    await kubectl(apply, manifest('owned').replace('  replicas: 2\n', ''))
    expect(read('owned')?.spec.replicas, 'applied no more').toBe(1)
    const diff = await harness.kubectl(['diff', '--server-side', '-f', '-'], { input: manifest('owned', 'img:3') })
    expect([diff.exitCode, diff.stderr]).toEqual([1, expect.any(String)])
    expect(diff.stdout).toMatch(/\+ +- image: img:3/)
    expect(read('owned')?.spec.template.spec.containers[0]?.image).toBe('img:1')
    // Only newer ones take over what was applied by the client.
    if (KUBECTL_IS_OLD) return
    await kubectl('apply -f -', manifest('moved'))
    await kubectl(apply, manifest('moved'))
    const managers = await kubectl(
      'get deployment moved --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}',
    )
    expect(managers.split(' ').sort()).toEqual(['kubectl', 'kubectl-last-applied'])
    const smaller = manifest('moved').replace(', ports: [{containerPort: 80}]', '')
    await kubectl(apply, smaller)
    expect(read('moved')?.spec.template.spec.containers[0]?.ports ?? []).toEqual([])
  })

  it('is told what is wrong with a manifest', async () => {
    const typo = manifest('typo').replace('replicas:', 'replica:')
    expect(await refused('apply -f -', typo)).toMatch(/unknown field "(spec\.)?replica"/)
    const negative = manifest('negative').replace('replicas: 2', 'replicas: -2')
    const said = await refused('apply -f -', negative)
    expect(said).toMatch(/The Deployment "negative" is invalid/)
    expect(said).toContain('spec.replicas')
    expect(await refused('get pods nope')).toBe('Error from server (NotFound): pods "nope" not found')
    expect(read('typo') ?? read('negative')).toBeUndefined()
  })

  it('creates objects from the command line', async () => {
    await kubectl('create deployment made --image=img:1 --replicas=0 --port=80')
    expect(read('made')?.spec).toMatchObject({ replicas: 0, template: { spec: { containers: [{ image: 'img:1' }] } } })
    await kubectl('create configmap settings --from-literal=a=b --from-literal=empty=')
    expect(await kubectl('get configmap settings -o jsonpath={.data}')).toBe('{"a":"b","empty":""}')
    await kubectl('create secret generic hidden --from-literal=a=b')
    expect(await kubectl('get secret hidden -o jsonpath={.data.a}')).toBe('Yg==')
    await kubectl('create namespace other')
    await kubectl('create service nodeport made --tcp=80:8080')
    expect(await kubectl('get service made -o jsonpath={.spec.ports[0].targetPort}')).toBe('8080')
    expect(await kubectl('expose deployment made --port=80 --name=exposed')).toBe('service/exposed exposed')
    await kubectl('run lone --image=img:1 --env=A=b')
    expect(await kubectl('get pods lone --no-headers')).toMatch(/^lone +0\/1 +Pending +0 +\d+s$/)
    await kubectl('delete pod lone --now')
  })

  it('is refused pods that the level of their namespace forbids, in words, and warned of workloads that would make them', async () => {
    const pod = (name: string, securityContext: string): string =>
      `{apiVersion: v1, kind: Pod, metadata: {name: ${name}}, spec: {containers: [{name: c, image: img:1, securityContext: ${securityContext}}]}}`
    const careful =
      '{allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}'
    const enforce = (level: string) =>
      kubectl(`label namespace guarded pod-security.kubernetes.io/enforce=${level} --overwrite`)
    await kubectl('create namespace guarded')
    await kubectl('apply -n guarded -f -', pod('any', '{privileged: true}'))
    await enforce('baseline')
    expect(await refused('apply -n guarded -f -', pod('privileged', '{privileged: true}'))).toMatch(
      /violates PodSecurity "baseline:latest": privileged/,
    )
    await kubectl('apply -n guarded -f -', pod('plain', '{}'))
    await enforce('restricted')
    expect(await refused('run plainer -n guarded --image=img:1')).toMatch(/violates PodSecurity "restricted:latest": /)
    await kubectl('apply -n guarded -f -', pod('careful', careful))
    const created = await harness.kubectl(['create', 'deployment', 'd', '-n', 'guarded', '--image=img:1'])
    expect([created.exitCode, created.stderr]).toEqual([
      0,
      expect.stringMatching(/^Warning: would violate PodSecurity "restricted:latest"/m),
    ])
    // Who runs already is let be; whoever comes when the label is gone is let in.
    expect(await kubectl('get pods -n guarded -o name')).toBe('pod/any\npod/careful\npod/plain')
    await enforce('privileged')
    await kubectl('apply -n guarded -f -', pod('late', '{privileged: true}'))
    await kubectl('delete pods --all -n guarded --now')
  })

  it('gives pods the priority of their class', async () => {
    await kubectl('create priorityclass high --value=1000 --description=first')
    const classes = await kubectl('get priorityclasses --no-headers')
    expect(classes.replace(/ +/g, ' ')).toMatch(/^high 1000 false /)
    expect(await refused('create priorityclass huge --value=1000000001')).toContain('must be at most 1000000000')
    expect(await refused('create priorityclass system-x --value=1')).toContain('names with "system-" are the system')
    const pod = (name: string) => `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"important"},
      "spec":{"priorityClassName":"${name}","containers":[{"name":"c","image":"img:1"}]}}`
    expect(await refused('apply -f -', pod('none'))).toContain('no PriorityClass with name none was found')
    await kubectl('apply -f -', pod('high'))
    expect((await kubectl('describe pod important')).replace(/ +/g, ' ')).toMatch(
      /Priority: 1000\nPriority Class Name: high\n/,
    )
    await kubectl('delete pod/important priorityclass/high --now')
  })

  it('changes objects in place', async () => {
    await kubectl('apply -f -', manifest('turned'))
    await kubectl('scale deployment turned --replicas=5')
    await kubectl('scale deployment turned --current-replicas=5 --replicas=3')
    expect(read('turned')?.spec.replicas).toBe(3)
    expect(await refused('scale deployment turned --current-replicas=9 --replicas=1')).toContain('replicas to be 9')
    await kubectl('set image deployment/turned c=img:9')
    await kubectl('patch deployment turned -p {"spec":{"minReadySeconds":4}}')
    await kubectl('label deployment turned color=blue')
    await kubectl('annotate deployment turned note=x')
    await kubectl('rollout restart deployment turned')
    const found = read('turned')
    expect(found?.spec).toMatchObject({ minReadySeconds: 4, template: { spec: { containers: [{ image: 'img:9' }] } } })
    expect(found?.metadata).toMatchObject({ labels: { color: 'blue' }, annotations: { note: 'x' } })
    expect(found?.spec.template.metadata?.annotations).toHaveProperty(['kubectl.kubernetes.io/restartedAt'])
  })

  it('waits for a rollout and for a condition', async () => {
    await kubectl('apply -f -', manifest('rolled'))
    const status = kubectl('rollout status deployment/rolled --timeout=15s')
    const condition = kubectl('wait --for=condition=Available deployment/rolled --timeout=15s')
    await eventually(() => (read('rolled') === undefined ? undefined : true))
    await finishRollout('rolled')
    expect(await status).toContain('successfully rolled out')
    expect(await condition).toBe('deployment.apps/rolled condition met')
    expect(await kubectl('get deployment rolled --no-headers')).toMatch(/^rolled +2\/2 +2 +2 +\d+s$/)
    expect(await kubectl('get deployment rolled --no-headers -o wide')).toMatch(/ c +img:1$/)
  })

  it('follows changes', async () => {
    const child = follow(['get', 'configmaps', '-w', '--no-headers'])
    await kubectl('create configmap followed --from-literal=a=b')
    await eventually(() => child.output().includes('followed'), { timeoutMs: 10_000 })
    await child.stop()
  })

  it('describes, and lists across namespaces', async () => {
    await kubectl('apply -f -', manifest('shown'))
    expect(await kubectl('describe deployment shown')).toMatch(/Image: +img:1/)
    expect(await kubectl('get all -A')).toContain('deployment.apps/shown')
    expect(await kubectl('get deployments -A -o jsonpath={.items[*].metadata.namespace}')).toContain('default')
    expect(await kubectl('get events')).toBe('')
  })

  it('deletes and waits until it is gone', async () => {
    await kubectl('apply -f -', manifest('doomed'))
    expect(await kubectl('delete -f -', manifest('doomed'))).toBe('deployment.apps "doomed" deleted')
    expect(read('doomed')).toBeUndefined()
    expect(await kubectl('delete configmap nope --ignore-not-found')).toBe('')
  })

  it('cordons and drains a node', async () => {
    const node: Node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, spec: {} }
    await harness.resources.create(nodeKind, node)
    await harness.resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'moved', namespace: 'default' },
      spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }] },
    })
    await kubectl('cordon n1')
    expect(await kubectl('get node n1 --no-headers')).toMatch(/SchedulingDisabled/)
    await kubectl('uncordon n1')
    const drained = kubectl('drain n1 --force --grace-period=1 --timeout=15s')
    await eventually(() => harness.resources.get(podKind, 'default', 'moved')?.metadata.deletionTimestamp, {
      timeoutMs: 10_000,
    })
    // The agent's part: the pod has stopped.
    await harness.resources.delete(podKind, 'default', 'moved', { gracePeriodSeconds: 0 })
    expect(await drained).toMatch(/node\/n1 (drained|evicted)/)
    expect(harness.resources.get(nodeKind, '', 'n1')?.spec?.unschedulable).toBe(true)
  })
})

interface Follower {
  output(): string
  stop(): Promise<void>
}

function follow(args: string[]): Follower {
  const child: ChildProcess = spawn('kubectl', ['--kubeconfig', harness.kubeconfig, ...args], {
    env: { ...process.env, HOME: harness.directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  return {
    output: () => output,
    async stop() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}
