/**
 * What must hold at every moment, whatever the faults. Each says in its name what it protects; the first breach ends
 * the run.
 */
import { findCondition, isPodFinished, isPodReady, isTerminating } from '../../src/api/conditions.ts'
import { CLOCK_RATE_ERROR, fenceAfterMs, isExclusive } from '../../src/api/exclusive.ts'
import type { KubeObject, Stored } from '../../src/api/meta.ts'
import { POD_CONDITION } from '../../src/api/names.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { Service } from '../../src/api/service.ts'
import { confirmLimitMs, graceMsOf } from '../../src/api/termination.ts'
import { parseBytes, parseCpuMillis } from '../../src/base/quantity.ts'
import { isDaemon } from './convergence.ts'
import type { SimAgent } from './sim_agent.ts'
import type { SimContainer, SimHost } from './sim_host.ts'
import type { Change } from './watcher.ts'
import type { World } from './world.ts'

/** How long after its object went a container may still run on a machine that nothing is wrong with. */
const LEFTOVER_MS = 45_000
/** A machine that has been gone for this long holds no pods, if nothing else is wrong: notice, evict, write. */
const LOST_MS = 15_000
/** Exclusive pods are waited for until their fence has surely acted; the clock that counts may be slow. */
const FENCED_MS = fenceAfterMs() * (1 + CLOCK_RATE_ERROR)
/** A machine is held to its duties when it, its links and all servers have been well for this long. */
const WELL_MS = 10_000
/** An agent that is well has a session again within this time of the servers being well. */
const FOUND_MS = 3_900
/** What clocks, latencies and rounding may take off a wait. */
const CLOSE_MS = 300
/** A scheduler may not know yet of a cordon that is this young. */
const CORDON_KNOWN_MS = 2_000

export function checkChange(world: World, change: Change): void {
  const { old, object, key } = change
  if (old !== undefined && object !== undefined) checkIdentity(world, key, old, object)
  if (change.kind === 'pods') checkPod(world, old as Stored<Pod> | undefined, object as Stored<Pod> | undefined)
  if (change.kind === 'nodes' && object !== undefined) {
    checkRanges(world)
    checkLiving(world, old as Stored<Node> | undefined, object as Stored<Node>)
  }
}

/** A machine that is well, as all servers are, is not called lost: its agent has found a server before its time is up. */
function checkLiving(world: World, old: Stored<Node> | undefined, node: Stored<Node>): void {
  if (old === undefined || !isNodeReady(old) || isNodeReady(node)) return
  const agent = world.agents.find(({ name }) => name === node.metadata.name)
  if (agent === undefined || !agent.running || agent.host.down) return
  const wellMs = world.time.nowMs - Math.max(agent.healthySinceMs, world.calmSinceMs)
  if (wellMs < FOUND_MS) return
  world.fail('the living are not lost', `${agent.name} has been well for ${Math.round(wellMs)} ms and is called lost`)
}

function checkIdentity(world: World, key: string, old: Stored<KubeObject>, object: Stored<KubeObject>): void {
  if (old.metadata.uid !== object.metadata.uid) world.fail('uid stays', `${key} changed its uid in place`)
  if (isTerminating(old) && !isTerminating(object)) world.fail('deletion stays', `${key} is no longer being deleted`)
}

function checkPod(world: World, old: Stored<Pod> | undefined, pod: Stored<Pod> | undefined): void {
  if (pod === undefined) return
  const { name } = pod.metadata
  const before = old?.spec.nodeName
  const { nodeName } = pod.spec
  if (before && nodeName !== before) world.fail('bound once', `pod ${name} moved from ${before} to ${nodeName}`)
  if (old !== undefined && isPodFinished(old) && old.status?.phase !== pod.status?.phase) {
    world.fail('phases go forward', `pod ${name} went from ${old.status?.phase} to ${pod.status?.phase}`)
  }
  if (nodeName && !before) checkRoom(world, pod, nodeName)
  const ip = pod.status?.podIP
  const newlyServing = old === undefined || old.status?.podIP !== ip || !isPodReady(old)
  if (ip !== undefined && isPodReady(pod) && newlyServing) checkAddress(world, pod, ip)
}

function checkAddress(world: World, pod: Stored<Pod>, ip: string): void {
  if (pod.spec.hostNetwork === true || isPodFinished(pod)) return
  for (const other of world.watcher.pods) {
    if (other.metadata.uid === pod.metadata.uid || other.status?.podIP !== ip || other.spec.hostNetwork === true)
      continue
    // A machine that was booted anew gives new addresses: who does not serve yet may still show its old one.
    if (isPodFinished(other) || !isPodReady(other)) continue
    world.fail('addresses are unique', `pods ${pod.metadata.name} and ${other.metadata.name} both have ${ip}`)
  }
}

function requests(pod: Pod, resource: 'cpu' | 'memory'): number {
  let total = 0
  for (const { resources } of pod.spec.containers) {
    const quantity = resources?.requests?.[resource] ?? resources?.limits?.[resource]
    if (quantity !== undefined) total += resource === 'cpu' ? parseCpuMillis(quantity) : parseBytes(quantity)
  }
  return total
}

function hostPorts(pod: Pod): number[] {
  return pod.spec.containers.flatMap(({ ports = [] }) => ports.flatMap(({ hostPort }) => hostPort ?? []))
}

/** At the moment of a binding: everything on the node, with what is ending, must fit. */
function checkRoom(world: World, pod: Stored<Pod>, nodeName: string): void {
  const node = world.watcher.list<Node>('nodes').find(({ metadata }) => metadata.name === nodeName)
  const allocatable = node?.status?.allocatable
  // Of one that was deleted and has come back without having said what it has, nobody knew when the pod was given to it.
  if (node === undefined || allocatable === undefined) return
  const pods = world.watcher.pods.filter((each) => each.spec.nodeName === nodeName && !isPodFinished(each))
  const over = (what: string, used: number, limit: number): void => {
    if (used > limit) {
      world.fail(
        'no node is over-committed',
        `${nodeName} has ${used} of ${limit} ${what} taken by ${pod.metadata.name}`,
      )
    }
  }
  const sum = (resource: 'cpu' | 'memory'): number => pods.reduce((total, each) => total + requests(each, resource), 0)
  over('cpu', sum('cpu'), parseCpuMillis(allocatable.cpu ?? '0'))
  over('memory', sum('memory'), parseBytes(allocatable.memory ?? '0'))
  over('pods', pods.length, Number(allocatable.pods ?? 0))
  const ports = pods.flatMap(hostPorts)
  over('host ports', ports.length, new Set(ports).size)
  const cordonedMs = world.watcher.rollouts.cordonedSinceMs(nodeName)
  if (
    node.spec?.unschedulable === true &&
    cordonedMs !== undefined &&
    !isDaemon(pod) &&
    world.time.nowMs - cordonedMs > CORDON_KNOWN_MS
  ) {
    world.fail('cordons hold', `pod ${pod.metadata.name} was bound to ${nodeName}, which is cordoned`)
  }
}

function checkRanges(world: World): void {
  const seen = new Map<string, string>()
  for (const node of world.watcher.list<Node>('nodes')) {
    const range = node.spec?.podCIDR
    if (range === undefined) continue
    const other = seen.get(range)
    if (other !== undefined) world.fail('ranges are unique', `${other} and ${node.metadata.name} both have ${range}`)
    seen.set(range, node.metadata.name)
  }
}

/** Called when a container has started. */
export function checkContainer(world: World, host: SimHost, { state }: SimContainer): void {
  for (const other of world.agents) {
    for (const running of other.host.running) {
      if (running.state.id === state.id && other.host === host) continue
      if (running.state.podUid !== state.podUid || running.state.name !== state.name) continue
      world.fail(
        'one copy',
        `${state.name} of pod ${state.podUid} runs as ${state.id} on ${host.name} and as ${running.state.id} on ${other.name}`,
      )
    }
  }
}

/** Whether another pod of its kind can take its traffic: the last one keeps it for as long as it answers. */
function hasOthers(world: World, pod: Stored<Pod>): boolean {
  const { app } = pod.metadata.labels ?? {}
  return world.watcher.pods.some(
    (other) =>
      other.metadata.labels?.app === app &&
      !isTerminating(other) &&
      isPodReady(other) &&
      findCondition(other.status?.conditions, POD_CONDITION.routed)?.status !== 'False',
  )
}

/**
 * Called when a container is asked to stop: of a pod that is being deleted in good order, no machine that is well may
 * lead traffic to it any more.
 */
export function checkTraffic(world: World, host: SimHost, { state }: SimContainer): void {
  const pod = world.watcher.podOfUid(state.podUid)
  if (pod === undefined || !isTerminating(pod) || pod.metadata.deletionGracePeriodSeconds === 0) return
  // Half the grace at most is spent on waiting: past it the pod is stopped, come what may.
  const endingMs = world.watcher.endingSinceMs.get(state.podUid) ?? 0
  if (world.time.nowMs - endingMs >= confirmLimitMs(graceMsOf(pod)) - CLOSE_MS) return
  const well = ({ host: each, running, healthySinceMs }: SimAgent): boolean =>
    running && !each.down && world.time.nowMs - Math.max(healthySinceMs, world.calmSinceMs) > WELL_MS
  if (!world.agents.some((agent) => agent.host === host && well(agent))) return
  const services = world.watcher.list<Service>('services')
  for (const agent of world.agents.filter(well)) {
    for (const { namespace, name, ports } of agent.host.services) {
      // Whoever deletes a service gives up its requests: a pod of no service is asked to stop at once.
      if (!services.some(({ metadata }) => metadata.namespace === namespace && metadata.name === name)) continue
      const led = ports.some(({ endpoints }) =>
        endpoints.some(({ ready, address }) => ready && address === pod.status?.podIP),
      )
      if (led && hasOthers(world, pod)) {
        world.fail('leaves traffic first', `${pod.metadata.name} is stopped while ${agent.name} leads ${name} to it`)
      }
    }
  }
}

/** Looked at once a second. */
export function checkPassing(world: World): void {
  for (const agent of world.agents) checkLeftovers(world, agent)
  checkLostNodes(world)
}

/** While all else is well, pods of a machine that is gone are given up. */
function checkLostNodes(world: World): void {
  const { nowMs } = world.time
  const down = world.agents.filter(({ host }) => host.down)
  const others = world.agents.filter(({ host }) => !host.down)
  if (down.length === 0 || down.length * 2 >= world.agents.length) return
  const wellSinceMs = Math.max(world.calmSinceMs, ...others.map(({ healthySinceMs }) => healthySinceMs))
  for (const { name, host } of down) {
    const goneMs = nowMs - Math.max(wellSinceMs, host.downSinceMs)
    const left = world.watcher.pods.find(
      (pod) =>
        pod.spec.nodeName === name &&
        !isPodFinished(pod) &&
        !isDaemon(pod) &&
        !world.watcher.jobs.keepsForItsCount(pod) &&
        goneMs >= LOST_MS + (isExclusive(pod) ? FENCED_MS : 0),
    )
    if (left !== undefined) world.fail('lost nodes are left', `pod ${left.metadata.name} is still bound to ${name}`)
  }
}

function checkLeftovers(world: World, agent: SimAgent): void {
  const { host } = agent
  if (!agent.running || host.down || host.frozen) return
  const sinceMs = Math.max(agent.healthySinceMs, world.calmSinceMs)
  for (const { state } of host.running) {
    const goneMs = world.watcher.goneSinceMs.get(state.podUid)
    if (goneMs === undefined) continue
    const overdueMs = world.time.nowMs - Math.max(goneMs, sinceMs)
    if (overdueMs > LEFTOVER_MS) {
      world.fail(
        'nothing unwanted runs',
        `${state.id} runs on ${host.name} ${Math.round(overdueMs / 1000)} s after its pod went`,
      )
    }
  }
}
