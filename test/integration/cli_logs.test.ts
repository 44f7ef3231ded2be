/** `drover logs` of several containers: a node that is a function, through the real server. */
import { once } from 'node:events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { jobKind } from '../../src/api/job.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { serviceKind } from '../../src/api/service.ts'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { type Harness, startHarness } from '../support/apiserver_harness.ts'
import { runCli } from '../support/cli.ts'
import { eventually } from '../support/eventually.ts'
import { gatewayOf, type NodeCall } from '../support/frame_pair.ts'

type Answer = (call: NodeCall, say: (bytes: Buffer | string) => Promise<void>) => Promise<void>

let harness: Harness
/** By `POD/CONTAINER`. */
const answers = new Map<string, Answer>()

beforeAll(async () => {
  const node = async (call: NodeCall): Promise<void> => {
    const { pod, container } = call.request
    const say = (bytes: Buffer | string): Promise<void> =>
      call.stream.send({ channel: CHANNEL.stdout, data: Buffer.from(bytes) })
    await answers.get(`${pod}/${container}`)?.(call, say)
  }
  harness = await startHarness({ gateway: gatewayOf({ n1: node }) })
})
afterAll(() => harness.stop())
beforeEach(() => answers.clear())

const at = (second: number): string => `2026-01-01T00:00:${String(second).padStart(2, '0')}.000000001Z`

interface PodWish {
  app: string
  containers?: string[]
  inits?: string[]
  annotations?: Record<string, string>
  restartPolicy?: 'Always' | 'OnFailure'
}

async function createPod(
  name: string,
  { app, containers = ['main'], inits = [], annotations = {}, restartPolicy = 'Always' }: PodWish,
) {
  const image = 'x'
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app }, annotations },
    spec: {
      nodeName: 'n1',
      restartPolicy,
      containers: containers.map((each) => ({ name: each, image })),
      initContainers: inits.map((each) => ({ name: each, image })),
    },
  }
  await harness.resources.create(podKind, pod)
  const running = (each: string) => ({
    name: each,
    ready: true,
    restartCount: 0,
    image,
    imageID: image,
    containerID: `runc://${name}-${each}-0`,
    state: { running: { startedAt: at(0) } },
  })
  await harness.resources.modify(podKind, 'default', name, 'status', (found) => ({
    ...found,
    status: {
      phase: 'Running' as const,
      containerStatuses: containers.map(running),
      initContainerStatuses: inits.map(running),
    },
  }))
}

async function logs(...args: string[]): Promise<Buffer> {
  const run = runCli(harness.kubeconfig, ['logs', ...args])
  await run.ended
  return run.stdout()
}

describe('drover logs of several containers', () => {
  it('gives their bytes as they are, wherever the connection cuts them', async () => {
    const text = Buffer.concat([Buffer.from(`${at(1)} naïve €uro 🙂 `), Buffer.from([0xff, 0xc3]), Buffer.from('\n')])
    for (const name of ['bytes-a', 'bytes-b']) await createPod(name, { app: 'bytes' })
    answers.set('bytes-a/main', async (_call, say) => {
      for (const byte of text) await say(Buffer.from([byte]))
    })
    answers.set('bytes-b/main', async (_call, say) => say(`${at(0)} plain\n`))
    const said = await logs('-l', 'app=bytes')
    const line = text.subarray(at(1).length + 1)
    expect(said).toEqual(Buffer.concat([Buffer.from('[bytes-b] plain\n[bytes-a] '), line]))
  })

  it('names the pieces of a line that is too long each by its pod, and loses nothing of it', async () => {
    for (const name of ['long-a', 'long-b']) await createPod(name, { app: 'long' })
    answers.set('long-a/main', async (_call, say) => {
      await say(`${at(1)} `)
      for (let i = 0; i < 1_000; i++) await say('x'.repeat(1_000))
      await say(`\n${at(3)} end\n`)
    })
    answers.set('long-b/main', async (_call, say) => say(`${at(2)} other\n`))
    const lines = (await logs('-l', 'app=long')).toString().trimEnd().split('\n')
    expect(lines.length).toBeGreaterThan(4)
    expect(lines.slice(-2)).toEqual(['[long-b] other', '[long-a] end'])
    const pieces = lines.slice(0, -2)
    for (const piece of pieces) expect(piece).toMatch(/^\[long-a\] x+$/)
    expect(pieces.map((piece) => piece.length - '[long-a] '.length).reduce((a, b) => a + b)).toBe(1_000_000)
  })

  it('takes init containers and sidecars for containers', async () => {
    await createPod('whole', { app: 'whole', containers: ['main', 'other'], inits: ['first'] })
    for (const [index, name] of ['first', 'main', 'other'].entries()) {
      answers.set(`whole/${name}`, async (_call, say) => say(`${at(index)} of ${name}\n`))
    }
    expect((await logs('whole', '--all-containers')).toString()).toBe(
      '[whole/first] of first\n[whole/main] of main\n[whole/other] of other\n',
    )
  })

  it('means the container that the annotation of a pod names, where none is named', async () => {
    const annotations = { 'kubectl.kubernetes.io/default-container': 'app' }
    for (const name of ['meant-a', 'meant-b'])
      await createPod(name, { app: 'meant', containers: ['proxy', 'app'], annotations })
    await createPod('meant-c', {
      app: 'meant',
      containers: ['proxy', 'app'],
      annotations: { 'kubectl.kubernetes.io/default-container': 'nobody' },
    })
    for (const [index, name] of ['meant-a', 'meant-b', 'meant-c'].entries()) {
      for (const container of ['proxy', 'app'])
        answers.set(`${name}/${container}`, async (_call, say) => say(`${at(index)} of ${container}\n`))
    }
    expect((await logs('-l', 'app=meant')).toString()).toBe(
      '[meant-a/app] of app\n[meant-b/app] of app\n[meant-c/proxy] of proxy\n',
    )
    // Also for one pod alone.
    answers.set('meant-a/app', async (_call, say) => say('plain\n'))
    expect((await logs('meant-a')).toString()).toBe('plain\n')
  })
})

type ContainerState = NonNullable<NonNullable<NonNullable<Pod['status']>['containerStatuses']>[number]['state']>

/** What the agent would say of the only container of a pod. */
async function say(
  name: string,
  run: number,
  state: ContainerState,
  phase: 'Running' | 'Succeeded' | 'Failed' = 'Running',
) {
  await harness.resources.modify(podKind, 'default', name, 'status', (found) => ({
    ...found,
    status: {
      phase,
      containerStatuses: [
        {
          name: 'main',
          ready: false,
          restartCount: run,
          image: 'x',
          imageID: 'x',
          containerID: `runc://${name}-main-${run}`,
          state,
        },
      ],
    },
  }))
}

describe('drover logs --follow', () => {
  const running = { running: { startedAt: at(0) } }
  const WAIT = { timeoutMs: 20_000 }

  async function createService(name: string): Promise<void> {
    await harness.resources.create(serviceKind, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'default' },
      spec: { selector: { app: name }, ports: [{ port: 80 }] },
    })
  }

  /** A log that is written meanwhile; each run is a log of its own. */
  function growing(key: string): { write(line: string): void; end(): void; restart(): void; asked: object[] } {
    let run = { lines: [] as string[], ended: false }
    const asked: object[] = []
    answers.set(key, async ({ request, signal }, send) => {
      const own = run
      asked.push(request)
      const { tailLines } = request
      const begin = typeof tailLines === 'number' ? Math.max(0, own.lines.length - tailLines) : 0
      for (let sent = begin; !signal.aborted; ) {
        if (sent < own.lines.length) await send(`${own.lines[sent++]}\n`)
        else if (own.ended) return
        else await sleep(systemClock, 5)
      }
    })
    return {
      asked,
      write: (line) => run.lines.push(line),
      end: () => {
        run.ended = true
      },
      restart: () => {
        run = { lines: [], ended: false }
      },
    }
  }

  async function jobReads(): Promise<number> {
    const metric = await harness.registry.getSingleMetric('apiserver_request_total')?.get()
    const reads = (metric?.values ?? []).filter(({ labels }) => labels.resource === 'jobs' && labels.verb === 'get')
    return reads.reduce((sum, { value }) => sum + value, 0)
  }

  it('goes on with a container that starts again, and with pods that come', async () => {
    await createService('steady')
    await createPod('steady-a', { app: 'steady' })
    const first = growing('steady-a/main')
    first.write(`${at(1)} old`)
    first.write(`${at(2)} one`)
    const follow = runCli(harness.kubeconfig, ['logs', '-f', 'svc/steady', '--tail', '1'])
    const said = (): string[] => follow.stdout().toString().split('\n').slice(0, -1)
    await eventually(() => said().length === 1, WAIT)

    first.end()
    await say('steady-a', 0, { waiting: { reason: 'CrashLoopBackOff' } })
    // Its status comes before the node has the new run's log: nothing of the old one is said again.
    await say('steady-a', 1, running)
    await eventually(() => first.asked.length === 2, WAIT)
    first.restart()
    first.write(`${at(3)} two`)
    await say('steady-a', 2, running)
    await eventually(() => said().length === 2, WAIT)

    const second = growing('steady-b/main')
    second.write(`${at(4)} three`)
    second.write(`${at(5)} four`)
    await createPod('steady-b', { app: 'steady' })
    await eventually(() => said().length === 4, WAIT)
    first.write(`${at(6)} five`)
    await eventually(() => said().length === 5, WAIT)
    expect(said()).toEqual([
      '[steady-a] one',
      '[steady-a] two',
      '[steady-b] three',
      '[steady-b] four',
      '[steady-a] five',
    ])
    expect(first.asked[1]).toMatchObject({ sinceTime: at(2) })
    follow.interrupt()
    await follow.ended
    expect(follow.stderr()).toBe('')
  })

  it('goes on after a connection that broke, with no line lost or said twice', async () => {
    await createPod('broken-a', { app: 'broken' })
    const lines = [1, 2, 2, 2, 3].map((second, index) => `${at(second)} line ${index}\n`)
    let calls = 0
    answers.set('broken-a/main', async ({ signal }, send) => {
      calls++
      // Within the lines of one time, and within a line.
      if (calls === 1) {
        await send(lines.slice(0, 3).join('') + lines[3]?.slice(0, 35))
        throw new DroverError('unavailable', 'the node is away')
      }
      await send(lines.join(''))
      await once(signal, 'abort')
    })
    const follow = runCli(harness.kubeconfig, ['logs', '-f', '-l', 'app=broken'])
    const said = (): string => follow.stdout().toString()
    await eventually(() => said().includes('line 4'), WAIT)
    expect(said()).toBe([0, 1, 2, 3, 4].map((index) => `[broken-a] line ${index}\n`).join(''))
    follow.interrupt()
    await follow.ended
  })

  it('waits for a container that has not begun', async () => {
    await createPod('late-a', { app: 'late' })
    await say('late-a', 0, { waiting: { reason: 'ContainerCreating' } })
    const late = growing('late-a/main')
    late.write(`${at(2)} here`)
    await createPod('late-b', { app: 'late' })
    growing('late-b/main').write(`${at(1)} there`)
    const follow = runCli(harness.kubeconfig, ['logs', '-f', '-l', 'app=late'])
    await eventually(() => follow.stdout().toString() === '[late-b] there\n', WAIT)
    expect(late.asked).toEqual([])
    await say('late-a', 0, running)
    await eventually(() => follow.stdout().toString() === '[late-b] there\n[late-a] here\n', WAIT)
    follow.interrupt()
    await follow.ended
    expect(follow.stderr()).toBe('')
  })

  it('of a job ends with the job, not with one of its pods', async () => {
    await harness.resources.create(jobKind, {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'once', namespace: 'default' },
      spec: {
        manualSelector: true,
        selector: { matchLabels: { app: 'once' } },
        template: {
          metadata: { labels: { app: 'once' } },
          spec: { restartPolicy: 'OnFailure', containers: [{ name: 'main', image: 'x' }] },
        },
      },
    })
    await createPod('once-a', { app: 'once', restartPolicy: 'OnFailure' })
    const log = growing('once-a/main')
    log.write(`${at(1)} failed`)
    const follow = runCli(harness.kubeconfig, ['logs', '-f', 'job/once'])
    await eventually(() => follow.stdout().toString() === '[once-a] failed\n', WAIT)
    const before = await jobReads()
    log.end()
    await say('once-a', 0, { terminated: { exitCode: 1, finishedAt: at(2) } }, 'Failed')
    // It has been asked again since its pod was over, and is not done.
    await eventually(async () => (await jobReads()) > before + 1, WAIT)

    const again = growing('once-b/main')
    again.write(`${at(3)} done`)
    await createPod('once-b', { app: 'once', restartPolicy: 'OnFailure' })
    await eventually(() => follow.stdout().toString() === '[once-a] failed\n[once-b] done\n', WAIT)
    again.end()
    await say('once-b', 0, { terminated: { exitCode: 0, finishedAt: at(4) } }, 'Succeeded')
    await harness.resources.modify(jobKind, 'default', 'once', 'status', (found) => ({
      ...found,
      status: { conditions: [{ type: 'Complete', status: 'True' as const, reason: 'x', message: '' }] },
    }))
    await follow.ended
    expect(follow.stdout().toString()).toBe('[once-a] failed\n[once-b] done\n')
  })

  it('says what is wrong instead of trying for ever', async () => {
    await createPod('wrong-a', { app: 'wrong' })
    await expect(logs('-f', '-l', 'app=wrong', '--tail', 'few')).rejects.toThrow('--tail: "few" is not a whole number')
    await expect(logs('-f', '-l', 'app=wrong', '-c', 'none')).rejects.toThrow('has no container "none"; it has: main')
    await expect(logs('-f', '-l', 'app=nobody')).rejects.toThrow('no pods match')
  })

  it('of one pod ends with its container, its bytes as they are', async () => {
    await createPod('alone', { app: 'alone' })
    answers.set('alone/main', async (_call, send) => send('a\nb'))
    expect((await logs('-f', 'alone')).toString()).toBe('a\nb')
  })
})
