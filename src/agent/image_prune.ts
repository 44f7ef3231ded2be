/**
 * Which images a node can do without. Images of containers that are here, running or not, and of pods that are wanted here
 * always stay; so do the last few of each repository that were used, which a rollback would want back.
 */
import type { Pod } from '../api/pod.ts'
import { DroverError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Drivers } from './context.ts'
import type { Image } from './images/images.ts'
import { NOTE } from './pod/facts.ts'

export interface ImageUse {
  images: readonly Image[]
  /** IDs, and digests that containers on the node note. */
  used: ReadonlySet<string>
  /** When each image was last seen in use, by ID; of one never seen, when it was first seen here. */
  lastUsedMs: ReadonlyMap<string, number>
}

/** Images of one repository that were used last stay, for a rollback. */
const KEPT_OF_REPOSITORY = 3

function isUsed({ id, digest }: Image, used: ReadonlySet<string>): boolean {
  return used.has(id) || used.has(digest)
}

function repositoryOf(name: string): string {
  return name.replace(/@sha256:.*$/, '').replace(/:[^/:]*$/, '')
}

/** Those that may go, the longest unused first. Pure. */
export function removable({ images, used, lastUsedMs }: ImageUse, options: { keepForRollback: boolean }): Image[] {
  const ageOf = (image: Image): number => lastUsedMs.get(image.id) ?? 0
  const unused = images.filter((image) => !isUsed(image, used)).sort((a, b) => ageOf(a) - ageOf(b))
  if (!options.keepForRollback) return unused
  const newestFirst = [...images].sort((a, b) => ageOf(b) - ageOf(a))
  const kept = new Set<string>()
  const counts = new Map<string, number>()
  for (const image of newestFirst) {
    for (const repository of new Set(image.names.map(repositoryOf))) {
      const count = (counts.get(repository) ?? 0) + 1
      counts.set(repository, count)
      if (count <= KEPT_OF_REPOSITORY) kept.add(image.id)
    }
  }
  return unused.filter(({ id }) => !kept.has(id))
}

export interface PruneRequest {
  drivers: Pick<Drivers, 'images' | 'runtime'>
  desired: { pods(): readonly Pod[] }
  log: Logger
}

/**
 * What containers and wanted pods on this node need. Which image a name means the driver says, as it does when a container is
 * started: names have many spellings, and one with a digest is met by an image that was pulled by its tag.
 */
export async function imagesInUse({ drivers, desired }: Omit<PruneRequest, 'log'>): Promise<ReadonlySet<string>> {
  const used = new Set<string>()
  const texts = new Set<string>()
  for (const { annotations } of await drivers.runtime.listContainers()) {
    // A digest with its repository before it names the same.
    const id = (annotations[NOTE.imageId] ?? '').replace(/^.*@/, '')
    if (id === '') continue
    used.add(id)
    texts.add(id)
  }
  for (const { spec } of desired.pods()) {
    for (const { image = '' } of [...(spec.initContainers ?? []), ...spec.containers]) texts.add(image)
  }
  for (const text of texts) {
    const image = await found(drivers, text)
    if (image !== undefined) used.add(image.id)
  }
  return used
}

async function found({ images }: Pick<Drivers, 'images'>, text: string): Promise<Image | undefined> {
  try {
    return await images.find(text)
  } catch (thrown) {
    const error = DroverError.from(thrown)
    // No container starts by a name that is none.
    if (error.code !== 'invalid') throw error
    return undefined
  }
}

/** Removes images that have no name; with `all`, every one that nothing here uses. */
export async function pruneImages(
  request: PruneRequest,
  { all }: { all: boolean },
): Promise<{ name: string; sizeBytes: number }[]> {
  const [images, used] = await Promise.all([request.drivers.images.list(), imagesInUse(request)])
  const victims = removable({ images, used, lastUsedMs: new Map() }, { keepForRollback: false })
  return removeImages(
    request,
    victims.filter(({ names }) => all || names.length === 0),
  )
}

export async function removeImages(
  request: PruneRequest,
  victims: readonly Image[],
): Promise<{ name: string; sizeBytes: number }[]> {
  const { drivers, log } = request
  const removed: { name: string; sizeBytes: number }[] = []
  for (const victim of victims) {
    const { id, names, sizeBytes } = victim
    const name = names[0] ?? id
    // A container may have begun since: until its layers are mounted only its note tells.
    if (isUsed(victim, await imagesInUse(request))) continue
    try {
      await drivers.images.remove(id)
      removed.push({ name, sizeBytes })
    } catch (thrown) {
      // Taken into use meanwhile, or gone: both are well.
      const error = DroverError.from(thrown)
      if (error.code !== 'conflict' && error.code !== 'notFound') throw error
      log.debug({ image: name, err: error }, 'image stays')
    }
  }
  return removed
}
