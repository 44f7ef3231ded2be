/** `drover logs` of several containers: a node that is a function, through the real server. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { type Harness, startHarness } from '../support/apiserver_harness.ts'
import { runCli } from '../support/cli.ts'
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
}

async function createPod(name: string, { app, containers = ['main'], inits = [], annotations = {} }: PodWish) {
  const image = 'x'
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app }, annotations },
    spec: {
      nodeName: 'n1',
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
