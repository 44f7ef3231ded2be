/**
 * From an index to the image that this machine runs. A descriptor need not say its platform (OCI image-spec): when none that
 * does is this machine's, those are looked into, one after another, until a configuration is. What is no image (a
 * signature, a chart) is passed over.
 */
import { DroverError } from '../../base/errors.ts'
import { type Descriptor, type Manifest, type Platform, parseConfig, parseManifest } from './manifest.ts'
import { candidatesFor, noneFor, runsOn } from './platform.ts'

export type ImageManifest = Extract<Manifest, { kind: 'image' }>

export interface ChooseOptions {
  /** By tag or digest. */
  manifest: (name: string) => Promise<Buffer>
  config: (descriptor: Descriptor) => Promise<Buffer>
  machine: Platform
  /** For errors: what it is that has or has not got the image. */
  where: string
}

export interface ChosenImage {
  image: ImageManifest
  /** As they came: the one that was named first, the image's own last. */
  manifests: Buffer[]
}

/** An index may lead to an index, but no honest one goes deep. */
const MAX_INDEX_DEPTH = 3
/** Of one image: each is a question to the registry, and its configuration one more. */
const MAX_MANIFESTS = 32
/** What another candidate may still make good. */
const PASSED_OVER = new Set(['invalid', 'unsupported', 'notFound', 'tooLarge'])

/** Rejects with `notFound` and what there is when nothing is for this machine. */
export function chooseImage(name: string, options: ChooseOptions): Promise<ChosenImage> {
  return new Choosing(options).follow(name, 0)
}

class Choosing {
  readonly #options: ChooseOptions
  #left = MAX_MANIFESTS

  constructor(options: ChooseOptions) {
    this.#options = options
  }

  async follow(name: string, depth: number): Promise<ChosenImage> {
    const { where, machine } = this.#options
    if (depth > MAX_INDEX_DEPTH) throw new DroverError('invalid', `${where}: indexes within indexes`)
    if (this.#left-- === 0)
      throw new DroverError('tooLarge', `${where}: more than ${MAX_MANIFESTS} manifests to look into`)
    const bytes = await this.#options.manifest(name)
    const manifest = parseManifest(bytes, where)
    if (manifest.kind === 'image') return { image: manifest, manifests: [bytes] }
    const { manifests } = manifest
    const candidates = candidatesFor(manifests, machine, where)
    // The only one there is needs no choice: whoever takes it says what is wrong with it.
    const isKnown = candidates[0].platform !== undefined || manifests.length === 1
    const chosen = isKnown
      ? await this.follow(candidates[0].digest, depth + 1)
      : await this.#lookInto(candidates, {
          depth: depth + 1,
          offered: manifests.flatMap(({ platform }) => platform ?? []),
        })
    return { image: chosen.image, manifests: [bytes, ...chosen.manifests] }
  }

  async #lookInto(
    candidates: readonly Descriptor[],
    { depth, offered }: { depth: number; offered: Platform[] },
  ): Promise<ChosenImage> {
    const { config, where, machine } = this.#options
    for (const { digest } of candidates) {
      try {
        const chosen = await this.follow(digest, depth)
        const { platform } = parseConfig(await config(chosen.image.config), where)
        if (runsOn(platform, machine)) return chosen
        offered.push(platform)
      } catch (error) {
        if (!(error instanceof DroverError) || !PASSED_OVER.has(error.code) || this.#left < 0) throw error
      }
    }
    throw noneFor(machine, offered, where)
  }
}
