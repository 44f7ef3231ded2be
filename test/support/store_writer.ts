/**
 * A process that writes to etcd through the store until it is killed, and says what was acknowledged: a line
 * `A VALUE KEY REVISION` each, written before the next thing is done, so that what it said outlives it.
 *
 *   store_writer ENDPOINT WRITER_ID RUN          24 writers with keys of their own
 *   store_writer ENDPOINT WRITER_ID RUN lead     campaigns; while it leads, fenced writes of one key with its term
 */
import { writeSync } from 'node:fs'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import type { Store, Write } from '../../src/store/store.ts'

const WRITERS = 24
const [, , endpoint = '', writerId = '', run = '', mode] = process.argv

function say(line: string): void {
  writeSync(1, `${line}\n`)
}

async function writeOn(store: Store, writer: number): Promise<void> {
  let modRevision = 0
  for (let i = 0; ; i++) {
    const value = `${run}#${writer}#${i}`
    const isSwap = i % 3 === 0
    const key = isSwap ? `/proof/${run}/${writer}/swapped` : `/proof/${run}/${writer}/${i}`
    const write: Write = { type: 'put', key, value, expect: { modRevision: isSwap ? modRevision : 0 } }
    try {
      const outcome = await store.write(write)
      if (!outcome.ok) {
        say(`C ${value} ${key} ${outcome.current?.value ?? ''}`)
        process.exit(1)
      }
      say(`A ${value} ${key} ${outcome.revision}`)
      if (isSwap) modRevision = outcome.revision
    } catch (error) {
      // Refused for certain, or unknown: a compare-and-swap must then look before it goes on.
      say(`E ${value} ${(error as { code?: string }).code ?? 'unknown'}`)
      if (isSwap) modRevision = (await store.get(key))?.modRevision ?? 0
    }
  }
}

async function lead(store: Store): Promise<void> {
  for (;;) {
    const election = await store.campaign('/proof-leader', run, new AbortController().signal)
    const { fence } = election
    say(`L ${fence.createRevision}`)
    for (let i = 0; !election.lost.aborted; i++) {
      const value = `${fence.createRevision} ${run} ${i}`
      try {
        const outcome = await store.write({ type: 'put', key: '/proof-led', value }, fence)
        say(`A ${value.replaceAll(' ', '#')} /proof-led ${outcome.revision}`)
      } catch (error) {
        say(`E ${value} ${(error as { code?: string }).code ?? 'unknown'}`)
        break
      }
    }
    await election.resign().catch(() => undefined)
  }
}

const environment = { clock: systemClock, random: systemRandom, log: silentLogger }
const store = await createEtcdStore({ ...environment, endpoints: [endpoint], writerId, electionTtlSeconds: 1 })
say('R')
if (mode === 'lead') await lead(store)
else await Promise.all(Array.from({ length: WRITERS }, (_, writer) => writeOn(store, writer)))
