/** What else is done with a node's images over streams: sent elsewhere, named, looked at, cleared away. */
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { AgentContext } from '../context.ts'
import { pruneImages } from '../image_prune.ts'
import { credentialsOf, referenceOf, say, tellProgress, textOf } from './images.ts'

export async function imagePush(
  { drivers, clock }: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
): Promise<void> {
  const reference = referenceOf(request)
  const progress = tellProgress(stream, clock)
  const options = { signal, credentials: credentialsOf(request), onProgress: progress.tell }
  const digest = await drivers.images.push(reference, options)
  await progress.told()
  await say(stream, `Pushed ${reference} ${digest}\n`)
}

export async function imageTag(
  { drivers, imagesChanged }: AgentContext,
  request: unknown,
  stream: FrameStream,
): Promise<void> {
  const target = textOf(request, 'target')
  if (target === undefined) throw new DroverError('invalid', 'say what the image is to be called, as in app:2.0')
  const image = await drivers.images.tag(referenceOf(request), target)
  imagesChanged()
  await say(stream, `Tagged ${image.id.slice(7, 19)} ${target}\n`)
}

export async function imageSave({ drivers }: AgentContext, request: unknown, stream: FrameStream): Promise<void> {
  for await (const data of await drivers.images.save(referenceOf(request))) {
    await stream.send({ channel: CHANNEL.stdout, data })
  }
}

export async function imageInspect({ drivers }: AgentContext, request: unknown, stream: FrameStream): Promise<void> {
  const reference = referenceOf(request)
  const image = await drivers.images.find(reference)
  if (image === undefined) throw new DroverError('notFound', `no image "${reference}" on this node`)
  const { layerDirectories, ...known } = image
  await say(stream, JSON.stringify({ ...known, layers: layerDirectories.length }))
}

export async function imagePrune(agent: AgentContext, request: unknown, stream: FrameStream): Promise<void> {
  const all = isObject(request) && request.all === true
  const removed = await pruneImages(agent, { all })
  for (const { name, sizeBytes } of removed) await say(stream, `Removed ${name}, ${(sizeBytes / 1e6).toFixed(1)} MB\n`)
  if (removed.length > 0) agent.imagesChanged()
}
