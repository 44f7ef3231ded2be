/**
 * exec with a terminal: conmon makes the pseudo-terminal and serves it on an attach socket of its own. The order matters,
 * or the program's first output is lost:
 *
 *   us                                   conmon
 *   byte on the start pipe        →
 *                                 ←      "listening" on the attach pipe
 *   connect to the attach socket  →
 *   byte on the start pipe        →      runs the OCI runtime
 *                                 ←      pid on the sync pipe, or why not
 *   frames to and fro
 *                                 ←      exit code on the sync pipe
 */

import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { DroverError } from '../../base/errors.ts'
import { start } from '../../base/process.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import { connectAttach } from './attach_client.ts'
import { type ConmonReport, commonArgs, conmonEnvironment, reports, watchStderr } from './conmon.ts'
import { type OciRuntime, refused } from './oci_runtime.ts'
import { killTree } from './procfs.ts'
import { pumpInput, resizeTerminal } from './stream_pump.ts'

export interface TerminalOptions {
  runtime: OciRuntime
  conmon: string
  socketDirectory: string
}

export interface TerminalSession {
  id: string
  directory: string
  processFile: string
  pidFile: string
}

export async function execInTerminal(
  options: TerminalOptions,
  session: TerminalSession,
  stream: FrameStream,
): Promise<{ exitCode: number }> {
  const { directory } = session
  const args = [
    ...commonArgs({ ...options, exitDirectory: directory }, session.id, directory),
    '--exec',
    '--exec-attach',
    `--exec-process-spec=${session.processFile}`,
    `--container-pidfile=${session.pidFile}`,
    '--log-path=off:',
    '--terminal',
    '--stdin',
  ]
  const env = conmonEnvironment({ _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4', _OCI_ATTACHPIPE: '5' })
  const child = start(options.conmon, args, {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    env,
    detached: true,
    // At an OOM kill conmon leaves a file `oom` where it stands.
    cwd: directory,
  })
  const stderr = watchStderr(child)
  // Node's types know five of the six; all are sockets both ways.
  const pipes: readonly unknown[] = child.stdio
  const [sync, startPipe, attachPipe] = [pipes[3] as Readable, pipes[4] as Writable, pipes[5] as Readable]
  for (const pipe of [sync, startPipe, attachPipe]) pipe.on('error', () => undefined)
  const says = reports(sync)
  try {
    startPipe.write('1')
    await Promise.race([expect(reports(attachPipe), () => stderr.text()), stderr.failed])
    const client = await connectAttach(directory)
    try {
      startPipe.write('1')
      const pid = await expect(says, () => stderr.text())
      if (pid.data < 0) return await tellRefusal(pid, stream)
      return await converse({ client, pid: pid.data, says, directory }, stream)
    } finally {
      client.close()
    }
  } finally {
    for (const pipe of [sync, startPipe, attachPipe]) pipe.destroy()
    child.stderr?.destroy()
  }
}

interface Conversation {
  client: Awaited<ReturnType<typeof connectAttach>>
  pid: number
  says: AsyncGenerator<ConmonReport>
  directory: string
}

async function converse({ client, pid, says, directory }: Conversation, stream: FrameStream) {
  const control = join(directory, 'ctl')
  const input = pumpInput(stream, client.input, (width, height) => resizeTerminal(control, width, height))
  // A terminal whose user has gone hangs up, however the stream ended.
  const gone = input.done.then(() => {
    throw new DroverError('cancelled', 'the client has gone')
  })
  gone.catch(() => undefined)
  const output = (async () => {
    for await (const frame of client.output) await stream.send(frame)
  })()
  output.catch(() => undefined)
  try {
    const exit = expect(says, () => '')
    exit.catch(() => undefined)
    const [report] = await Promise.race([Promise.all([exit, output]), gone])
    return { exitCode: report.data < 0 ? 255 : report.data }
  } catch (error) {
    killTree(pid)
    throw error
  } finally {
    input.stop()
  }
}

async function tellRefusal(report: ConmonReport, stream: FrameStream): Promise<{ exitCode: number }> {
  const { exitCode, output } = refused(report.message)
  await stream.send({ channel: CHANNEL.stderr, data: Buffer.from(`${output}\r\n`) })
  return { exitCode }
}

async function expect(says: AsyncGenerator<ConmonReport>, said: () => string): Promise<ConmonReport> {
  const next = await says.next()
  if (next.done === true)
    throw new DroverError('internal', `conmon ended without a report: ${said() || 'it said nothing'}`)
  return next.value
}
