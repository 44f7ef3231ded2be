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
import type { ContainerState } from './runtime/runtime.ts'

export interface ImageUse {
  images: readonly Image[]
  /** IDs or digests that containers on the node note, and images that pods name. */
  used: ReadonlySet<string>
  /** When each image was last seen in use, by ID; of one never seen, when it was first seen here. */
  lastUsedMs: ReadonlyMap<string, number>
}

/** Images of one repository that were used last stay, for a rollback. */
const KEPT_OF_REPOSITORY = 3

function isUsed({ id, digest, names }: Image, used: ReadonlySet<string>): boolean {
  return [id, digest, ...names].some((name) => name !== '' && used.has(name))
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

/** What containers and wanted pods on this node need. */
export function imagesInUse(containers: readonly ContainerState[], pods: readonly Pod[], images: readonly Image[]) {
  const used = new Set<string>()
  for (const { annotations } of containers) {
    const id = annotations[NOTE.imageId] ?? ''
    if (id === '') continue
    used.add(id)
    // A digest with its repository before it names the same.
    used.add(id.slice(id.lastIndexOf('@') + 1))
  }
  const wanted = pods.flatMap(({ spec }) =>
    [...(spec.initContainers ?? []), ...spec.containers].map(({ image }) => image),
  )
  for (const { names } of images) {
    for (const name of names) if (wanted.some((image) => image !== undefined && sameName(image, name))) used.add(name)
  }
  return used
}

/** Whether a name as people write it can stand for this full one: too much is kept rather than too little. */
function sameName(written: string, full: string): boolean {
  const tagged = /[:@][^/]*$/.test(written) ? written : `${written}:latest`
  return full === tagged || full.endsWith(`/${tagged}`)
}

export interface PruneRequest {
  drivers: Pick<Drivers, 'images' | 'runtime'>
  desired: { pods(): readonly Pod[] }
  log: Logger
}

/** Removes images that have no name; with `all`, every one that nothing here uses. */
export async function pruneImages(
  { drivers, desired, log }: PruneRequest,
  { all }: { all: boolean },
): Promise<{ name: string; sizeBytes: number }[]> {
  const [images, containers] = await Promise.all([drivers.images.list(), drivers.runtime.listContainers()])
  const used = imagesInUse(containers, desired.pods(), images)
  const victims = removable({ images, used, lastUsedMs: new Map() }, { keepForRollback: false })
  return removeImages(
    drivers,
    victims.filter(({ names }) => all || names.length === 0),
    log,
  )
}

export async function removeImages(
  { images }: Pick<Drivers, 'images'>,
  victims: readonly Image[],
  log: Logger,
): Promise<{ name: string; sizeBytes: number }[]> {
  const removed: { name: string; sizeBytes: number }[] = []
  for (const { id, names, sizeBytes } of victims) {
    const name = names[0] ?? id
    try {
      await images.remove(id)
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
