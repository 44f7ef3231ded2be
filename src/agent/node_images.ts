/** Tells the server which images the node has, when that changes: the scheduler likes nodes that need not pull. */
import type { Node } from '../api/node.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import { type AgentMessage, jsonBytes } from '../rpc/messages.ts'
import type { ImageDriver } from './images/images.ts'

type NodeImages = NonNullable<NonNullable<Node['status']>['images']>

export interface NodeImagesOptions {
  images: ImageDriver
  clock: Clock
  log: Logger
  send(message: AgentMessage): boolean
}

/** As many as Kubernetes reports; the largest, which cost most to pull. */
const MAX_IMAGES = 50
/** Images that come together are told together. */
const GATHER_MS = 1_000

export class NodeImageReporter {
  readonly #options: NodeImagesOptions
  #timer: Timer | undefined
  #lastJson = ''

  constructor(options: NodeImagesOptions) {
    this.#options = options
  }

  /** For Hello. */
  async list(): Promise<NodeImages> {
    const images = await this.#options.images.list()
    const entries = images.map(({ names, sizeBytes }) => ({ names: [...names], sizeBytes }))
    return entries.sort((a, b) => b.sizeBytes - a.sizeBytes).slice(0, MAX_IMAGES)
  }

  changed(): void {
    this.#timer ??= this.#options.clock.schedule(
      GATHER_MS,
      () => {
        this.#timer = undefined
        this.#report().catch((error: unknown) => this.#options.log.warn({ err: error }, 'cannot list images'))
      },
      true,
    )
  }

  async #report(): Promise<void> {
    const status = { images: await this.list() }
    const json = JSON.stringify(status)
    if (json === this.#lastJson) return
    if (this.#options.send({ type: 'nodeStatus', statusJson: jsonBytes(status) })) this.#lastJson = json
  }
}
