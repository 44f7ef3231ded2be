/** How each step is done. Every executor may be cut off at any point and done again. */
import { basename, dirname, join } from 'node:path'
import { isExclusive } from '../../api/exclusive.ts'
import type { Container, Pod } from '../../api/pod.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { AgentContext } from '../context.ts'
import { rotatedNumbers } from '../logs/log_files.ts'
import { beginFirst, dismissBegun, dismissOrLeave, startBegun } from './begin.ts'
import { isBusy } from './drain.ts'
import { attemptKey, EVICTED, NO_POD_ADDRESS, NOTE, type PodFacts } from './facts.ts'
import { beginPostStart, beginPreStop, type HookContext, removeMark } from './hooks.ts'
import type { PodNotes } from './notes.ts'
import type { StepArguments } from './plan_pod.ts'
import { ensureVolumes, type PodVolumes } from './pod_volumes.ts'
import { prepare } from './prepare.ts'
import { pullImage } from './pull.ts'
import { handlerOf } from './runtime_handler.ts'
import { resolveRequest } from './start_request.ts'
import { signalName } from './stop_signal.ts'

export interface StepContext {
  agent: AgentContext
  facts: PodFacts
  notes: PodNotes
  /** Raised when the agent stops or the pod is no longer to run. */
  signal: AbortSignal
  /** Raised when the worker is no more. */
  lifetime: AbortSignal
  /** Has the worker look again. */
  wake(): void
}

type Executors = { [K in keyof StepArguments]: (step: StepArguments[K], context: StepContext) => Promise<void> }

/** Retries of what failed for reasons outside the pod: from one second, doubling. */
const FIRST_RETRY_MS = 1_000
const MAX_RETRY_MS = 60_000
/** What a container has to end by itself after its signal, however little is left of the grace. As in Kubernetes. */
const LEAST_STOP_MS = 2_000

export function retryDelayMs(failures: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(10, failures - 1))
}

export const EXECUTORS: Executors = {
  async prepare(_step, context) {
    const { agent, notes, signal, wake } = context
    try {
      const pod = podOf(context)
      const handler = await handlerOf(agent, pod)
      await beginFirst(context, pod, handler)
      const prepared = await prepare(agent, pod, handler)
      const interfaceFailed = (error: unknown): void => {
        if (notes.prepared?.connected !== prepared.connected) return
        cannotPrepare(context, error)
        if (!signal.aborted) wake()
      }
      notes.prepared = prepared
      prepared.connected.then(() => {
        if (notes.prepared?.connected !== prepared.connected) return
        notes.preparing = undefined
        // Only now is it known when its token must be renewed.
        if (prepared.due() !== undefined && !signal.aborted) wake()
      }, interfaceFailed)
    } catch (error) {
      cannotPrepare(context, error)
      await dismissOrLeave(context)
    }
  },

  async refreshVolumes(_step, { agent, notes, facts }) {
    const { prepared } = notes
    if (prepared === undefined || facts.pod === undefined) return
    const made = await renewVolumes(agent, facts.pod).catch((error: unknown) => {
      // What is mounted stays as it was when its source goes away, as in Kubernetes.
      const { configRevision } = agent.desired
      if (isCode(error, 'notFound')) return { ...prepared, configRevision, due: () => undefined }
      throw error
    })
    if (notes.prepared === prepared) notes.prepared = { ...prepared, ...made }
  },

  async image({ container, attempt }, context) {
    const pod = podOf(context)
    const { notes, signal, wake, agent } = context
    await pullImage({ agent, pod, container: containerOf(pod, container), attempt, images: notes.images, signal, wake })
  },

  async start({ container: name, attempt, crashes, isInit }, context) {
    const { agent, notes, facts } = context
    const pod = podOf(context)
    const container = containerOf(pod, name)
    const key = attemptKey(name, attempt)
    const { prepared } = notes
    // The interface has failed meanwhile: the plan begins anew.
    if (prepared === undefined) return
    try {
      const request = await resolveRequest({ agent, pod }, container, prepared, { attempt, crashes })
      if (!(await mayStart(context, pod))) return
      const { prerequisites, connected: ready } = prepared
      const { exit } = await startBegun(context, { ...request, prerequisites, ready }, context.signal)
      notes.blocked.delete(key)
      notes.images.delete(key)
      const what = `${isInit ? 'init ' : ''}container ${name}`
      // One whose program could not be started has ended: what comes of that is the next plan's.
      if (exit?.reason === undefined) agent.events.record(pod, 'Normal', 'Started', `Started ${what}`)
      else agent.events.record(pod, 'Warning', 'Failed', `Error: failed to start ${what}: ${exit.message}`)
    } catch (thrown) {
      const error = DroverError.from(thrown)
      if (error.code === 'cancelled') throw error
      // What failed is the interface, which has been told.
      if (notes.prepared !== prepared) return
      const failures = (notes.blocked.get(key)?.failures ?? 0) + 1
      const config = error.code === 'notFound' || error.code === 'invalid'
      const reason = config ? 'CreateContainerConfigError' : 'RunContainerError'
      if (notes.blocked.get(key)?.message !== error.message) {
        agent.events.record(pod, 'Warning', 'Failed', `Error: ${error.message}`)
      }
      notes.blocked.set(key, {
        reason,
        message: error.message,
        retryAtMs: facts.nowMs + retryDelayMs(failures),
        failures,
      })
      // What the container lacked may be the sandbox itself: make sure of it before the next try.
      if (!config) notes.prepared = undefined
    } finally {
      await dismissOrLeave(context)
    }
  },

  async postStart({ id }, context) {
    const hook = hookContext(context, id)
    if (hook !== undefined) await beginPostStart(hook)
  },

  async look({ pid }, { agent, notes, facts }) {
    const atMs = agent.clock.monotonicMs()
    try {
      const connections = (await agent.drivers.network.connections?.(pid)) ?? []
      notes.looked = { atMs, busy: connections.filter(isBusy).length }
    } catch (error) {
      // A pod whose connections cannot be seen is stopped as if it had none.
      agent.log.warn({ pod: facts.uid, err: error }, 'cannot see the connections of a pod that ends')
      notes.looked = { atMs, busy: 0 }
    }
  },

  async preStop({ id, deadlineMs, reason }, context) {
    const hook = hookContext(context, id)
    if (hook === undefined) return
    tellStop(context, id, reason)
    beginPreStop(hook, deadlineMs)
  },

  async signal({ id, signal, deadlineMs, reason }, context) {
    const { agent, notes, facts } = context
    // One with a hook was told of before it.
    if (!notes.stops.has(id)) tellStop(context, id, reason)
    await agent.drivers.runtime.signalContainer(id, signalName(signal))
    notes.stops.set(id, { deadlineMs, notBeforeMs: facts.nowMs + LEAST_STOP_MS })
  },

  async kill({ id }, { agent, notes, facts }) {
    await agent.drivers.runtime.signalContainer(id, 'SIGKILL', true)
    notes.stops.set(id, { deadlineMs: facts.nowMs, killedAtMs: facts.nowMs })
  },

  async remove({ id }, { agent, notes, facts }) {
    const container = facts.containers.find((candidate) => candidate.id === id)
    await agent.drivers.runtime.removeContainer(id)
    notes.stops.delete(id)
    notes.messages.delete(id)
    if (notes.hooks.delete(id) && container !== undefined) await removeMark(agent, container)
    const logPath = container?.annotations[NOTE.logPath]
    if (logPath?.startsWith(agent.logsDir)) await removeLog(agent, logPath)
  },

  async release(_step, { agent, notes, facts }) {
    const { network, volumes } = agent.drivers
    await dismissBegun(notes)
    // What is still being made for it comes to its end first.
    await notes.prepared?.connected.catch(() => undefined)
    await Promise.all([network.removePod(facts.uid), volumes.removePod(facts.uid)])
    if (facts.failed?.reason === EVICTED || facts.pod?.status?.reason === EVICTED) {
      // Or the eviction would leave the disk as full as it was.
      for (const { id } of facts.containers) await agent.drivers.runtime.emptyLayer(id)
    }
    notes.released = true
  },

  async cleanUp(_step, { agent, notes, facts }) {
    const { network, runtime, volumes } = agent.drivers
    await dismissBegun(notes)
    // What is still being made for it comes to its end first, or it would come back after it was removed.
    await notes.prepared?.connected.catch(() => undefined)
    await network.removePod(facts.uid)
    await Promise.all([runtime.removeSandbox(facts.uid), volumes.removePod(facts.uid), removeLogs(agent, facts.uid)])
    agent.fence?.fencer.release(facts.uid)
    notes.prepared = undefined
    notes.cleaned = true
  },

  async reportRemoved(_step, { agent, notes, facts }) {
    notes.removed = true
    const { namespace = '', name = '' } = facts.pod?.metadata ?? {}
    if (facts.pod !== undefined) agent.reporter.removed({ namespace, name, uid: facts.uid })
  },
}

function tellStop({ agent, facts: { pod, containers } }: StepContext, id: string, reason: string): void {
  if (pod === undefined) return
  const name = containers.find((container) => container.id === id)?.name ?? id
  agent.events.record(pod, 'Normal', 'Killing', `Stopping container ${name}: ${reason}`)
}

function hookContext({ agent, facts, notes, lifetime, wake }: StepContext, id: string): HookContext | undefined {
  const { pod, containers } = facts
  const running = containers.find((container) => container.id === id)
  if (pod === undefined || running === undefined) return undefined
  return { agent, pod, container: containerOf(pod, running.name), running, notes, lifetime, wake }
}

function cannotPrepare(context: StepContext, thrown: unknown): void {
  const { agent, notes } = context
  const error = DroverError.from(thrown)
  const known = isCode(error, 'notFound') ? 'FailedMount' : 'FailedCreatePodSandBox'
  const full = isCode(error, 'unavailable') && agent.drivers.network.isFull?.() === true
  const reason = full ? NO_POD_ADDRESS : known
  const failures = notes.preparing?.reason === reason ? notes.preparing.failures + 1 : 1
  const retryAtMs = agent.clock.monotonicMs() + retryDelayMs(failures)
  if (notes.preparing?.message !== error.message) agent.events.record(podOf(context), 'Warning', known, error.message)
  notes.preparing = { reason, message: error.message, retryAtMs, failures }
  notes.prepared = undefined
}

async function renewVolumes(agent: AgentContext, pod: Pod): Promise<PodVolumes> {
  const made = await ensureVolumes(agent, pod)
  await made.written
  return made
}

/** The fencer must know of an exclusive pod before anything of it runs; the right to run is looked at last. */
async function mayStart({ agent: { fence }, signal }: StepContext, pod: Pod): Promise<boolean> {
  if (fence === undefined || !isExclusive(pod)) return true
  await fence.fencer.guard(pod.metadata.uid ?? '', signal)
  return fence.mayRun()
}

function podOf({ facts }: StepContext): Pod {
  if (facts.pod === undefined) throw new DroverError('internal', 'a pod that nobody wants is not started')
  return facts.pod
}

export function containerOf(pod: Pod, name: string): Container {
  const container = [...(pod.spec.initContainers ?? []), ...pod.spec.containers].find((each) => each.name === name)
  if (container === undefined) throw new DroverError('internal', `pod ${pod.metadata.name} has no container ${name}`)
  return container
}

/** With what was rotated of it. */
async function removeLog({ files }: AgentContext, path: string): Promise<void> {
  const directory = dirname(path)
  const numbers = rotatedNumbers(basename(path), await files.list(directory))
  for (const each of [path, ...numbers.map((number) => `${path}.${number}`)]) await files.remove(each)
}

/** By uid alone: of an orphan nothing else may be known. */
async function removeLogs(agent: AgentContext, uid: string): Promise<void> {
  for (const name of await agent.files.list(agent.logsDir)) {
    if (name.endsWith(`_${uid}`)) await agent.files.remove(join(agent.logsDir, name))
  }
}
