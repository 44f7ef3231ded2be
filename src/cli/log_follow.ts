/**
 * Logs that are followed for as long as their pods come and go: a pod that is new is read from its beginning, and so is a
 * container that was started again. Which run of a container a request reads is the node's choice, so what was read is
 * known by its times: a log that is opened again goes on after them. A node's clock that was set back between two runs hides
 * as much of the second. A watch tells when there is something to open; asking again and again was rejected for its load.
 */
import { isPodFinished } from '../api/conditions.ts'
import type { Condition, KubeObject } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { sleep } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { CliContext } from './context.ts'
import { follow } from './follow.ts'
import { type LogLine, within } from './log_merge.ts'
import { type LogQuery, linesOf, type Source } from './log_source.ts'
import { listGroup, type PodGroup } from './pods_of.ts'
import { resourcePath } from './rest_client.ts'

/** A log that ended although its container runs on, as far as we know, is opened again after this. */
const RECHECK_MS = 5_000
const RETRY_MS = 1_000
/** How often is looked whether more pods are to come, while none runs. */
const LOOK_AGAIN_MS = 2_000

export interface FollowOptions {
  groups: readonly PodGroup[]
  /** Of which containers of a pod. */
  choose(pod: Pod): string[]
  /** For what has begun before us. */
  first: Pick<LogQuery, 'tailLines' | 'sinceSeconds'>
  maxSources: number
}

type Log = readonly [Source, AsyncIterable<LogLine>]

/** The pods as they are now, by uid. */
class PodView {
  readonly #pods = new Map<string, Pod>()
  #wake = (): void => undefined
  #changed: Promise<void> = Promise.resolve()
  /** Why it shows nothing new any more. */
  failure: unknown

  constructor() {
    this.wake()
  }

  /** Resolves with the next change. */
  get changed(): Promise<void> {
    return this.#changed
  }

  wake(): void {
    this.#wake()
    this.#changed = new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  fail(error: unknown): void {
    this.failure ??= error
    this.wake()
  }

  all(): Pod[] {
    return [...this.#pods.values()]
  }

  get(uid: string): Pod | undefined {
    return this.#pods.get(uid)
  }

  put(pod: Pod): void {
    this.#pods.set(pod.metadata.uid ?? '', pod)
    this.wake()
  }

  remove(uid: string): void {
    this.#pods.delete(uid)
    this.wake()
  }
}

export class LogFollower {
  readonly #context: CliContext
  readonly #options: FollowOptions
  readonly #view = new PodView()
  /** Containers whose logs have been begun, by `keyOf`. */
  readonly #known = new Set<string>()
  #open = 0
  #tooMany = false

  /** The context's signal ends all of it. */
  constructor(context: CliContext, options: FollowOptions) {
    this.#context = context
    this.#options = options
    context.io.signal.addEventListener('abort', () => this.#view.wake(), { once: true })
  }

  /** The logs there are. Throws `notFound` where there are no pods. */
  async begin(): Promise<ReadonlyMap<Source, AsyncIterable<LogLine>>> {
    const lists = await Promise.all(this.#options.groups.map((group) => listGroup(this.#context, group)))
    const pods = lists.flatMap(({ items }) => items)
    if (pods.length === 0) throw new DroverError('notFound', 'no pods match')
    for (const pod of pods.sort((a, b) => (a.metadata.name ?? '').localeCompare(b.metadata.name ?? ''))) {
      this.#options.choose(pod)
      this.#view.put(pod)
    }
    for (const [index, group] of this.#options.groups.entries()) {
      void this.#watch(group, lists[index]?.metadata.resourceVersion)
    }
    return new Map(this.#logs(this.#options.first))
  }

  /** Those that come later; it ends once no more can come. */
  async *more(): AsyncGenerator<Log> {
    const { clock, signal } = this.#context.io
    while (!signal.aborted) {
      const { changed } = this.#view
      if (this.#view.failure !== undefined) throw this.#view.failure
      yield* this.#logs({})
      const idle = this.#view.all().every(isPodFinished)
      if (idle && (await this.#isComplete())) return
      await (idle ? within(clock, LOOK_AGAIN_MS, changed) : changed)
    }
  }

  async #watch({ path, query }: PodGroup, resourceVersion: string | undefined): Promise<void> {
    try {
      const request = { path, query, accept: 'application/json', resourceVersion }
      for await (const { type, object } of follow<Pod>(this.#context, request)) {
        if (type === 'DELETED') this.#view.remove(object.metadata.uid ?? '')
        else this.#view.put(object)
      }
    } catch (error) {
      this.#view.fail(error)
    }
  }

  /** Of containers that have begun and are not known yet. */
  #logs(first: FollowOptions['first']): Log[] {
    const logs: Log[] = []
    const pods = this.#view.all()
    const seen = new Set<string>()
    for (const pod of pods) {
      for (const container of this.#chosen(pod)) {
        const source = { pod, container }
        const key = keyOf(source)
        seen.add(key)
        if (this.#known.has(key) || runOf(pod, container) === undefined || !this.#hasRoom()) continue
        this.#known.add(key)
        logs.push([source, this.#lines(source, first)])
      }
    }
    for (const key of this.#known) if (!seen.has(key)) this.#known.delete(key)
    return logs
  }

  /** One that has not the container that was asked for has nothing to be followed. */
  #chosen(pod: Pod): string[] {
    try {
      return this.#options.choose(pod)
    } catch {
      return []
    }
  }

  #hasRoom(): boolean {
    const { maxSources } = this.#options
    if (this.#open < maxSources) {
      this.#open++
      return true
    }
    if (!this.#tooMany) this.#context.note(`more than ${maxSources} containers match; the others are left out`)
    this.#tooMany = true
    return false
  }

  async *#lines(source: Source, first: FollowOptions['first']): AsyncGenerator<LogLine> {
    try {
      yield* this.#runs(source, first)
    } finally {
      this.#open--
    }
  }

  /** One run of the container after the other. */
  async *#runs(source: Source, first: FollowOptions['first']): AsyncGenerator<LogLine> {
    const { clock, signal } = this.#context.io
    const { container } = source
    const mark = new ReadMark()
    /** The run that has been read to its end, and when that was. */
    let read: { run: string; atMs: number } | undefined
    /** In a row. */
    let failures = 0
    while (!signal.aborted && this.#view.failure === undefined) {
      const { changed } = this.#view
      const pod = this.#view.get(source.pod.metadata.uid ?? '')
      if (pod === undefined) return
      const run = runOf(pod, container)
      const isRead = run === undefined || run === read?.run
      const leftMs =
        isRead && isRunning(pod, container) ? (read?.atMs ?? 0) + RECHECK_MS - clock.monotonicMs() : undefined
      if (run !== undefined && (!isRead || (leftMs !== undefined && leftMs <= 0))) {
        const from = mark.time !== '' ? { sinceTime: mark.time } : read === undefined ? first : {}
        mark.rewind()
        try {
          for await (const line of linesOf(this.#context, source, { ...from, follow: true })) {
            failures = 0
            if (mark.isNew(line)) yield line
          }
          read = { run, atMs: clock.monotonicMs() }
        } catch (error) {
          await this.#recover(pod, error, ++failures)
        }
        continue
      }
      if (isPodFinished(pod)) return
      await (leftMs === undefined ? changed : within(clock, leftMs, changed))
    }
  }

  /** Waits before the log is opened again, unless what failed it will do so again. */
  async #recover({ metadata }: Pod, thrown: unknown, failures: number): Promise<void> {
    const { clock, signal } = this.#context.io
    if (signal.aborted) return
    const error = DroverError.from(thrown, 'unavailable')
    // It would be the same for all of them.
    if (error.code === 'forbidden' || error.code === 'unauthorized') return this.#view.fail(error)
    // The node may see the container or the pod a moment later than we do.
    if (!error.temporary && error.code !== 'invalid' && error.code !== 'notFound') throw error
    if (error.code === 'notFound') {
      const path = resourcePath(podKind, metadata.namespace, metadata.name)
      const found = await this.#context.client.call<Pod>('GET', path, { signal }).catch(() => undefined)
      // Its deletion may have gone unsaid.
      if (found?.metadata.uid !== metadata.uid) this.#view.remove(metadata.uid ?? '')
    }
    // Once is a matter of a moment, such as a server that is started again.
    if (failures === 2) this.#context.note(`${metadata.name}: ${error.message}; trying again…`)
    await sleep(clock, RETRY_MS, signal).catch(() => undefined)
  }

  /** Whether what was named makes no more pods, once none of them runs. */
  async #isComplete(): Promise<boolean> {
    const pods = this.#view.all()
    const over = await Promise.all(
      this.#options.groups.map(async ({ named }) => {
        if (named === undefined) return pods.length > 0 && pods.every(({ spec }) => spec.restartPolicy !== 'Always')
        try {
          const object = await this.#context.client.call<Named>('GET', named.path, { signal: this.#context.io.signal })
          return named.kind.kind === 'Pod' || (named.kind.kind === 'Job' && isFinished(object))
        } catch (error) {
          return pods.length === 0 && DroverError.from(error).code === 'notFound'
        }
      }),
    )
    return over.every(Boolean)
  }
}

type Named = KubeObject & { status?: { conditions?: Condition[] } }

function isFinished({ status }: Named): boolean {
  return (status?.conditions ?? []).some(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  )
}

const keyOf = ({ pod, container }: Source): string => `${pod.metadata.uid}/${container}`

function statusOf({ status = {} }: Pod, container: string) {
  const all = [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])]
  return all.find(({ name }) => name === container)
}

function isRunning(pod: Pod, container: string): boolean {
  return statusOf(pod, container)?.state?.running !== undefined
}

/** The newest run that has a log; undefined before the first. */
function runOf(pod: Pod, container: string): string | undefined {
  const status = statusOf(pod, container)
  const { running, terminated } = status?.state ?? {}
  return running !== undefined || terminated !== undefined
    ? (status?.containerID ?? '')
    : status?.lastState?.terminated?.containerID
}

/** Up to where a log has been read. Many lines may have one time. */
export class ReadMark {
  /** Of the last line that had one. */
  time = ''
  /** Lines of that time. */
  #count = 0
  /** Of those, how many are still to come again. */
  #again = 0

  /** What follows is read from that time on. */
  rewind(): void {
    this.#again = this.#count
  }

  isNew({ time }: LogLine): boolean {
    if (time === '') return true
    if (time < this.time) return false
    if (time === this.time && this.#again > 0) {
      this.#again--
      return false
    }
    this.#count = time === this.time ? this.#count + 1 : 1
    this.#again = 0
    this.time = time
    return true
  }
}
