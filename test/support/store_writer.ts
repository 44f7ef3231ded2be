/**
 * A process that writes to etcd through the store until it is killed, and says what was acknowledged: a line
 * `A FACT KEY REVISION` each, written before the next thing is done, so that what it said outlives it. Started with an
 * IPC channel, it says that it is loaded and waits for its task: who kills many has the next one ready.
 *
 * Facts: `put VALUE`, each value only ever sent once; `delete KEY`, each key only ever deleted once.
 */
import { once } from 'node:events'
import { openSync, writeSync } from 'node:fs'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import type { Store, Write } from '../../src/store/store.ts'

export interface WriterTask {
  endpoint: string
  writerId: string
  /** Names this life of it: in each value and key. */
  run: string
  /** Where it says what it has done. */
  output: string
  /** `write`: so many at once, with keys of their own. `lead`: while it leads, fenced writes of one key with its term. */
  mode: { type: 'write'; atOnce: number } | { type: 'lead' }
}

process.on('disconnect', () => process.exit(0))
process.send?.('loaded')
const [task] = (await once(process, 'message')) as [WriterTask]
const output = openSync(task.output, 'a')

function say(...words: (string | number)[]): void {
  writeSync(output, `${words.join('\t')}\n`)
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? 'unknown'
}

/** A swap of its own key, one that must not be there, a deletion of that by revision, a plain put; and so on. */
async function writeOn(store: Store, run: string, writer: number): Promise<void> {
  let swapped = 0
  let created: { key: string; modRevision: number } | undefined
  for (let i = 0; ; i++) {
    const own = `/proof/${run}/${writer}`
    const value = `${run}#${writer}#${i}`
    const step = i % 4
    if (step === 2 && created === undefined) continue
    const write: Write =
      step === 2 && created !== undefined
        ? { type: 'delete', key: created.key, expect: { modRevision: created.modRevision } }
        : step === 0
          ? { type: 'put', key: `${own}/swapped`, value, expect: { modRevision: swapped } }
          : step === 1
            ? { type: 'put', key: `${own}/${i}`, value, expect: { modRevision: 0 } }
            : { type: 'put', key: `${own}/last`, value }
    const fact = write.type === 'delete' ? `delete ${write.key}` : `put ${value}`
    created = undefined
    try {
      const outcome = await store.write(write)
      const isMine = write.type === 'put' || (outcome.ok && outcome.previous?.modRevision === write.expect?.modRevision)
      if (!outcome.ok || !isMine) {
        say('C', fact, write.key, JSON.stringify(outcome))
        process.exit(1)
      }
      say('A', fact, write.key, outcome.revision)
      if (step === 0) swapped = outcome.revision
      if (step === 1) created = { key: write.key, modRevision: outcome.revision }
    } catch (error) {
      // Refused for certain, or unknown: a compare-and-swap must then look before it goes on.
      say('E', fact, codeOf(error))
      if (step === 0) swapped = (await store.get(write.key))?.modRevision ?? 0
    }
  }
}

async function lead(store: Store, run: string): Promise<void> {
  for (;;) {
    const election = await store.campaign('/proof-leader', run, new AbortController().signal)
    const { fence } = election
    say('L', fence.createRevision)
    for (let i = 0; !election.lost.aborted; i++) {
      const value = `${fence.createRevision} ${run} ${i}`
      try {
        const outcome = await store.write({ type: 'put', key: '/proof-led', value }, fence)
        say('A', `put ${value}`, '/proof-led', outcome.revision)
      } catch (error) {
        say('E', `put ${value}`, codeOf(error))
        break
      }
    }
    await election.resign().catch(() => undefined)
  }
}

const environment = { clock: systemClock, random: systemRandom, log: silentLogger }
const { endpoint, writerId, run, mode } = task
const store = await createEtcdStore({ ...environment, endpoints: [endpoint], writerId, electionTtlSeconds: 1 })
if (mode.type === 'lead') await lead(store, run)
else await Promise.all(Array.from({ length: mode.atOnce }, (_, writer) => writeOn(store, run, writer)))
