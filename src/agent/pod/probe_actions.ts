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
const MAX_REDIRECTS = 10
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

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
    return { ok: false, message: DroverError.from(error).message }
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

interface Asked {
  url: URL
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
 * Follows redirects as the kubelet does: to the same host, ten times; one that leads elsewhere is an answer like any other.
 * Source: Kubernetes pkg/probe/http, `RedirectChecker`.
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
  const path = get.path?.startsWith('/') ? get.path : `/${get.path ?? ''}`
  const deadlineMs = clock.monotonicMs() + timeoutMs
  let url = new URL(`${(get.scheme ?? 'HTTP').toLowerCase()}://${host}:${port}${path}`)
  const { hostname } = url
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const { status, location } = await ask({ url, headers, clock, timeoutMs, deadlineMs })
    const next = location !== undefined && URL.canParse(location, url.href) ? new URL(location, url) : undefined
    if (next?.hostname !== hostname || !/^https?:$/.test(next.protocol)) {
      return { ok: status >= 200 && status < 400, answered: true, message: `HTTP probe got status code ${status}` }
    }
    url = next
  }
  return { ok: false, answered: true, message: `stopped after ${MAX_REDIRECTS} redirects` }
}

/** One request; `location` of a redirect. Rejects when there is no answer. */
function ask({ url, headers, clock, timeoutMs, deadlineMs }: Asked): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const options = { headers, agent: false as const }
    const request =
      url.protocol === 'https:'
        ? httpsRequest(url, { ...options, rejectUnauthorized: false })
        : httpRequest(url, options)
    // The socket's own timeout counts silence only; a server that dribbles must not hold the probe.
    const bound = clock.schedule(
      deadlineMs - clock.monotonicMs(),
      () => {
        reject(new DroverError('timeout', `no answer from ${url.href} within ${timeoutMs} ms`))
        request.destroy()
      },
      true,
    )
    request.on('response', (response) => {
      bound.cancel()
      const { statusCode: status = 0, headers: said } = response
      resolve({ status, location: REDIRECTS.has(status) ? said.location : undefined })
      response.destroy()
    })
    request.on('error', (error) => {
      bound.cancel()
      reject(error)
    })
    request.end()
  })
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
