/**
 * exec and attach. The runtime moves the bytes; the last frame is a Status on the error channel, as Kubernetes'
 * remote-command protocol v4 ends. Source: k8s.io/apimachinery/pkg/util/remotecommand.
 */
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { AgentContext } from '../context.ts'
import { findTarget, runningOf } from './find_container.ts'

/** `metav1.Status` of a command's end. */
export function exitStatus(exitCode: number): Record<string, unknown> {
  const base = { kind: 'Status', apiVersion: 'v1', metadata: {} }
  if (exitCode === 0) return { ...base, status: 'Success' }
  return {
    ...base,
    status: 'Failure',
    message: `command terminated with non-zero exit code: exit status ${exitCode}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(exitCode) }] },
  }
}

async function finish(stream: FrameStream, exitCode: number): Promise<void> {
  await stream.send({ channel: CHANNEL.error, data: Buffer.from(JSON.stringify(exitStatus(exitCode)), 'utf8') })
}

export async function execStream(agent: AgentContext, request: unknown, stream: FrameStream): Promise<void> {
  const command = isObject(request) && Array.isArray(request.command) ? request.command.map(String) : []
  if (command.length === 0) throw new DroverError('invalid', 'give a command to run')
  const running = runningOf(await findTarget(agent, request))
  const tty = isObject(request) && request.tty === true
  const { exitCode } = await agent.drivers.runtime.exec(running.id, { args: command, tty }, stream)
  await finish(stream, exitCode)
}

export async function attachStream(agent: AgentContext, request: unknown, stream: FrameStream): Promise<void> {
  const running = runningOf(await findTarget(agent, request))
  await agent.drivers.runtime.attach(running.id, stream)
  await finish(stream, 0)
}
