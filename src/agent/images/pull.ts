/**
 * Pulls one image: manifest, configuration, then the layers that are not here yet, a few at a time. Mirrors are asked
 * before the registry itself; what one cannot give the next is asked for.
 */
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { chooseImage, type ImageManifest } from './choose_image.ts'
import { type Endpoint, type EndpointRules, endpointsOf } from './endpoint.ts'
import type { HttpClient } from './http.ts'
import { type NewImage, sha256 } from './image_store.ts'
import type { CredentialsFor, PullProgress, RegistryCredentials } from './images.ts'
import type { Layer, LayerHold, LayerStore } from './layer_store.ts'
import { type ConfigDocument, type Descriptor, type Platform, parseConfig } from './manifest.ts'
import { formatPlatform, runsOn } from './platform.ts'
import { formatReference, type Reference } from './reference.ts'
import { RegistrySession } from './registry_session.ts'
import type { SharedWork } from './shared_work.ts'

export interface PullContext {
  http: HttpClient
  clock: Clock
  random: Random
  log: Logger
  rules: EndpointRules
  layers: LayerStore
  /** Layers under way: images that are pulled at once share those that come from one registry for one account. */
  layerWork: SharedWork<Layer, number>
  machine: Platform
  /** Called for every piece that came over the network. */
  onBytes: (bytes: number) => void
}

export interface PullRequest {
  reference: Reference
  credentials: CredentialsFor
  hold: LayerHold
  signal: AbortSignal
  onProgress: (progress: PullProgress) => void
}

const PARALLEL_LAYERS = 3

export async function pullImage(request: PullRequest, context: PullContext): Promise<NewImage> {
  const endpoints = endpointsOf(request.reference.registry, context.rules)
  for (const [i, endpoint] of endpoints.entries()) {
    try {
      return await pullAsAny(endpoint, request, context)
    } catch (thrown) {
      const error = DroverError.from(thrown)
      if (error.code === 'cancelled' || i === endpoints.length - 1) throw error
      context.log.warn({ mirror: endpoint.host, err: error }, 'mirror failed; asking the next')
    }
  }
  throw new DroverError('internal', `no endpoint for ${formatReference(request.reference)}`)
}

/** With one of the credentials for this host after the other, until one is not refused. */
async function pullAsAny(endpoint: Endpoint, request: PullRequest, context: PullContext): Promise<NewImage> {
  const candidates = request.credentials(endpoint.host, request.reference.repository)
  if (candidates.length === 0) return pullFrom({ endpoint, credentials: undefined }, request, context)
  const refusals: DroverError[] = []
  for (const credentials of candidates) {
    try {
      return await pullFrom({ endpoint, credentials }, request, context)
    } catch (thrown) {
      const error = DroverError.from(thrown)
      // A registry may say that it has not what an account may not see.
      if (error.code !== 'unauthorized' && error.code !== 'notFound') throw error
      refusals.push(error)
    }
  }
  throw refusalOf(refusals)
}

function refusalOf(refusals: readonly DroverError[]): DroverError {
  const [cause] = refusals
  if (cause !== undefined && refusals.length === 1) return cause
  const code = refusals.some((error) => error.code === 'unauthorized') ? 'unauthorized' : 'notFound'
  const words = new Set(refusals.map(({ message }) => message))
  return new DroverError(code, `${[...words].join('; ')} (with each of ${refusals.length} credentials)`, { cause })
}

interface Source {
  endpoint: Endpoint
  credentials: RegistryCredentials | undefined
}

async function pullFrom(source: Source, request: PullRequest, context: PullContext): Promise<NewImage> {
  const { reference, signal, hold } = request
  const { http, clock, random } = context
  const session = (own: AbortSignal) =>
    new RegistrySession({ http, clock, random, ...source, repository: reference.repository, signal: own })
  const main = session(signal)
  const name = formatReference(reference)
  const { manifests, image } = await chooseImage(reference.digest || reference.tag, {
    manifest: (named) => main.manifest(named),
    config: (descriptor) => main.document(descriptor),
    machine: context.machine,
    where: name,
  })
  const config = await main.document(image.config)
  const document = parseConfig(config, name)
  checkConfig(name, { document, image, machine: context.machine })
  for (const diffId of document.diffIds) hold.diffIds.add(diffId)
  await pullLayers({ request, context, session, layers: image.layers, diffIds: document.diffIds })
  const { registry, repository } = reference
  return {
    config,
    manifests,
    names: [name],
    repositoryDigests: manifests.map((bytes) => `${registry}/${repository}@${sha256(bytes)}`),
  }
}

function checkConfig(name: string, found: { document: ConfigDocument; image: ImageManifest; machine: Platform }): void {
  const { document, image, machine } = found
  if (!runsOn(document.platform, machine)) {
    const made = formatPlatform(document.platform)
    throw new DroverError('unsupported', `${name} is made for ${made}; this machine is ${formatPlatform(machine)}`)
  }
  if (document.diffIds.length !== image.layers.length) {
    const counts = `${image.layers.length} layers, its configuration ${document.diffIds.length}`
    throw new DroverError('invalid', `${name}: its manifest names ${counts}`)
  }
}

interface LayersRequest {
  request: PullRequest
  context: PullContext
  session: (signal: AbortSignal) => RegistrySession
  layers: readonly Descriptor[]
  diffIds: readonly string[]
}

async function pullLayers({ request, context, session, layers, diffIds }: LayersRequest): Promise<void> {
  const wanted = new Map<string, Descriptor>()
  for (const [i, layer] of layers.entries()) {
    const diffId = diffIds[i]
    if (diffId !== undefined && context.layers.get(diffId) === undefined) wanted.set(diffId, layer)
  }
  const totalBytes = [...wanted.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  let doneBytes = 0
  let doneLayers = 0
  const tell = () => {
    const message = `${doneLayers} of ${wanted.size} layers`
    request.onProgress({ message, doneBytes, totalBytes })
  }
  tell()
  // The first failure stops the others: nobody wants a part of an image.
  const stop = new AbortController()
  const signal = AbortSignal.any([request.signal, stop.signal])
  const { peer } = session(signal)
  const queue = [...wanted]
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [diffId, descriptor] = next
      let begun = false
      const work = async (own: AbortSignal, notify: (bytes: number) => void): Promise<Layer> => {
        begun = true
        const known = context.layers.get(diffId)
        if (known !== undefined) return known
        const blob = counted(session(own).blob(descriptor), (bytes) => {
          context.onBytes(bytes)
          notify(bytes)
        })
        return context.layers.add(blob, { diffId, signal: own, hold: request.hold })
      }
      // An image may say what it likes of what its layers are: only those that are told the same share the outcome.
      const key = `${peer} ${descriptor.digest} ${descriptor.sizeBytes} ${diffId}`
      const join = (of: string): Promise<Layer> =>
        context.layerWork.join(of, signal, work, (bytes) => {
          doneBytes += bytes
          tell()
        })
      await join(key).catch((error: unknown) => {
        if (begun || DroverError.from(error).code === 'cancelled') throw error
        // Of another repository, which may lack what this one has.
        return join(`${key} ${request.reference.repository}`)
      })
      doneLayers++
      tell()
    }
  }
  const workers = Array.from({ length: PARALLEL_LAYERS }, () =>
    worker().catch((error: unknown) => {
      stop.abort(error)
      throw error
    }),
  )
  const results = await Promise.allSettled(workers)
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [DroverError.from(result.reason)] : []))
  const real = failures.find(({ code }) => code !== 'cancelled') ?? failures[0]
  if (real !== undefined) throw real
}

async function* counted(blob: AsyncIterable<Uint8Array>, notify: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of blob) {
    notify(chunk.length)
    yield chunk
  }
}
