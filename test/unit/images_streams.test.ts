import { expect, it } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { imageImport, imageLoad } from '../../src/agent/streams/images.ts'
import { DroverError } from '../../src/base/errors.ts'
import { CHANNEL, type Frame, type FrameStream } from '../../src/base/stream.ts'

it.each([
  ['load', imageLoad],
  ['import', imageImport],
] as const)('an image %s that gives up half-way leaves the stream to be told why', async (_, work) => {
  let stopped = false
  async function* frames(): AsyncGenerator<Frame> {
    try {
      for (;;) yield { channel: CHANNEL.stdin, data: Buffer.from('no archive') }
    } finally {
      stopped = true
    }
  }
  const refuse = async (archive: AsyncIterable<Uint8Array>): Promise<never> => {
    for await (const bytes of archive) throw new DroverError('invalid', `not a tar archive: ${bytes}`)
    throw new Error('an archive without a byte')
  }
  const images = { load: refuse, importRootfs: refuse }
  const agent = { drivers: { images }, imagesChanged: () => undefined } as unknown as AgentContext
  const stream: FrameStream = { frames: frames(), send: async () => undefined, end: () => undefined }
  const working = work(agent, { reference: 'app:1' }, stream, new AbortController().signal)
  await expect(working).rejects.toThrow('not a tar archive: no archive')
  expect(stopped).toBe(false)
})
