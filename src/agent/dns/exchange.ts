/**
 * One question to one server over UDP, and over TCP when the answer did not fit. Each question has a socket of its own,
 * so its port is the kernel's random choice and only that server can answer it (RFC 5452 §4.5, §9.2).
 */
import { createSocket } from 'node:dgram'
import { connect, isIPv6 } from 'node:net'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { type Random, randomInt } from '../../base/random.ts'
import { parseResponse, type Query, queryBytes, type Response } from './query.ts'
import type { UpstreamAddress } from './resolv_conf.ts'
import { RCODE } from './wire.ts'

export interface ExchangeOptions {
  clock: Clock
  random: Random
  timeoutMs: number
}

const NEEDS_NO_EDNS: ReadonlySet<number> = new Set([RCODE.formErr, RCODE.notImp])

/** Rejects with `timeout` or `unavailable`. All that it does together is bounded by `timeoutMs`. */
export async function exchange(
  server: UpstreamAddress,
  { name, type }: { name: string; type: number },
  options: ExchangeOptions,
): Promise<Response> {
  const { clock, random, timeoutMs } = options
  const deadlineMs = clock.monotonicMs() + timeoutMs
  const attempt = (ask: typeof overUdp, withEdns: boolean): Promise<Response> => {
    const query = { id: randomInt(random, 0x10000), name, type }
    const packet = queryBytes(query, withEdns)
    if (packet === undefined) throw new DroverError('invalid', `${name} is no name`)
    return ask(server, { query, packet, clock, timeoutMs: deadlineMs - clock.monotonicMs() })
  }
  let withEdns = true
  let response = await attempt(overUdp, withEdns)
  if (NEEDS_NO_EDNS.has(response.answer.rcode)) {
    withEdns = false
    response = await attempt(overUdp, withEdns)
  }
  return response.truncated ? attempt(overTcp, withEdns) : response
}

interface Attempt {
  query: Query
  packet: Buffer
  clock: Clock
  timeoutMs: number
}

function overUdp(server: UpstreamAddress, { query, packet, clock, timeoutMs }: Attempt): Promise<Response> {
  return new Promise((resolve, reject) => {
    const family = isIPv6(server.address) || server.address.includes('%') ? 'udp6' : 'udp4'
    const socket = createSocket(family)
    const finish = (settle: () => void): void => {
      timer.cancel()
      socket.removeAllListeners('message')
      socket.close()
      settle()
    }
    let done = false
    const once = (settle: () => void): void => {
      if (done) return
      done = true
      finish(settle)
    }
    const timer = clock.schedule(timeoutMs, () =>
      once(() => reject(new DroverError('timeout', `${server.address} did not answer`))),
    )
    const fail = (error: Error): void =>
      once(() => reject(new DroverError('unavailable', `${server.address}: ${error.message}`, { cause: error })))
    socket.on('error', fail)
    socket.on('message', (message) => {
      const response = parseResponse(message, query)
      if (response !== undefined) once(() => resolve(response))
    })
    socket.connect(server.port, server.address, (error?: Error) => {
      if (done) return
      if (error) fail(error)
      else socket.send(packet, (failed) => failed && fail(failed))
    })
  })
}

function overTcp(server: UpstreamAddress, { query, packet, clock, timeoutMs }: Attempt): Promise<Response> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.address, port: server.port })
    const fail = (code: 'timeout' | 'unavailable', message: string): void => {
      timer.cancel()
      socket.destroy()
      reject(new DroverError(code, `${server.address} over TCP: ${message}`))
    }
    const timer = clock.schedule(timeoutMs, () => fail('timeout', 'no answer'))
    socket.on('error', (error) => fail('unavailable', error.message))
    socket.on('end', () => fail('unavailable', 'closed before it answered'))
    const prefix = Buffer.from([packet.length >> 8, packet.length & 0xff])
    socket.write(Buffer.concat([prefix, packet]))
    // One answer, which its length bounds to 64 KiB.
    let received = Buffer.alloc(0)
    socket.on('data', (data) => {
      received = Buffer.concat([received, data])
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
      const response = parseResponse(received.subarray(2, 2 + received.readUInt16BE(0)), query)
      if (response === undefined) {
        fail('unavailable', 'not an answer to the question')
        return
      }
      timer.cancel()
      socket.destroy()
      resolve({ ...response, truncated: false })
    })
  })
}
