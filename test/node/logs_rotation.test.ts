/** Logs under real conmon: cut into files while a container writes, and read as one. */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { rotatedPaths } from '../../src/agent/logs/log_files.ts'
import { LogRotation } from '../../src/agent/logs/rotation.ts'
import { NOTE } from '../../src/agent/pod/facts.ts'
import { SharedList } from '../../src/agent/shared_list.ts'
import { streamLogs } from '../../src/agent/streams/logs.ts'
import type { Pod } from '../../src/api/pod.ts'
import { systemClock } from '../../src/base/clock.ts'
import { createLogger, silentLogger } from '../../src/base/log.ts'
import { eventually } from '../support/eventually.ts'
import { framePair } from '../support/frame_pair.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const LINES = 60_000
const signal = new AbortController().signal
let host: RuntimeHost

beforeAll(async () => {
  host = await createRuntimeHost()
})
afterAll(() => host.destroy())

/** Reads what the agent would send. */
async function read(agent: AgentContext, request: object, onData: (text: string) => void = () => undefined) {
  const [near, far] = framePair()
  const sending = streamLogs(
    agent,
    { namespace: 'default', pod: 'p', container: 'main', ...request },
    far,
    signal,
  ).then(
    () => far.end(),
    (error: unknown) => far.end(error),
  )
  let text = ''
  for await (const { data } of near.frames) {
    text += Buffer.from(data).toString()
    onData(text)
  }
  await sending
  return text
}

test('no line is lost or doubled while a log is cut and followed, and bounds hold', async () => {
  const podUid = 'logs'
  const request = host.request(await host.sandbox(podUid), {
    args: ['/bin/sh', '-c', `i=0; while [ $i -lt ${LINES} ]; do echo line $i; i=$((i+1)); done; read x; echo end`],
    stdin: true,
  })
  const { logPath } = request
  await host.driver.startContainer(
    { ...request, annotations: { ...request.annotations, [NOTE.logPath]: logPath } },
    signal,
  )
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', uid: podUid },
    spec: { containers: [{ name: 'main', image: 'x' }] },
  } as Pod
  const containers = new SharedList(() => host.driver.listContainers())
  const agent = {
    nodeName: 'n1',
    clock: systemClock,
    containers,
    desired: { pod: () => pod },
    drivers: { runtime: host.driver },
  } as unknown as AgentContext
  const bounds = { maxFileBytes: 200_000, maxFiles: 100, maxNodeBytes: 1 << 30 }
  const options = {
    clock: systemClock,
    log: silentLogger,
    containers: () => containers.read(),
    reopen: (id: string) => host.driver.reopenLog(id),
  }
  const rotation = new LogRotation({ ...options, bounds })
  let last = ''
  const following = read(agent, { follow: true }, (text) => {
    last = text
  })
  const done = `line ${LINES - 1}\n`
  await eventually(
    async () => {
      await rotation.look()
      return last.endsWith(done)
    },
    { timeoutMs: 60_000 },
  )
  expect((await rotatedPaths(logPath)).length).toBeGreaterThanOrEqual(1)
  const all = Array.from({ length: LINES }, (_, i) => `line ${i}\n`).join('')
  expect(last === all).toBe(true)
  expect((await read(agent, {})) === all).toBe(true)
  // Records are counted, and a line that came in two reads is two of them.
  const tail = await read(agent, { tailLines: LINES / 2 })
  expect(all.endsWith(tail)).toBe(true)
  expect(tail.length / all.length).toBeGreaterThan(0.45)
  expect(tail.length / all.length).toBeLessThan(0.55)

  await new LogRotation({ ...options, bounds: { ...bounds, maxFiles: 2 } }).look()
  expect(await rotatedPaths(logPath)).toEqual([`${logPath}.1`])
  await new LogRotation({ ...options, bounds: { ...bounds, maxNodeBytes: 1 } }).look()
  expect(await rotatedPaths(logPath)).toEqual([])
  await host.driver.signalContainer(request.id, 'SIGKILL')
  await following
  expect(readdirSync(dirname(logPath)).filter((name) => name.startsWith(basename(logPath)))).toEqual([
    basename(logPath),
  ])
  await host.driver.removeContainer(request.id)
  await host.driver.removeSandbox(podUid)
})

test('a log whose monitor was not told to begin a new file comes back into its bounds', async () => {
  const podUid = 'untold'
  const request = host.request(await host.sandbox(podUid), {
    args: ['/bin/sh', '-c', 'i=0; while true; do echo line $i; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.05; done'],
  })
  const { id, logPath } = request
  const annotations = { ...request.annotations, [NOTE.logPath]: logPath }
  await host.driver.startContainer({ ...request, annotations }, signal)
  const bounds = { maxFileBytes: 20_000, maxFiles: 3, maxNodeBytes: 1 << 30 }
  const said: string[] = []
  const told: string[] = []
  let failure: Error | undefined
  const options = {
    clock: systemClock,
    log: createLogger('test', 'info', { write: (line) => said.push(String(JSON.parse(line).msg)) }),
    containers: () => host.driver.listContainers(),
    reopen: async (containerId: string) => {
      if (failure !== undefined) throw failure
      told.push(containerId)
      await host.driver.reopenLog(containerId)
    },
  }
  // Each is of another agent: the one before was killed between the renaming, or the removal of the only file, and the telling.
  const rotation = () => new LogRotation({ ...options, bounds })
  await eventually(() => statSync(logPath).size > 1_000)
  renameSync(logPath, `${logPath}.1`)
  await rotation().look()
  await eventually(() => existsSync(logPath) && statSync(logPath).size > 0)
  const records = [`${logPath}.1`, logPath].flatMap((path) => readFileSync(path, 'utf8').split('\n').filter(Boolean))
  const text = records
    .map((record) => record.replace(/^\S+ stdout P /, '').replace(/^\S+ stdout F (.*)$/, '$1\n'))
    .join('')
  const lines = text.split('\n').slice(0, -1)
  expect(lines).toEqual(lines.map((_, i) => `line ${i}`))
  rmSync(logPath)
  await new LogRotation({ ...options, bounds: { ...bounds, maxFiles: 1 } }).look()
  await eventually(() => existsSync(logPath) && statSync(logPath).size > 0)
  expect(await rotatedPaths(logPath)).toEqual([])

  // One that cannot be told is tried at each look and said once, and then it is told no more than once.
  renameSync(logPath, `${logPath}.1`)
  const lasting = rotation()
  const before = told.length
  failure = new Error('no')
  for (let looks = 0; looks < 3; looks++) await lasting.look()
  expect(said).toEqual(['a log could not be opened anew; tried again soon'])
  failure = undefined
  for (let looks = 0; looks < 3; looks++) await lasting.look()
  expect(told.slice(before)).toEqual([id])
  await eventually(
    async () => {
      await lasting.look()
      return told.length - before >= 6
    },
    { timeoutMs: 30_000 },
  )
  expect((await rotatedPaths(logPath)).length).toBeLessThanOrEqual(bounds.maxFiles - 1)
  expect(said).toHaveLength(1)
  await host.driver.signalContainer(id, 'SIGKILL')
  await eventually(async () => (await host.driver.listContainers(podUid)).every(({ phase }) => phase !== 'running'))
  // Nobody hears it any more, which is no error.
  await host.driver.reopenLog(id)
  await host.driver.removeContainer(id)
  await host.driver.reopenLog(id)
  await host.driver.removeSandbox(podUid)
})
