/**
 * The API server of the harness as a process of its own, for tests that look at what one process weighs and whether it
 * lives: started with an IPC channel, it says where it is, and then answers what it is asked.
 */
import { setFlagsFromString, writeHeapSnapshot } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { KINDS } from '../../src/api/kinds.ts'
import { startHarness } from './apiserver_harness.ts'

export interface ServerPlace {
  port: number
  ca: string
}

export type Question = { ask: 'memory' } | { ask: 'snapshot'; path: string }

export interface Weight {
  rssBytes: number
  heapBytes: number
  externalBytes: number
  objects: number
  /** Of metrics, since it was last asked; they are forgotten before it is weighed. */
  series: number
  /** Its own connection to itself counts twice. */
  sockets: number
}

/** What a store in memory remembers is not the server's own weight. */
const HISTORY_LIMIT = 1_000
/** Of each kind: full soon, so that what still grows then is a leak. */
const RING_EVENTS = 16

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const harness = await startHarness({ historyLimit: HISTORY_LIMIT, ringEvents: RING_EVENTS })
const say = (message: object): void => {
  process.send?.(message)
}
process.on('message', async (question: Question) => {
  const told = await harness.registry.getMetricsAsJSON()
  const series = told.reduce((sum, { values }) => sum + values.length, 0)
  // There are only so many, but they come one by one for as long as requests are new: they would hide a leak.
  harness.registry.resetMetrics()
  collect()
  if (question.ask === 'snapshot') {
    say({ written: writeHeapSnapshot(question.path) })
    return
  }
  const { rss, heapUsed, external } = process.memoryUsage()
  const objects = KINDS.reduce((sum, kind) => sum + harness.resources.list(kind).length, 0)
  const sockets = process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  say({ rssBytes: rss, heapBytes: heapUsed, externalBytes: external, objects, sockets, series } satisfies Weight)
})
process.on('disconnect', () => void harness.stop().finally(() => process.exit(0)))
say({ port: harness.port, ca: harness.ca } satisfies ServerPlace)
