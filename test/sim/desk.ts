/**
 * Where people meet the cluster: whatever server answers takes what they ask, and what a server has acknowledged is
 * remembered: it must still be so in the end.
 */
import type { KindDefinition } from '../../src/api/kind.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import { DroverError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type { DeleteOptions, Resources } from '../../src/resources/resources.ts'
import { pick } from './latency.ts'
import type { World } from './world.ts'

export const NAMESPACE = 'default'
/** Counts a user's writes of one object. */
export const WRITE = 'sim/write'

/** What a user has asked of one object. */
export interface Intent {
  plural: string
  name: string
  /** Number of the last write that was acknowledged. */
  acknowledged: number
  /** Number of the last write that was sent. */
  sent: number
  /** `maybe`: asked for, and no answer has come. */
  deleted: 'no' | 'maybe' | 'yes'
  /** Of a deployment: its pods may never run twice. */
  exclusive?: boolean
}

export class Desk {
  readonly world: World
  readonly intents = new Map<string, Intent>()
  #made = 0

  constructor(world: World) {
    this.world = world
  }

  /** A number that no other object's name has. */
  number(): number {
    return ++this.#made
  }

  living(plural: string): Intent[] {
    return [...this.intents.values()].filter((intent) => intent.plural === plural && intent.deleted === 'no')
  }

  /** A server that answers, if any does. */
  api(random: Random): Resources | undefined {
    return pick(
      random,
      this.world.servers.flatMap(({ api, process }) => (api === undefined || process?.frozen ? [] : [api])),
    )
  }

  anyApi(): Resources | undefined {
    return this.world.servers.find(({ api, process }) => api !== undefined && !process?.frozen)?.api
  }

  send(what: string, work: Promise<unknown>, done: () => void): void {
    this.world.trace.add(`user: ${what}`)
    work.then(
      () => {
        this.world.trace.add(`user: ${what}: done`)
        done()
      },
      (error: unknown) => {
        const coded = DroverError.from(error)
        this.world.trace.add(`user: ${what}: ${coded.message}`)
        if (coded.code === 'internal' || coded.code === 'invalid')
          this.world.fail('defect', `user: ${what}: ${coded.stack}`)
      },
    )
  }

  create<T extends KubeObject>(kind: KindDefinition<T>, object: T, random: Random): Intent | undefined {
    const api = this.api(random)
    if (api === undefined) return undefined
    const { name = '' } = object.metadata
    const intent: Intent = { plural: kind.plural, name, acknowledged: 0, sent: 1, deleted: 'no' }
    const annotated = {
      ...object,
      metadata: { ...object.metadata, annotations: { ...object.metadata.annotations, [WRITE]: '1' } },
    }
    this.intents.set(`${kind.plural}/${name}`, intent)
    this.send(`create ${kind.plural}/${name}`, api.create(kind, annotated), () => {
      intent.acknowledged = Math.max(intent.acknowledged, 1)
    })
    return intent
  }

  change<T extends KubeObject>(
    kind: KindDefinition<T>,
    intent: Intent,
    change: (object: T) => T,
    random?: Random,
  ): void {
    const api = random === undefined ? this.anyApi() : this.api(random)
    // What was created without an answer may be there all the same.
    if (api?.get(kind, NAMESPACE, intent.name) === undefined) return
    const number = ++intent.sent
    const write = api.modify(kind, NAMESPACE, intent.name, 'main', (object: T) => {
      const { annotations = {} } = object.metadata
      // A write that was delayed may not undo a later one.
      if (Number(annotations[WRITE] ?? 0) > number) return undefined
      const changed = change(object)
      return { ...changed, metadata: { ...changed.metadata, annotations: { ...annotations, [WRITE]: String(number) } } }
    })
    this.send(`change ${intent.plural}/${intent.name} (${number})`, write, () => {
      intent.acknowledged = Math.max(intent.acknowledged, number)
    })
  }

  deleteOne(plural: string, kind: KindDefinition, random: Random, options: DeleteOptions = {}): void {
    const intent = pick(
      random,
      this.living(plural).filter(({ acknowledged }) => acknowledged > 0),
    )
    const api = this.api(random)
    if (intent === undefined || api === undefined) return
    intent.deleted = 'maybe'
    const uid = api.get(kind, NAMESPACE, intent.name)?.metadata.uid
    if (uid !== undefined) this.world.watcher.rollouts.deletedByUsers.add(uid)
    this.send(`delete ${plural}/${intent.name}`, api.delete(kind, NAMESPACE, intent.name, options), () => {
      intent.deleted = 'yes'
    })
  }
}
