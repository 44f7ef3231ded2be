/**
 * `drover exec`: a program in a container, over a WebSocket. Exits with the program's exit code.
 * Source: Kubernetes remote command protocol, `v5.channel.k8s.io`.
 */
import type { Command } from 'commander'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import { CHANNEL } from '../base/stream.ts'
import { type CliContext, contextOf, type Io, parseTargets } from './context.ts'
import { ExitCode } from './exit_code.ts'
import { containerOf, podsOf } from './pods_of.ts'
import { resourcePath } from './rest_client.ts'
import { openWebSocket } from './websocket.ts'

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
    .option('-c, --container <name>', "which container; default: the one that the pod's annotation names, or the first")
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

function queryOf({ args, container, stdin, tty }: Session): [string, string][] {
  return [
    ...args.map((arg): [string, string] => ['command', arg]),
    ['container', container],
    ['stdout', 'true'],
    ...(stdin === true ? [['stdin', 'true'] as [string, string]] : []),
    [tty === true ? 'tty' : 'stderr', 'true'],
  ]
}

function execute(context: CliContext, path: string, session: Session): Promise<number> {
  const { stdin, stdout, stderr, signal } = context.io
  let refuse: (error: DroverError) => void = () => undefined
  const socket = openWebSocket(context, path, queryOf(session), (error) => refuse(error))
  const send = (channel: number, data: Uint8Array): void => socket.send(Buffer.concat([Buffer.from([channel]), data]))
  const raw = session.tty === true && stdin.isTTY === true
  const resize = (): void => {
    send(CHANNEL.resize, Buffer.from(JSON.stringify({ Width: stdout.columns ?? 80, Height: stdout.rows ?? 24 })))
  }
  return new Promise<number>((resolve, reject) => {
    let status: number | undefined
    refuse = reject
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
