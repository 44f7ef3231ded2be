/** Image verbs over a stream: archives come on stdin, progress and lists go to stdout. */
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { ImageListEntry } from '../../rpc/tables.ts'
import type { AgentContext } from '../context.ts'
import type { CredentialsFor, PullProgress } from '../images/images.ts'
import { parseReference } from '../images/reference.ts'
import { isRunning, NOTE } from '../pod/facts.ts'

export function textOf(request: unknown, field: string): string | undefined {
  const value = isObject(request) ? request[field] : undefined
  return typeof value === 'string' && value !== '' ? value : undefined
}

export function referenceOf(request: unknown): string {
  const reference = textOf(request, 'reference')
  if (reference === undefined) throw new DroverError('invalid', 'name an image, as in app:1.0')
  return reference
}

export async function say(stream: FrameStream, text: string): Promise<void> {
  await stream.send({ channel: CHANNEL.stdout, data: Buffer.from(text, 'utf8') })
}

/** The archive's bytes, as they come on stdin. Whoever stops reading half-way does not end the stream: it is yet to hear why. */
async function* archiveOf(stream: FrameStream): AsyncGenerator<Uint8Array> {
  const frames = stream.frames[Symbol.asyncIterator]()
  for (let next = await frames.next(); next.done !== true; next = await frames.next()) {
    const { channel, data } = next.value
    if (channel === CHANNEL.stdin && data.length > 0) yield data
  }
}

export async function imageLoad(
  { drivers, imagesChanged }: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
): Promise<void> {
  const images = await drivers.images.load(archiveOf(stream), textOf(request, 'reference'), signal)
  imagesChanged()
  for (const image of images) await say(stream, `Loaded ${image.names.join(', ') || image.id}\n`)
}

export async function imageImport(
  { drivers, imagesChanged }: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
): Promise<void> {
  const reference = referenceOf(request)
  const image = await drivers.images.importRootfs(archiveOf(stream), reference, signal)
  imagesChanged()
  await say(stream, `Imported ${image.names.join(', ') || image.id}\n`)
}

export async function imageList({ drivers }: AgentContext, _request: unknown, stream: FrameStream): Promise<void> {
  const images = await drivers.images.list()
  const entries: ImageListEntry[] = images.map(({ names, digest, id, sizeBytes, createdAt }) => ({
    names: [...names],
    digest: digest || id,
    sizeBytes,
    createdAt,
  }))
  await say(stream, JSON.stringify(entries))
}

export async function imageRemove(
  { drivers, containers, imagesChanged }: AgentContext,
  request: unknown,
  stream: FrameStream,
): Promise<void> {
  const reference = referenceOf(request)
  const image = await drivers.images.find(reference)
  if (image === undefined) throw new DroverError('notFound', `no image "${reference}" on this node`)
  const force = isObject(request) && request.force === true
  if (!force) {
    const ids = new Set([image.id, image.digest].filter((id) => id !== ''))
    const users = (await containers.read()).filter((container) => {
      const used = container.annotations[NOTE.imageId] ?? ''
      return isRunning(container) && [...ids].some((id) => used.endsWith(id))
    })
    const [user] = users
    if (user !== undefined) {
      const pod = `${user.annotations[NOTE.podNamespace]}/${user.annotations[NOTE.podName]}`
      throw new DroverError('conflict', `image "${reference}" is used by pod ${pod}; stop it or use force`)
    }
  }
  await drivers.images.remove(reference)
  imagesChanged()
  await say(stream, `Removed ${reference}\n`)
}

/** Several times a second is enough for eyes, and a layer comes in thousands of pieces. */
const TELL_EVERY_MS = 500

/** Progress as lines. They go out one after the other; the work does not wait for a slow reader. */
export function tellProgress(stream: FrameStream, clock: Clock) {
  let saying = Promise.resolve()
  let toldAtMs = Number.NEGATIVE_INFINITY
  let last = ''
  return {
    tell({ message, doneBytes, totalBytes }: PullProgress): void {
      const nowMs = clock.monotonicMs()
      const same = last === message
      if (same && nowMs - toldAtMs < TELL_EVERY_MS && doneBytes < totalBytes) return
      const bytes = totalBytes > 0 ? `, ${megabytes(doneBytes)} of ${megabytes(totalBytes)} MB` : ''
      const line = `${message}${bytes}\n`
      toldAtMs = nowMs
      last = message
      saying = saying.then(() => say(stream, line)).catch(() => undefined)
    },
    told: () => saying,
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1)

/** A name and password that came with the request, for the registry that its image names: no mirror sees them. */
export function credentialsOf(request: unknown): CredentialsFor {
  const username = textOf(request, 'username')
  const password = textOf(request, 'password')
  if (username === undefined || password === undefined) return () => []
  const { registry } = parseReference(referenceOf(request))
  return (registryHost) => (registryHost === registry ? [{ username, password }] : [])
}

export async function imagePull(
  { drivers, imagesChanged, clock }: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
): Promise<void> {
  const reference = referenceOf(request)
  const progress = tellProgress(stream, clock)
  const image = await drivers.images.pull(reference, {
    signal,
    credentials: credentialsOf(request),
    onProgress: progress.tell,
  })
  imagesChanged()
  await progress.told()
  await say(stream, `Pulled ${image.names[0] ?? reference} ${image.digest || image.id}\n`)
}
