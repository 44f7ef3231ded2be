/** Flows of StatefulSets, DaemonSets, Jobs, CronJobs and budgets through all controllers and the scheduler. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findCondition, isPodReady } from '../../src/api/conditions.ts'
import { controllerRevisionKind } from '../../src/api/controllerrevision.ts'
import { type CronJob, cronJobKind } from '../../src/api/cronjob.ts'
import { type DaemonSet, daemonSetKind } from '../../src/api/daemonset.ts'
import { deploymentKind } from '../../src/api/deployment.ts'
import { eventKind } from '../../src/api/event.ts'
import { type Job, jobKind, jobOutcome } from '../../src/api/job.ts'
import { ANNOTATION, DRAIN_WAITS } from '../../src/api/names.ts'
import { isDraining, nodeKind } from '../../src/api/node.ts'
import { persistentVolumeKind } from '../../src/api/persistentvolume.ts'
import { persistentVolumeClaimKind } from '../../src/api/persistentvolumeclaim.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { podDisruptionBudgetKind } from '../../src/api/poddisruptionbudget.ts'
import { type StatefulSet, statefulSetKind } from '../../src/api/statefulset.ts'
import { storageClassKind } from '../../src/api/storageclass.ts'
import { systemClock, timestamp } from '../../src/base/clock.ts'
import { type ControlPlane, newDeployment, startControlPlane, template } from '../support/control_plane.ts'
import { eventually } from '../support/eventually.ts'

let plane: ControlPlane

beforeEach(async () => {
  plane = await startControlPlane()
  for (const name of ['n1', 'n2', 'n3']) await plane.addNode(name)
})
afterEach(() => plane.stop())

const labels = { app: 'db' }
const names = (): string[] => plane.pods().map(({ metadata }) => metadata.name)
const images = (): string[] => plane.pods().map(({ spec }) => spec.containers[0]?.image ?? '')

function statefulSet(spec: Partial<StatefulSet['spec']> = {}): StatefulSet {
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'db', namespace: 'default' },
    spec: { replicas: 3, serviceName: 'db', selector: { matchLabels: labels }, template: template(labels), ...spec },
  }
}

const setImage = (image: string) =>
  plane.resources.modify(statefulSetKind, 'default', 'db', 'main', (set) => ({
    ...set,
    spec: { ...set.spec, template: template(labels, image) },
  }))

const settled = () =>
  eventually(() => {
    const set = plane.resources.get(statefulSetKind, 'default', 'db')
    const { status = {}, metadata, spec } = set ?? {}
    return (
      status.observedGeneration === metadata?.generation &&
      status.availableReplicas === spec?.replicas &&
      status.replicas === spec?.replicas &&
      status.currentRevision === status.updateRevision &&
      set
    )
  })

describe('a StatefulSet', () => {
  it('goes up in order, has names, rolls over from the top, comes back, and goes down from the top', async () => {
    const made: string[] = []
    const gone: string[] = []
    const stop = plane.resources.subscribe(podKind, ({ type, object }) => {
      if (type === 'ADDED') made.push(object.metadata.name)
      if (type === 'DELETED') gone.push(object.metadata.name)
    })
    await plane.resources.create(statefulSetKind, statefulSet())
    const first = await settled()
    expect(made).toEqual(['db-0', 'db-1', 'db-2'])
    const [pod] = plane.pods()
    expect(pod?.spec).toMatchObject({ hostname: 'db-0', subdomain: 'db' })
    expect(pod?.metadata.labels).toMatchObject({
      'apps.kubernetes.io/pod-index': '0',
      'statefulset.kubernetes.io/pod-name': 'db-0',
      'controller-revision-hash': first.status?.updateRevision,
    })
    await setImage('web:2')
    await eventually(() => gone.length > 0)
    await plane.restart()
    await settled()
    expect(gone).toEqual(['db-2', 'db-1', 'db-0'])
    expect(images()).toEqual(['web:2', 'web:2', 'web:2'])
    await setImage('web:1')
    const back = await settled()
    expect(back.status?.currentRevision).toBe(first.status?.currentRevision)
    const revisions = plane.resources.list(controllerRevisionKind).map(({ revision }) => revision)
    expect(revisions.sort()).toEqual([2, 3])
    gone.length = 0
    await plane.resources.modify(statefulSetKind, 'default', 'db', 'main', (set) => ({
      ...set,
      spec: { ...set.spec, replicas: 0 },
    }))
    await eventually(() => names().length === 0)
    expect(gone).toEqual(['db-2', 'db-1', 'db-0'])
    stop()
  })

  it('recovers from a broken template by itself, and keeps to its partition', async () => {
    await plane.resources.create(statefulSetKind, statefulSet())
    await settled()
    await setImage('broken:2')
    await eventually(() => images()[2] === 'broken:2')
    await setImage('web:3')
    await settled()
    expect(images()).toEqual(['web:3', 'web:3', 'web:3'])
    await plane.resources.modify(statefulSetKind, 'default', 'db', 'main', (set) => ({
      ...set,
      spec: {
        ...set.spec,
        template: template(labels, 'web:4'),
        updateStrategy: { type: 'RollingUpdate' as const, rollingUpdate: { partition: 2 } },
      },
    }))
    await eventually(() => images()[2] === 'web:4' && isPodReady(plane.pods()[2] ?? ({} as never)))
    await plane.resources.delete(podKind, 'default', 'db-0')
    await eventually(() => names().length === 3 && plane.pods().every(isPodReady))
    expect(images()).toEqual(['web:3', 'web:3', 'web:4'])
  })

  it('in parallel makes all at once', async () => {
    await plane.resources.create(
      statefulSetKind,
      statefulSet({ podManagementPolicy: 'Parallel', template: template(labels, 'broken:1') }),
    )
    await eventually(() => names().length === 3)
  })
})

function daemonSet(spec: Partial<DaemonSet['spec']> = {}): DaemonSet {
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'log', namespace: 'default' },
    spec: { selector: { matchLabels: { app: 'log' } }, template: template({ app: 'log' }), ...spec },
  }
}

const daemonsSettled = (nodes: number) =>
  eventually(() => {
    const set = plane.resources.get(daemonSetKind, 'default', 'log')
    const status = set?.status
    return (
      status?.observedGeneration === set?.metadata.generation &&
      status?.desiredNumberScheduled === nodes &&
      status.numberAvailable === nodes &&
      status.updatedNumberScheduled === nodes &&
      set
    )
  })

describe('a DaemonSet', () => {
  it('has one pod on each node that it is for', async () => {
    await plane.addNode('n4', { labels: { gpu: 'yes' } })
    await plane.resources.create(daemonSetKind, daemonSet())
    await daemonsSettled(4)
    const nodes = plane.pods().map(({ spec }) => spec.nodeName)
    expect(nodes.sort()).toEqual(['n1', 'n2', 'n3', 'n4'])
    await plane.addNode('n5')
    await daemonsSettled(5)
    await plane.resources.modify(nodeKind, '', 'n5', 'main', (node) => ({
      ...node,
      spec: { ...node.spec, taints: [{ key: 'own', effect: 'NoExecute' as const }] },
    }))
    await daemonsSettled(4)
    await eventually(() => plane.pods().length === 4)
    await plane.resources.modify(daemonSetKind, 'default', 'log', 'main', (set) => ({
      ...set,
      spec: {
        ...set.spec,
        template: { ...set.spec.template, spec: { ...set.spec.template.spec, nodeSelector: { gpu: 'yes' } } },
      },
    }))
    await daemonsSettled(1)
    await eventually(() => plane.pods().length === 1)
    expect(plane.pods()[0]?.spec.nodeName).toBe('n4')
  })

  it.each([
    ['one away at a time', { maxUnavailable: 1 }, { ready: 2, pods: 3 }],
    ['one more at a time', { maxSurge: 1, maxUnavailable: 0 }, { ready: 3, pods: 4 }],
  ])('rolls over with %s', async (_what, rollingUpdate, bounds) => {
    await plane.resources.create(daemonSetKind, daemonSet({ updateStrategy: { type: 'RollingUpdate', rollingUpdate } }))
    await daemonsSettled(3)
    const seen = { ready: 99, pods: 0 }
    const stop = plane.resources.subscribe(podKind, () => {
      const active = plane.pods().filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      seen.ready = Math.min(seen.ready, active.filter(isPodReady).length)
      seen.pods = Math.max(seen.pods, active.length)
    })
    await plane.resources.modify(daemonSetKind, 'default', 'log', 'main', (set) => ({
      ...set,
      spec: { ...set.spec, template: template({ app: 'log' }, 'web:2') },
    }))
    await daemonsSettled(3)
    await eventually(() => plane.pods().length === 3)
    stop()
    expect(images()).toEqual(['web:2', 'web:2', 'web:2'])
    expect(seen).toEqual(bounds)
  })
})

function job(spec: Partial<Job['spec']> = {}, image = 'task:1'): Job {
  const { spec: podSpec } = template({}, image)
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'pi', namespace: 'default' },
    spec: { template: { spec: { ...podSpec, restartPolicy: 'Never' } }, ...spec },
  }
}

const getJob = () => plane.resources.get(jobKind, 'default', 'pi')
const ended = (outcome: 'Complete' | 'Failed') =>
  eventually(() => {
    const found = getJob()
    return found !== undefined && jobOutcome(found) === outcome && found
  })

describe('a Job', () => {
  it('completes exactly, though its finished pods are deleted on the way', async () => {
    const stop = plane.resources.subscribe(podKind, ({ type, object }) => {
      if (
        type === 'MODIFIED' &&
        object.status?.phase === 'Succeeded' &&
        object.metadata.deletionTimestamp === undefined
      ) {
        plane.resources.delete(podKind, 'default', object.metadata.name).catch(() => undefined)
      }
    })
    await plane.resources.create(jobKind, job({ completions: 8, parallelism: 3 }))
    await eventually(() => (getJob()?.status?.succeeded ?? 0) > 0)
    await plane.restart()
    const done = await ended('Complete')
    stop()
    expect(done.status).toMatchObject({ succeeded: 8, failed: 0, active: 0, uncountedTerminatedPods: {} })
    expect(done.status?.completionTime).toBeDefined()
    await eventually(() => plane.pods().every(({ metadata }) => metadata.finalizers === undefined))
  })

  it('Indexed runs each index, and its pods know theirs', async () => {
    const seen = new Map<string, string>()
    const stop = plane.resources.subscribe(podKind, ({ object }) => {
      const env = object.spec.containers[0]?.env?.find(({ name }) => name === 'JOB_COMPLETION_INDEX')
      seen.set(object.spec.hostname ?? '', env?.value ?? '')
    })
    await plane.resources.create(jobKind, job({ completions: 5, parallelism: 2, completionMode: 'Indexed' }))
    const done = await ended('Complete')
    stop()
    expect(done.status).toMatchObject({ succeeded: 5, completedIndexes: '0-4' })
    expect(Object.fromEntries(seen)).toEqual({ 'pi-0': '0', 'pi-1': '1', 'pi-2': '2', 'pi-3': '3', 'pi-4': '4' })
  })

  it('fails when its limit of failures is passed, or at once when a rule says so', async () => {
    await plane.resources.create(jobKind, job({ backoffLimit: 0 }, 'crash:1'))
    const failed = await ended('Failed')
    expect(findCondition(failed.status?.conditions, 'Failed')?.reason).toBe('BackoffLimitExceeded')
    await plane.resources.delete(jobKind, 'default', 'pi', { propagation: 'Background' })
    await eventually(() => plane.pods().length === 0)
    const podFailurePolicy = {
      rules: [{ action: 'FailJob' as const, onExitCodes: { operator: 'In' as const, values: [1] } }],
    }
    await plane.resources.create(jobKind, job({ podFailurePolicy }, 'crash:1'))
    const again = await ended('Failed')
    const condition = findCondition(again.status?.conditions, 'Failed')
    expect(condition?.reason).toBe('PodFailurePolicy')
    expect(condition?.message).toMatch(
      /Container main for pod default\/pi-\S+ failed with exit code 1 matching FailJob rule at index 0/,
    )
  })

  it('can be suspended and resumed, counts nothing of it, has a deadline, and goes when its time is up', async () => {
    await plane.resources.create(
      jobKind,
      job({ parallelism: 2, completions: 2, suspend: true, ttlSecondsAfterFinished: 1 }, 'web:1'),
    )
    await eventually(() => findCondition(getJob()?.status?.conditions, 'Suspended')?.status === 'True')
    const suspend = (value: boolean) =>
      plane.resources.modify(jobKind, 'default', 'pi', 'main', (current) => ({
        ...current,
        spec: { ...current.spec, suspend: value },
      }))
    await suspend(false)
    await eventually(() => getJob()?.status?.ready === 2)
    await suspend(true)
    await eventually(() => plane.pods().length === 0)
    expect(getJob()?.status).toMatchObject({ succeeded: 0, failed: 0 })
    await suspend(false)
    await eventually(() => getJob()?.status?.ready === 2)
    await plane.resources.modify(jobKind, 'default', 'pi', 'main', (current) => ({
      ...current,
      spec: { ...current.spec, activeDeadlineSeconds: 1 },
    }))
    const failed = await ended('Failed')
    expect(findCondition(failed.status?.conditions, 'Failed')?.reason).toBe('DeadlineExceeded')
    await eventually(() => getJob() === undefined && plane.pods().length === 0)
  })
})

describe('a CronJob', () => {
  it('makes up for the last missed run, once, and keeps to its history', async () => {
    const cron: CronJob = {
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: { name: 'tick', namespace: 'default' },
      spec: { schedule: '* * * * *', jobTemplate: { spec: job().spec }, suspend: true },
    }
    const made = await plane.resources.create(cronJobKind, cron)
    const lastScheduleTime = timestamp(systemClock.now() - 3_600_000)
    await plane.resources.modify(cronJobKind, 'default', 'tick', 'status', (current) => ({
      ...current,
      status: { lastScheduleTime },
    }))
    await plane.resources.modify(cronJobKind, 'default', 'tick', 'main', (current) => ({
      ...current,
      spec: { ...current.spec, suspend: false },
    }))
    const jobs = () => plane.resources.ownedBy(jobKind, made.metadata.uid)
    await eventually(() => jobs().length > 0 && jobs().every((one) => jobOutcome(one) === 'Complete'))
    const status = await eventually(() => {
      const found = plane.resources.get(cronJobKind, 'default', 'tick')?.status
      return found?.lastSuccessfulTime !== undefined && found.active === undefined && found
    })
    expect(systemClock.now() - Date.parse(status.lastScheduleTime ?? '')).toBeLessThan(120_000)
    expect(jobs().length).toBeLessThanOrEqual(2)
  })
})

describe('a budget', () => {
  it('follows its pods and their controller', async () => {
    await plane.resources.create(podDisruptionBudgetKind, {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'web', namespace: 'default' },
      spec: { selector: { matchLabels: { app: 'web' } }, maxUnavailable: '34%' },
    })
    await plane.resources.create(deploymentKind, newDeployment('web'))
    const status = () => plane.resources.get(podDisruptionBudgetKind, 'default', 'web')?.status
    await eventually(() => status()?.disruptionsAllowed === 2)
    expect(status()).toMatchObject({ expectedPods: 3, desiredHealthy: 1, currentHealthy: 3 })
    await plane.resources.modify(deploymentKind, 'default', 'web', 'main', (current) => ({
      ...current,
      spec: { ...current.spec, replicas: 1 },
    }))
    await eventually(() => status()?.expectedPods === 1 && status()?.currentHealthy === 1)
    expect(findCondition(status()?.conditions, 'DisruptionAllowed')).toMatchObject({ status: 'True' })
  })
})

describe('a drained node', () => {
  const budget = (minAvailable: number) => ({
    apiVersion: 'policy/v1' as const,
    kind: 'PodDisruptionBudget' as const,
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { matchLabels: { app: 'web' } }, minAvailable },
  })
  const drain = (name: string) =>
    plane.resources.modify(nodeKind, '', name, 'main', (node) => ({
      ...node,
      metadata: { ...node.metadata, annotations: { [ANNOTATION.draining]: timestamp(systemClock.now()) } },
      spec: { ...node.spec, unschedulable: true },
    }))

  it('keeps a pod, and says why, for as long as its budget forbids that it goes', async () => {
    await plane.resources.create(podDisruptionBudgetKind, budget(2))
    await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 1 }))
    const first = await eventually(() => plane.pods().find(isPodReady))
    await drain(first.spec.nodeName ?? '')
    const said = await eventually(() =>
      plane.resources.list(eventKind).find(({ reason, involvedObject }) => {
        return reason === DRAIN_WAITS && involvedObject.uid === first.metadata.uid
      }),
    )
    expect(said.message).toContain('The disruption budget web needs 2 healthy pods and has 2 currently')
    expect(plane.pods().filter(isPodReady)).toHaveLength(2)
    await plane.resources.modify(podDisruptionBudgetKind, 'default', 'web', 'main', (current) => ({
      ...current,
      spec: budget(1).spec,
    }))
    await eventually(() => plane.pods().length === 1 && names()[0] !== first.metadata.name)
  })
})

describe('a node that takes pods again', () => {
  it('is drained no more when it is cordoned later, whoever uncordoned it', async () => {
    const cordon = (unschedulable: boolean, annotations?: Record<string, string>) =>
      plane.resources.modify(nodeKind, '', 'n1', 'main', (node) => ({
        ...node,
        metadata: { ...node.metadata, ...(annotations && { annotations }) },
        spec: { ...node.spec, unschedulable },
      }))
    await cordon(true, { [ANNOTATION.draining]: timestamp(systemClock.now()) })
    expect(isDraining(plane.resources.get(nodeKind, '', 'n1'))).toBe(true)
    await cordon(false)
    await cordon(true)
    expect(isDraining(plane.resources.get(nodeKind, '', 'n1'))).toBe(false)
  })
})

describe('a Deployment of exclusive pods', () => {
  it('ends the old before it starts the new, and says so', async () => {
    const exclusive = (image: string) => ({
      ...template({ app: 'one' }, image),
      metadata: { labels: { app: 'one' }, annotations: { [ANNOTATION.exclusive]: 'true' } },
    })
    await plane.resources.create(deploymentKind, newDeployment('one', { replicas: 1, template: exclusive('web:1') }))
    const first = await eventually(() => plane.pods().find(isPodReady))
    let most = 0
    const stop = plane.resources.subscribe(podKind, () => {
      most = Math.max(most, plane.pods().length)
    })
    plane.agents.dead.add(first.spec.nodeName ?? '')
    await plane.resources.modify(deploymentKind, 'default', 'one', 'main', (current) => ({
      ...current,
      spec: { ...current.spec, template: exclusive('web:2') },
    }))
    await eventually(() => plane.pods()[0]?.metadata.deletionTimestamp !== undefined)
    const told = await eventually(() =>
      plane.resources.list(eventKind).find(({ reason, message }) => reason === 'ExclusivePods' && message),
    )
    expect(told.message).toContain('maxSurge counts as 0')
    // Its successor may go to the same node.
    plane.agents.dead.clear()
    await plane.resources.delete(podKind, 'default', first.metadata.name, { gracePeriodSeconds: 0 })
    await eventually(() => images().join() === 'web:2' && plane.pods().every(isPodReady))
    expect(most).toBe(1)
    stop()
  })
})

describe('claims', () => {
  const claimTemplate = {
    metadata: { name: 'data' },
    spec: { accessModes: ['ReadWriteOnce' as const], resources: { requests: { storage: '1Gi' } } },
  }
  const claims = () => plane.resources.list(persistentVolumeClaimKind)
  const volumes = () => plane.resources.list(persistentVolumeKind)

  beforeEach(async () => {
    for (const name of ['n1', 'n2', 'n3']) await announce(name, '2Gi')
  })

  /** Of a class that nobody makes volumes for, each on the node that its name says. */
  async function declare(sizes: Record<string, string>): Promise<void> {
    if (plane.resources.get(storageClassKind, '', 'declared') === undefined) {
      await plane.resources.create(storageClassKind, {
        apiVersion: 'storage.k8s.io/v1',
        kind: 'StorageClass',
        metadata: { name: 'declared' },
        provisioner: 'kubernetes.io/no-provisioner',
        volumeBindingMode: 'WaitForFirstConsumer',
      })
    }
    for (const [name, storage] of Object.entries(sizes)) {
      const values = [name.slice('on-'.length)]
      const nodeSelectorTerms = [
        { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In' as const, values }] },
      ]
      await plane.resources.create(persistentVolumeKind, {
        apiVersion: 'v1',
        kind: 'PersistentVolume',
        metadata: { name },
        spec: {
          capacity: { storage },
          accessModes: ['ReadWriteOnce'],
          storageClassName: 'declared',
          local: { path: '/data' },
          nodeAffinity: { required: { nodeSelectorTerms } },
        },
      })
    }
  }

  async function announce(name: string, storage: string): Promise<void> {
    await plane.resources.modify(nodeKind, '', name, 'status', (node) => ({
      ...node,
      status: { ...node.status, allocatable: { ...node.status?.allocatable, 'ephemeral-storage': storage } },
    }))
  }

  it('of a StatefulSet get volumes where their pods go, and bring them back there', async () => {
    await plane.resources.create(statefulSetKind, statefulSet({ volumeClaimTemplates: [claimTemplate] }))
    await settled()
    expect(claims().map(({ metadata, status, spec }) => [metadata.name, status?.phase, spec.storageClassName])).toEqual(
      [
        ['data-db-0', 'Bound', 'local'],
        ['data-db-1', 'Bound', 'local'],
        ['data-db-2', 'Bound', 'local'],
      ],
    )
    await eventually(() => volumes().every(({ status }) => status?.phase === 'Bound'))
    const before = plane.pods()[1]
    await plane.resources.delete(podKind, 'default', 'db-1')
    await eventually(() => {
      const pod = plane.pods()[1]
      return pod?.metadata.name === 'db-1' && pod.metadata.uid !== before?.metadata.uid && isPodReady(pod)
    })
    expect(plane.pods()[1]?.spec.nodeName).toBe(before?.spec.nodeName)
  })

  it('wait with a reason while no disk has room, and are bound when one has', async () => {
    const big = { ...claimTemplate, spec: { ...claimTemplate.spec, resources: { requests: { storage: '5Gi' } } } }
    await plane.resources.create(statefulSetKind, statefulSet({ replicas: 1, volumeClaimTemplates: [big] }))
    const message = await eventually(() => {
      const found = findCondition(plane.pods()[0]?.status?.conditions, 'PodScheduled')
      return found?.status === 'False' && found.message
    })
    expect(message).toBe('0/3 nodes are available: 3 Insufficient storage.')
    await announce('n2', '6Gi')
    await settled()
    expect(plane.pods()[0]?.spec.nodeName).toBe('n2')
  })

  it('go when asked for, the data first', async () => {
    const policy = { whenDeleted: 'Delete' as const, whenScaled: 'Delete' as const }
    await plane.resources.create(
      statefulSetKind,
      statefulSet({ replicas: 2, volumeClaimTemplates: [claimTemplate], persistentVolumeClaimRetentionPolicy: policy }),
    )
    await settled()
    await plane.resources.modify(statefulSetKind, 'default', 'db', 'main', (set) => ({
      ...set,
      spec: { ...set.spec, replicas: 1 },
    }))
    await eventually(() => claims().length === 1)
    const gone = await eventually(() => volumes().find(({ metadata }) => metadata.deletionTimestamp !== undefined))
    const nodeName = gone.metadata.labels?.['drover.dev/node'] ?? ''
    expect(volumes()).toHaveLength(2)
    await plane.resources.modify(nodeKind, '', nodeName, 'status', (node) => ({
      ...node,
      status: { ...node.status, removedVolumes: [gone.metadata.name] },
    }))
    await eventually(() => volumes().length === 1)
    await plane.resources.delete(statefulSetKind, 'default', 'db', { propagation: 'Background' })
    await eventually(() => claims().length === 0 && plane.pods().length === 0)
  })

  it('of declared volumes are bound where their pods go, and wait with a reason when none is left', async () => {
    await declare({ 'on-n1': '1Gi', 'on-n2': '5Gi' })
    const spec = { ...claimTemplate.spec, storageClassName: 'declared' }
    await plane.resources.create(persistentVolumeClaimKind, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'mine', namespace: 'default' },
      spec,
    })
    await plane.resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'lone', namespace: 'default' },
      spec: {
        containers: [{ name: 'main', image: 'web:1' }],
        nodeSelector: { 'kubernetes.io/hostname': 'n2' },
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'mine' } }],
      },
    })
    await eventually(() => plane.pods()[0]?.status?.phase === 'Running')
    expect(claims()[0]?.spec.volumeName).toBe('on-n2')
    await plane.resources.create(
      statefulSetKind,
      statefulSet({
        replicas: 2,
        podManagementPolicy: 'Parallel',
        volumeClaimTemplates: [{ ...claimTemplate, spec }],
      }),
    )
    const replicas = () => plane.pods().filter(({ metadata }) => metadata.name !== 'lone')
    const refused = await eventually(() =>
      replicas().find(({ status }) => findCondition(status?.conditions, 'PodScheduled')?.status === 'False'),
    )
    expect(findCondition(refused.status?.conditions, 'PodScheduled')?.message).toBe(
      "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.",
    )
    await declare({ 'on-n3': '1Gi' })
    await settled()
    expect(
      replicas()
        .map(({ spec: { nodeName } }) => nodeName)
        .sort(),
    ).toEqual(['n1', 'n3'])
  })

  it('hold their volume though it is deleted, and are held themselves beside what else holds them', async () => {
    await declare({ 'on-n1': '1Gi' })
    const metadata = { name: 'mine', namespace: 'default', finalizers: ['example.com/backup'] }
    await plane.resources.create(persistentVolumeClaimKind, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata,
      spec: { ...claimTemplate.spec, storageClassName: 'declared', volumeName: 'on-n1' },
    })
    expect(claims()[0]?.metadata.finalizers).toEqual(['example.com/backup', 'kubernetes.io/pvc-protection'])
    await eventually(() => claims()[0]?.status?.phase === 'Bound')
    await plane.resources.delete(persistentVolumeKind, '', 'on-n1')
    await plane.resources.modify(persistentVolumeClaimKind, 'default', 'mine', 'main', (claim) => ({
      ...claim,
      metadata: { ...claim.metadata, labels: { seen: 'after' }, finalizers: [] },
    }))
    await eventually(() => claims()[0]?.metadata.labels?.seen === 'after')
    expect(volumes()[0]?.metadata.deletionTimestamp).toBeDefined()
    expect(claims()[0]?.metadata.finalizers).toEqual(['kubernetes.io/pvc-protection'])
    await plane.resources.delete(persistentVolumeClaimKind, 'default', 'mine')
    await eventually(() => claims().length === 0 && volumes().length === 0)
  })

  it('that nobody made keep their pod waiting, and say so', async () => {
    await plane.resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'lone', namespace: 'default' },
      spec: {
        containers: [{ name: 'main', image: 'web:1' }],
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'mine' } }],
      },
    })
    const said = () => findCondition(plane.pods()[0]?.status?.conditions, 'PodScheduled')?.message
    await eventually(() => said() === '0/3 nodes are available: persistentvolumeclaim "mine" not found.')
    await plane.resources.create(persistentVolumeClaimKind, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'mine', namespace: 'default' },
      spec: claimTemplate.spec,
    })
    await eventually(() => plane.pods()[0]?.status?.phase === 'Running')
    await plane.resources.delete(persistentVolumeClaimKind, 'default', 'mine')
    expect(claims()).toHaveLength(1)
    await plane.resources.delete(podKind, 'default', 'lone')
    await eventually(() => claims().length === 0)
  })
})
