/**
 * Lifecycle hooks: what a container is given to do right after its start and right before its end. They run beside the
 * worker, which is woken when they are over. Source: Kubernetes "Container Lifecycle Hooks".
 *
 * That a postStart hook is over outlives the agent as a mark beside the container's log; without it the hook runs again
 * (at least once, as in Kubernetes). A preStop hook that an agent's death cuts off runs again too.
 */
import { basename, dirname } from 'node:path'
import type { Container, LifecycleHandler, Pod } from '../../api/pod.ts'
import { sleep } from '../../base/clock.ts'
import type { AgentContext } from '../context.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import { NOTE } from './facts.ts'
import type { PodNotes } from './notes.ts'
import { type ProbeTarget, runAction } from './probe_actions.ts'

/** A postStart hook has no bound in Kubernetes; one that takes this long will never end. */
const MAX_POST_START_MS = 3_600_000

export interface HookContext {
  agent: AgentContext
  pod: Pod
  container: Container
  running: ContainerState
  notes: PodNotes
  /** Raised when the worker is no more. */
  lifetime: AbortSignal
  wake(): void
}

type HttpGet = NonNullable<LifecycleHandler['httpGet']>

/** Why it failed; undefined when it did not. */
async function runHook(
  handler: LifecycleHandler,
  { agent, pod, container, running, notes, lifetime }: HookContext,
  timeoutMs: number,
): Promise<string | undefined> {
  if (handler.sleep !== undefined) {
    await sleep(agent.clock, Math.min(timeoutMs, handler.sleep.seconds * 1000), lifetime).catch(() => undefined)
    return undefined
  }
  const target: ProbeTarget = {
    container,
    containerId: running.id,
    podIP: notes.prepared?.podIP ?? (await addressOf(agent, pod)),
    runtime: agent.drivers.runtime,
    clock: agent.clock,
  }
  const deadlineMs = agent.clock.monotonicMs() + timeoutMs
  const { ok, answered, plain, message } = await runAction(handler, target, timeoutMs)
  // Of a request only that it was answered counts, not what the answer says.
  if (ok || answered === true) return undefined
  if (plain !== true || handler.httpGet === undefined) return message
  const leftMs = Math.max(1, deadlineMs - agent.clock.monotonicMs())
  const again = await runAction({ httpGet: withoutTls(handler.httpGet) }, target, leftMs)
  if (again.answered !== true) return message
  const told = `a hook of container ${container.name} by HTTPS met a server without TLS, and was run by HTTP`
  agent.events.record(pod, 'Warning', 'LifecycleHTTPFallback', told)
  return undefined
}

/** As the kubelet falls back, for hooks alone: they once went by HTTP whatever their scheme. What is secret stays out of it. */
function withoutTls(httpGet: HttpGet): HttpGet {
  const httpHeaders = httpGet.httpHeaders?.filter(({ name }) => name.toLowerCase() !== 'authorization')
  return { ...httpGet, scheme: 'HTTP', ...(httpHeaders === undefined ? {} : { httpHeaders }) }
}

/** Of a pod that an earlier agent has made, and that goes before this one has looked at it whole. */
async function addressOf(agent: AgentContext, { metadata, spec }: Pod): Promise<string> {
  if (spec.hostNetwork === true) return agent.nodeAddress
  const interfaces = await agent.drivers.network.listPods().catch(() => [])
  return interfaces.find(({ podUid }) => podUid === metadata.uid)?.address ?? ''
}

const markOf = ({ annotations }: ContainerState): string => `${annotations[NOTE.logPath]}.poststart`

/** Begins the hook, or finds that an earlier agent saw its end. */
export async function beginPostStart(context: HookContext): Promise<void> {
  const { agent, pod, container, running, notes, lifetime, wake } = context
  const handler = container.lifecycle?.postStart
  const { id, name } = running
  if (handler === undefined) return
  const mark = markOf(running)
  if ((await agent.files.list(dirname(mark))).includes(basename(mark))) {
    notes.hooks.set(id, 'done')
    return
  }
  notes.hooks.set(id, 'running')
  const end = async (): Promise<void> => {
    const failure = await runHook(handler, context, MAX_POST_START_MS)
    if (lifetime.aborted || !notes.hooks.has(id)) return
    if (failure === undefined) {
      await agent.files.makeDirectory(mark)
      notes.hooks.set(id, 'done')
    } else {
      agent.events.record(
        pod,
        'Warning',
        'FailedPostStartHook',
        `PostStartHook of container ${name} failed: ${failure}`,
      )
      notes.hooks.set(id, { failed: 'FailedPostStartHook' })
    }
    wake()
  }
  end().catch((error: unknown) => {
    agent.log.warn({ container: id, err: error }, 'the end of a postStart hook could not be noted; it runs again')
    notes.hooks.delete(id)
    wake()
  })
}

/** Begins the hook; it has until the deadline, on the monotonic clock. */
export function beginPreStop(context: HookContext, deadlineMs: number): void {
  const { agent, pod, container, running, notes, lifetime, wake } = context
  const handler = container.lifecycle?.preStop
  const { id, name } = running
  notes.stops.set(id, { deadlineMs, before: handler === undefined ? 'turn' : 'hook' })
  if (handler === undefined) return
  void runHook(handler, context, Math.max(1, deadlineMs - agent.clock.monotonicMs())).then((failure) => {
    if (lifetime.aborted || notes.stops.get(id)?.before !== 'hook') return
    if (failure !== undefined) {
      agent.events.record(pod, 'Warning', 'FailedPreStopHook', `PreStopHook of container ${name} failed: ${failure}`)
    }
    notes.stops.set(id, { deadlineMs, before: 'turn' })
    wake()
  })
}

/** The mark goes with the container. */
export function removeMark(agent: AgentContext, container: ContainerState): Promise<void> {
  return agent.files.remove(markOf(container))
}
