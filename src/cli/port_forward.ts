/**
 * `drover port-forward`: ports of this machine that lead into a pod. Each connection is a WebSocket of its own, so that a
 * slow one holds nobody back. Source: Kubernetes port-forward by channels, `v5.channel.k8s.io`.
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { Command } from 'commander'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import type { Service } from '../api/service.ts'
import { DroverError } from '../base/errors.ts'
import { CHANNEL } from '../base/stream.ts'
import { type CliContext, contextOf, type Io, parseTargets, type Target } from './context.ts'
import { podsOf } from './pods_of.ts'
import { resourcePath } from './rest_client.ts'
import { openWebSocket } from './websocket.ts'

const DATA = 0
const ERROR = 1
/** The first message of a channel names its port. */
const PORT_BYTES = 2
/** More than this waits to be sent: the local program is held back. */
const MAX_BUFFERED_BYTES = 1 << 20

interface Ports {
  /** 0: any that is free. */
  local: number
  /** A number, or the name of a port of the pod or service. */
  remote: string
}

export function registerPortForward(program: Command, io: Io): void {
  program
    .command('port-forward')
    .description('make ports of a pod reachable on this machine')
    .argument('<target>', 'POD, or deploy/NAME, svc/NAME, sts/NAME … (its first running pod)')
    .argument('<ports...>', '[LOCAL:]REMOTE; LOCAL left out: the same number; empty: any that is free')
    .option('--address <ip>', 'the local address to listen on', '127.0.0.1')
    .addHelpText(
      'after',
      '\nExamples:\n  drover port-forward deploy/web 8080:80\n  drover port-forward svc/db :5432\n  drover port-forward web-1 8080 9090:metrics',
    )
    .action(async (word: string, words: string[], options: { address: string }, command: Command) => {
      const context = contextOf(io, command)
      try {
        const [target = { kind: podKind, name: word }] = word.includes('/') ? parseTargets([word]) : []
        await forwardPorts(context, target, words.map(parsePorts), options.address)
      } finally {
        context.close()
      }
    })
}

/** `LOCAL:REMOTE`, `:REMOTE` or `REMOTE`. Throws `invalid`. */
export function parsePorts(word: string): Ports {
  const [, given, remote = ''] = /^(?:(\d*):)?([a-z0-9][a-z0-9-]*)$/.exec(word) ?? []
  const number = Number(remote)
  const local = given === undefined ? number : Number(given)
  const bad = /^\d+$/.test(remote) ? number < 1 || number > 65_535 : given === undefined
  if (remote === '' || bad || !(local <= 65_535)) {
    const form =
      'write [LOCAL:]REMOTE with numbers from 1 to 65535; a named remote port needs LOCAL or an empty one, as in :http'
    throw new DroverError('invalid', `ports "${word}": ${form}`)
  }
  return { local, remote }
}

async function forwardPorts(context: CliContext, target: Target, ports: readonly Ports[], address: string) {
  const pods = await podsOf(context, target)
  const pod = pods.find(({ status }) => status?.phase === 'Running') ?? pods[0]
  if (pod === undefined) throw new DroverError('notFound', `no pod for ${target.name}`)
  const service = target.kind.kind === 'Service' ? await serviceOf(context, target) : undefined
  const { namespace, name = '' } = pod.metadata
  const path = `${resourcePath(podKind, namespace, name)}/portforward`
  const servers: Server[] = []
  try {
    for (const { local, remote } of ports) {
      const port = remotePort(pod, service, remote)
      const server = createServer({ allowHalfOpen: true }, (socket) => carry(context, path, port, socket))
      servers.push(server)
      const listening = await listen(server, local, address)
      context.print(`Forwarding from ${address}:${listening} to port ${port} of pod ${name}`)
    }
    await new Promise<void>((resolve) => {
      if (context.io.signal.aborted) resolve()
      context.io.signal.addEventListener('abort', () => resolve(), { once: true })
    })
  } finally {
    for (const server of servers) server.close()
  }
}

function serviceOf(context: CliContext, { kind, name }: Target): Promise<Service> {
  return context.client.call<Service>('GET', resourcePath(kind, context.namespace, name))
}

/** A service's port leads to its target port, as it does for those who connect to the service. */
function remotePort(pod: Pod, service: Service | undefined, remote: string): number {
  const ports = pod.spec.containers.flatMap((container) => container.ports ?? [])
  const byName = (name: string): number | undefined => ports.find((port) => port.name === name)?.containerPort
  let wanted: string | number = remote
  if (service !== undefined) {
    const known = service.spec.ports ?? []
    const found = known.find((port) => port.name === remote || String(port.port) === remote)
    if (found === undefined) {
      const there = known.map((port) => port.port).join(', ')
      throw new DroverError('invalid', `service ${service.metadata.name} has no port ${remote}; it has: ${there}`)
    }
    wanted = found.targetPort ?? found.port
  }
  const port = /^\d+$/.test(String(wanted)) ? Number(wanted) : byName(String(wanted))
  if (port !== undefined) return port
  const names = ports.flatMap(({ name }) => name ?? []).join(', ') || 'none'
  throw new DroverError('invalid', `pod ${pod.metadata.name} has no port named ${wanted}; it names: ${names}`)
}

function listen(server: Server, port: number, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.on('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'it is in use; choose another, or none as in :80' : error.message
      reject(new DroverError('unavailable', `cannot listen on ${address}:${port}: ${why}`, { cause: error }))
    })
    server.listen(port, address, () => {
      const bound = server.address()
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port)
    })
  })
}

/** One connection, to its end. */
function carry(context: CliContext, path: string, port: number, socket: Socket): void {
  const query: [string, string][] = [['ports', String(port)]]
  const remote = openWebSocket(context, path, query, (error) => {
    context.note(`port ${port}: ${error.message}`)
    socket.destroy()
  })
  const named = new Set<number>()
  socket.pause()
  socket.on('error', () => remote.terminate())
  socket.on('end', () => remote.send(Buffer.of(CHANNEL.close, DATA)))
  socket.on('close', () => remote.close())
  remote.on('open', () => socket.resume())
  socket.on('data', (data) => {
    remote.send(Buffer.concat([Buffer.of(DATA), data]), () => {
      if (socket.isPaused() && remote.bufferedAmount < MAX_BUFFERED_BYTES) socket.resume()
    })
    if (remote.bufferedAmount >= MAX_BUFFERED_BYTES) socket.pause()
  })
  remote.on('message', (message: Buffer) => {
    const channel = message[0] ?? ERROR
    const first = !named.has(channel)
    named.add(channel)
    const data = message.subarray(1 + (first ? PORT_BYTES : 0))
    if (data.length === 0) return
    if (channel === ERROR) context.note(data.toString('utf8'))
    else if (!socket.write(data)) {
      remote.pause()
      socket.once('drain', () => remote.resume())
    }
  })
  remote.on('close', () => socket.end())
}
