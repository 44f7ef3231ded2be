/**
 * The first container of a new pod, begun while the pod is being prepared: its files and its monitor take about as long as that,
 * and need nothing of it but the image. Kept in the worker's notes until the container is started or dismissed.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Pod } from '../../api/pod.ts'
import type { AgentContext } from '../context.ts'
import type { BegunContainer, ContainerHead, ContainerRequest, ContainerState } from '../runtime/runtime.ts'
import { containerHead, containerLog } from './container_spec.ts'
import type { PodFacts } from './facts.ts'
import type { PodNotes } from './notes.ts'

export interface Begun {
  head: ContainerHead
  container: BegunContainer
}

interface BeginContext {
  agent: AgentContext
  facts: PodFacts
  notes: PodNotes
}

/** Begins it where nothing stands against it. What does, and what fails, is told by the steps that come to it in their turn. */
export async function beginFirst(
  { agent, facts, notes }: BeginContext,
  pod: Pod,
  handler: string | undefined,
): Promise<void> {
  const { runtime, images } = agent.drivers
  const [container] = [...(pod.spec.initContainers ?? []), ...pod.spec.containers]
  // What could not be prepared once may not be for long: nothing is begun for it again.
  const isNew = facts.containers.length === 0 && notes.begun === undefined && notes.preparing === undefined
  if (container === undefined || !isNew || facts.fenced === true || pod.spec.hostUsers === false) return
  if (container.imagePullPolicy === 'Always') return
  try {
    const image = await images.find(container.image ?? '')
    if (image === undefined) return
    const head = containerHead(pod, container, {
      ...(handler === undefined ? {} : { handler }),
      image,
      attempt: 0,
      crashes: 0,
      logPath: containerLog(agent.logsDir, pod, container.name, 0),
    })
    const begun = runtime.beginContainer?.(head)
    if (begun !== undefined) notes.begun = { head, container: begun }
  } catch (error) {
    agent.log.debug({ pod: facts.uid, err: error }, 'the first container of the pod was not begun early')
  }
}

/** As the runtime's `startContainer`, with what was begun where it is this one. Either way nothing stays begun. */
export async function startBegun(
  { agent, notes }: Pick<BeginContext, 'agent' | 'notes'>,
  request: ContainerRequest,
  signal: AbortSignal,
): Promise<ContainerState> {
  const { begun } = notes
  if (begun !== undefined && hasHead(request, begun.head)) {
    notes.begun = undefined
    return begun.container.start(request, signal)
  }
  await dismissBegun(notes)
  return agent.drivers.runtime.startContainer(request, signal)
}

export async function dismissBegun(notes: PodNotes): Promise<void> {
  const { begun } = notes
  notes.begun = undefined
  await begun?.container.dismiss()
}

/** What cannot be dismissed is half made to the next look, which has it removed. */
export async function dismissOrLeave({ agent, notes }: Pick<BeginContext, 'agent' | 'notes'>): Promise<void> {
  const pod = notes.begun?.head.podUid
  await dismissBegun(notes).catch((error: unknown) => {
    agent.log.warn({ pod, err: error }, 'a container that was begun could not be dismissed; it goes as half made')
  })
}

function hasHead(request: ContainerRequest, head: ContainerHead): boolean {
  return request.handler === head.handler && isDeepStrictEqual({ ...request, ...head }, request)
}
