/**
 * `drover exec`: a program in a container, over a WebSocket. Exits with the program's exit code.
 * Source: Kubernetes remote command protocol, `v5.channel.k8s.io`.
 */
import type { Command } from 'commander'
import { WebSocket } from 'ws'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { CHANNEL } from '../base/stream.ts'
import { type CliContext, contextOf, type Io, parseTargets } from './context.ts'
import { ExitCode } from './exit_code.ts'
import { containerOf, podsOf } from './pods_of.ts'
import { resourcePath } from './rest_client.ts'

interface ExecOptions {
  container?: string
  stdin?: boolean
  tty?: boolean
}

export function registerExec(program: Command, io: Io): void {
  program
    .command('exec')
    .description('run a program in a container')
    .argument('<pod>', 'POD or deploy/NAME (its first pod)')
    .argument('<command...>', 'the program and its arguments, after --')
    .option('-c, --container <name>', 'which container; default: the first')
    .option('-i, --stdin', 'pass standard input on')
    .option('-t, --tty', 'with a terminal')
    .addHelpText('after', '\nExamples:\n  drover exec web-1 -- ls /\n  drover exec -it deploy/web -- sh')
    .action(async (word: string, program: string[], options: ExecOptions, command: Command) => {
      const context = contextOf(io, command)
      try {
        const target = word.includes('/') ? parseTargets([word])[0] : { kind: podKind, name: word }
        const [pod] = target === undefined ? [] : await podsOf(context, target)
        if (pod === undefined) throw new DroverError('notFound', `no pod for ${word}`)
        const container = containerOf(pod, options.container)
        const path = `${resourcePath(podKind, pod.metadata.namespace, pod.metadata.name)}/exec`
        const args = program[0] === '--' ? program.slice(1) : program
        const code = await execute(context, path, { ...options, container, args })
        if (code !== 0) throw new ExitCode(code)
      } finally {
        context.close()
      }
    })
}

interface Session extends ExecOptions {
  container: string
  args: readonly string[]
}

function openSocket(context: CliContext, path: string, session: Session): WebSocket {
  const url = new URL(context.client.config.server)
  url.protocol = 'wss:'
  url.pathname = `${url.pathname.replace(/\/$/, '')}${path}`
  for (const arg of session.args) url.searchParams.append('command', arg)
  url.searchParams.set('container', session.container)
  url.searchParams.set('stdout', 'true')
  if (session.stdin === true) url.searchParams.set('stdin', 'true')
  url.searchParams.set(session.tty === true ? 'tty' : 'stderr', 'true')
  return new WebSocket(url, ['v5.channel.k8s.io'], {
    ...context.client.tlsOptions(),
    headers: context.client.authorizationHeaders(),
    handshakeTimeout: 30_000,
  })
}

function execute(context: CliContext, path: string, session: Session): Promise<number> {
  const { stdin, stdout, stderr, signal } = context.io
  const socket = openSocket(context, path, session)
  const send = (channel: number, data: Uint8Array): void => socket.send(Buffer.concat([Buffer.from([channel]), data]))
  const raw = session.tty === true && stdin.isTTY === true
  const resize = (): void => {
    send(CHANNEL.resize, Buffer.from(JSON.stringify({ Width: stdout.columns ?? 80, Height: stdout.rows ?? 24 })))
  }
  return new Promise<number>((resolve, reject) => {
    let status: number | undefined
    socket.on('open', () => {
      if (session.tty === true) {
        resize()
        stdout.on('resize', resize)
      }
      if (session.stdin !== true) return
      if (raw) stdin.setRawMode(true)
      stdin.on('data', (data: Buffer) => send(CHANNEL.stdin, data))
      stdin.on('end', () => send(CHANNEL.close, Buffer.from([CHANNEL.stdin])))
    })
    socket.on('message', (message: Buffer) => {
      const data = message.subarray(1)
      if (message[0] === CHANNEL.stdout) stdout.write(data)
      else if (message[0] === CHANNEL.stderr) stderr.write(data)
      else if (message[0] === CHANNEL.error) status = exitCodeOf(data, reject)
    })
    socket.on('unexpected-response', (_request, response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => reject(refusal(Buffer.concat(chunks).toString('utf8'), response.statusCode)))
    })
    socket.on('error', (error) => reject(new DroverError('unavailable', `exec: ${error.message}`, { cause: error })))
    socket.on('close', () =>
      status === undefined
        ? reject(new DroverError('unavailable', 'the connection closed before the program ended'))
        : resolve(status),
    )
    signal.addEventListener('abort', () => socket.terminate(), { once: true })
  }).finally(() => {
    if (raw) stdin.setRawMode(false)
    stdin.removeAllListeners('data').pause()
    stdout.off('resize', resize)
    socket.terminate()
  })
}

function refusal(text: string, statusCode: number | undefined): DroverError {
  try {
    const { message, reason } = JSON.parse(text) as { message?: string; reason?: string }
    return new DroverError(reason === 'NotFound' ? 'notFound' : 'invalid', message ?? text)
  } catch {
    return new DroverError('internal', `exec was refused with HTTP ${statusCode}: ${text.slice(0, 200)}`)
  }
}

interface ExecStatus {
  status: string
  message?: string
  reason?: string
  details?: { causes?: { reason: string; message: string }[] }
}

/** The program's exit code from the final Status; what is no exit is an error. */
function exitCodeOf(data: Buffer, reject: (error: unknown) => void): number | undefined {
  const status = JSON.parse(data.toString('utf8')) as ExecStatus
  if (status.status === 'Success') return 0
  const code = status.details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message
  if (code !== undefined) return Number(code)
  reject(new DroverError('internal', status.message ?? 'the program could not be run'))
  return undefined
}
