/**
 * One look at a container: an HTTP request, a gRPC health check, a connection or a program. Never throws; bounded in
 * time and bytes. Hooks use the same actions (hooks.ts).
 */
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import type { Container, Probe } from '../../api/pod.ts'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { hostPort } from '../../base/host_port.ts'
import { isRedirect } from '../../base/redirect.ts'
import { checkHealth } from '../../rpc/health_client.ts'
import type { RuntimeDriver } from '../runtime/runtime.ts'
import type { ProbeResult } from './probes.ts'

export interface ProbeTarget {
  container: Container
  containerId: string
  podIP: string
  runtime: Pick<RuntimeDriver, 'execSync'>
  clock: Clock
}

/** Of an answer's body, for the message. */
const MAX_BODY_BYTES = 1_024
/** Of one probe: the first, and those that redirects lead to. As in Go. */
const MAX_REQUESTS = 10
/** Of a place that an answer names, for the message. */
const MAX_LOCATION_CHARS = 200

export type Action = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'>

export function runProbe(probe: Probe, target: ProbeTarget): Promise<ProbeResult> {
  return runAction(probe, target, (probe.timeoutSeconds ?? 1) * 1000)
}

export async function runAction(action: Action, target: ProbeTarget, timeoutMs: number): Promise<ProbeResult> {
  try {
    if (action.exec !== undefined) return await execProbe(action.exec.command ?? [], target, timeoutMs)
    if (action.httpGet !== undefined) return await httpProbe(action.httpGet, target, timeoutMs)
    if (action.tcpSocket !== undefined) return await tcpProbe(action.tcpSocket, target, timeoutMs)
    if (action.grpc !== undefined) return await grpcProbe(action.grpc, target, timeoutMs)
    return { ok: false, message: 'no action that Drover knows' }
  } catch (error) {
    return { ok: false, message: DroverError.from(error).message, ...(isPlainAnswer(error) ? { plain: true } : {}) }
  }
}

/** A number, or the name of one of the container's ports. */
export function portNumberOf(container: Container, port: number | string): number {
  if (typeof port === 'number') return port
  const named = container.ports?.find(({ name }) => name === port)?.containerPort
  const number = named ?? Number(port)
  if (!Number.isInteger(number)) {
    throw new DroverError('invalid', `container "${container.name}" has no port named "${port}"`)
  }
  return number
}

async function execProbe(command: readonly string[], target: ProbeTarget, timeoutMs: number): Promise<ProbeResult> {
  const { exitCode, output } = await target.runtime.execSync(target.containerId, command, timeoutMs)
  return { ok: exitCode === 0, message: output.trim().slice(0, MAX_BODY_BYTES) || `exit code ${exitCode}` }
}

const NO_NETWORK: ProbeResult = { ok: false, message: 'the pod has no network: use an exec probe' }

/** Where a request goes. */
interface Place {
  secure: boolean
  host: string
  port: number
  /** With its query, as it is sent. */
  path: string
}

interface Asked {
  place: Place
  headers: Readonly<Record<string, string>>
  clock: Clock
  /** Of all redirects, and when that is, on the monotonic clock. */
  timeoutMs: number
  deadlineMs: number
}

interface Answered {
  status: number
  location: string | undefined
}

/**
 * Follows redirects as the kubelet does: to the same host, ten requests in all; one that leads elsewhere is an answer like
 * any other. Source: Kubernetes pkg/probe/http, `RedirectChecker`.
 */
async function httpProbe(
  get: NonNullable<Probe['httpGet']>,
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeResult> {
  const { clock } = target
  const port = portNumberOf(target.container, get.port)
  const headers: Record<string, string> = { 'user-agent': 'drover-probe', accept: '*/*', connection: 'close' }
  for (const { name, value } of get.httpHeaders ?? []) headers[name.toLowerCase()] = value
  const host = get.host || target.podIP
  if (host === '') return NO_NETWORK
  const deadlineMs = clock.monotonicMs() + timeoutMs
  let place: Place = { secure: get.scheme === 'HTTPS', host, port, path: requestPath(get.path ?? '') }
  for (let requests = 1; ; requests++) {
    const { status, location } = await ask({ place, headers, clock, timeoutMs, deadlineMs })
    const next = location === undefined ? undefined : placeOf(location, place)
    if (next === undefined) {
      return { ok: status >= 200 && status < 400, answered: true, message: `HTTP probe got status code ${status}` }
    }
    if (requests === MAX_REQUESTS) throw new DroverError('unavailable', `stopped after ${MAX_REQUESTS} redirects`)
    place = next
  }
}

/**
 * The path as it was written, so that a program sees its dots and escapes; what cannot stand in a request is escaped, and a
 * fragment is not sent. A URL would say `/b` for `/a/../b`.
 */
function requestPath(written: string): string {
  const [, path = '', query = ''] = /^([^?#]*)(\?[^#]*)?/.exec(written) ?? []
  const escaped = path.replace(/[^!$-;=@-Z[\]_a-z~]/gu, encodeURIComponent)
  return `${escaped.startsWith('/') ? '' : '/'}${escaped}${query.replace(/[^!-~]/gu, encodeURIComponent)}`
}

function urlOf({ secure, host, port, path }: Place): string {
  return `${secure ? 'https' : 'http'}://${hostPort(host, port)}${path}`
}

/** Where a redirect leads; undefined: to another host. Throws when it leads nowhere. */
function placeOf(location: string, from: Place): Place | undefined {
  const here = urlOf(from)
  const said = location.slice(0, MAX_LOCATION_CHARS)
  if (!URL.canParse(location, here)) throw new DroverError('invalid', `redirected to "${said}", which is no address`)
  const { protocol, hostname, port, pathname, search } = new URL(location, here)
  if (hostname !== new URL(here).hostname) return undefined
  if (!/^https?:$/.test(protocol)) throw new DroverError('unsupported', `redirected to "${said}", which is not HTTP`)
  const secure = protocol === 'https:'
  return {
    secure,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (secure ? 443 : 80) : Number(port),
    path: `${pathname}${search}`,
  }
}

/** One request; `location` of a redirect. Rejects when there is no answer. */
function ask({ place, headers, clock, timeoutMs, deadlineMs }: Asked): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const { secure, host, port, path } = place
    const options = { host, port, path, headers, agent: false as const }
    const request = secure ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options)
    // The socket's own timeout counts silence only; a server that dribbles must not hold the probe.
    const bound = clock.schedule(
      deadlineMs - clock.monotonicMs(),
      () => {
        reject(new DroverError('timeout', `no answer from ${urlOf(place)} within ${timeoutMs} ms`))
        request.destroy()
      },
      true,
    )
    request.on('response', (response) => {
      bound.cancel()
      const { statusCode: status = 0, headers: said } = response
      resolve({ status, location: isRedirect(status) ? said.location || undefined : undefined })
      response.destroy()
    })
    request.on('error', (error) => {
      bound.cancel()
      reject(error)
    })
    request.end()
  })
}

/** Whether what answered a request over TLS does not speak it. By when it answers, Node says so in the code or the text. */
function isPlainAnswer(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  if (error.code === 'ERR_SSL_WRONG_VERSION_NUMBER') return true
  return error.code === 'EPROTO' && error.message.includes('wrong version number')
}

function grpcProbe(
  { port, service = '' }: NonNullable<Probe['grpc']>,
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeResult> {
  if (target.podIP === '') return Promise.resolve(NO_NETWORK)
  return checkHealth({ host: target.podIP, port, service, timeoutMs, clock: target.clock })
}

function tcpProbe(
  socketProbe: NonNullable<Probe['tcpSocket']>,
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeResult> {
  const port = portNumberOf(target.container, socketProbe.port)
  const host = socketProbe.host || target.podIP
  if (host === '') return Promise.resolve(NO_NETWORK)
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs })
    const done = (result: ProbeResult): void => {
      socket.destroy()
      resolve(result)
    }
    socket.on('connect', () => done({ ok: true, message: 'connected' }))
    socket.on('timeout', () => done({ ok: false, message: `no connection to ${host}:${port} within ${timeoutMs} ms` }))
    socket.on('error', (error) => done({ ok: false, message: error.message }))
  })
}
