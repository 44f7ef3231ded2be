/** The node's check of itself, asked for over a stream; what was found goes to stdout as JSON. */
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { AgentContext } from '../context.ts'
import { checkNode } from '../fsck.ts'

export async function nodeFsck(
  { drivers, clock, care }: AgentContext,
  request: unknown,
  stream: FrameStream,
  signal: AbortSignal,
): Promise<void> {
  if (care === undefined) throw new DroverError('unsupported', 'this agent cannot check its node')
  const repair = isObject(request) && request.repair === true
  const damage = await checkNode({ drivers, clock, care, repair, signal })
  await stream.send({ channel: CHANNEL.stdout, data: Buffer.from(JSON.stringify(damage), 'utf8') })
}
