/**
 * Compares what is on the host with what should be there, and mends what differs. The drivers look at their own parts; this
 * file knows which pods somebody looks after. Two looks a moment apart: what is only on its way passes between them.
 * After mending it is looked twice again, so that what is called mended was seen to be. What is being taken down has a worker
 * and shows no more, whether or not it ever ends: what could not be mended is not called so either.
 */
import { type Clock, sleep } from '../base/clock.ts'
import { type Damage, inBoth, placeOf, placesInBoth } from '../base/damage.ts'
import { DroverError } from '../base/errors.ts'
import type { NodeDamage } from '../rpc/tables.ts'
import type { Drivers } from './context.ts'
import { isRunning } from './pod/facts.ts'
import type { ContainerState } from './runtime/runtime.ts'

/** What the check needs to know of those who look after pods. */
export interface PodCare {
  /** Whether a server has said what this node is to run: before that nothing is known to be unwanted. */
  readonly synced: boolean
  /** Pods that have a worker, wanted ones and those that are being taken down. */
  uids(): ReadonlySet<string>
  /** Gives a pod that nobody wants to a worker that takes it down. */
  takeDown(uid: string): void
}

export interface FsckRequest {
  drivers: Drivers
  care: PodCare
  clock: Clock
  repair: boolean
  signal: AbortSignal
}

const BETWEEN_LOOKS_MS = 700
const TAKE_DOWN_TIMEOUT_MS = 30_000
const POLL_MS = 50

export async function checkNode(request: FsckRequest): Promise<NodeDamage[]> {
  const { care, repair } = request
  if (!care.synced) throw new DroverError('unavailable', 'no server has said yet what this node is to run')
  const found = inBoth(...(await lookTwice(request)))
  if (!repair || found.length === 0) return found.map(told)
  const failures = new Map<Damage, string>()
  for (const damage of found) {
    await damage.mend().catch((error: unknown) => {
      failures.set(damage, DroverError.from(error).message)
    })
  }
  const left = placesInBoth(...(await lookTwice(request)))
  return found.map((damage) => {
    const failure = failures.get(damage)
    if (failure === undefined && !left.has(placeOf(damage))) return { ...told(damage), mended: true }
    return { ...told(damage), mended: false, error: failure ?? 'it came back, or mending had no effect' }
  })
}

const told = ({ part, subject, problem }: Damage): NodeDamage => ({ part, subject, problem })

async function lookTwice(request: FsckRequest): Promise<[Damage[], Damage[]]> {
  const first = await look(request)
  if (first.length === 0) return [[], []]
  await sleep(request.clock, BETWEEN_LOOKS_MS, request.signal)
  return [first, await look(request)]
}

async function look(request: FsckRequest): Promise<Damage[]> {
  const { runtime, network, volumes } = request.drivers
  const [containers, sandboxes, interfaces, withVolumes] = await Promise.all([
    runtime.listContainers(),
    runtime.listSandboxes(),
    network.listPods(),
    volumes.listPods(),
  ])
  const known = request.care.uids()
  const running = new Set(containers.filter(isRunning).map(({ podUid }) => podUid))
  const withLinks = sandboxes.flatMap(({ podUid, netNamespacePath }) =>
    netNamespacePath !== undefined && running.has(podUid) && interfaces.some((one) => one.podUid === podUid)
      ? [{ podUid, netNamespacePath }]
      : [],
  )
  return [
    ...orphans(request, known, [
      ...containers.map(({ id, podUid }) => ({ podUid, what: `container ${id}` })),
      ...sandboxes.map(({ podUid }) => ({ podUid, what: 'namespaces' })),
      ...interfaces.map(({ podUid, address }) => ({ podUid, what: `interface with ${address}` })),
      ...withVolumes.map((podUid) => ({ podUid, what: 'volumes' })),
    ]),
    ...doubles(request, containers),
    ...((await runtime.findDamage?.()) ?? []),
    ...((await network.findDamage?.(withLinks, known)) ?? []),
  ]
}

/** One damage a pod: it is taken down as a whole, in the order that is right. */
function orphans(
  { care, clock, signal }: FsckRequest,
  known: ReadonlySet<string>,
  things: readonly { podUid: string; what: string }[],
): Damage[] {
  const byPod = new Map<string, string[]>()
  for (const { podUid, what } of things) {
    if (!known.has(podUid)) byPod.set(podUid, [...(byPod.get(podUid) ?? []), what])
  }
  return [...byPod].map(([podUid, whats]) => ({
    part: 'containers',
    subject: `pod ${podUid}`,
    problem: `nobody wants it, but there is: ${whats.join(', ')}`,
    async mend() {
      care.takeDown(podUid)
      const deadlineMs = clock.monotonicMs() + TAKE_DOWN_TIMEOUT_MS
      while (care.uids().has(podUid)) {
        if (clock.monotonicMs() > deadlineMs)
          throw new DroverError('timeout', `pod ${podUid} is still being taken down`)
        await sleep(clock, POLL_MS, signal)
      }
    },
  }))
}

/** Of two running containers of one name the older stays: it is the one that clients know. */
function doubles({ drivers }: FsckRequest, containers: readonly ContainerState[]): Damage[] {
  const byName = new Map<string, ContainerState[]>()
  for (const container of containers.filter(isRunning)) {
    const key = `${container.podUid}/${container.name}`
    byName.set(key, [...(byName.get(key) ?? []), container])
  }
  return [...byName.values()].flatMap((same) => {
    const [, ...more] = same.sort((a, b) => (a.startedAtMs ?? 0) - (b.startedAtMs ?? 0))
    return more.map(
      ({ id, name, podUid }): Damage => ({
        part: 'containers',
        subject: `container ${id}`,
        problem: `runs beside another "${name}" of pod ${podUid}`,
        mend: () => drivers.runtime.removeContainer(id),
      }),
    )
  })
}
