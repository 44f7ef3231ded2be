/** The gRPC health check against a real gRPC server. */
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { checkHealth, decodeStatus, encodeRequest } from '../../src/rpc/health_client.ts'

let port: number
const server = new Server()
const asked: string[] = []

/** What it says of each service, by name; others it does not know. */
const STATES: Readonly<Record<string, number>> = { '': 1, [`long-${'x'.repeat(300)}`]: 1, down: 2 }

beforeAll(async () => {
  server.addService(
    {
      check: {
        path: '/grpc.health.v1.Health/Check',
        requestStream: false,
        responseStream: false,
        requestSerialize: (service: string) => encodeRequest({ service }),
        requestDeserialize: (message: Buffer) => ({ service: readService(message) }),
        responseSerialize: (state: number) => Buffer.from(state === 0 ? [] : [0x08, state]),
        responseDeserialize: decodeStatus,
      },
    },
    {
      check({ request }: ServerUnaryCall<{ service: string }, number>, answer: sendUnaryData<number>) {
        asked.push(request.service)
        if (request.service === 'slow') return
        const state = STATES[request.service]
        if (state === undefined) answer({ code: status.NOT_FOUND, details: 'unknown' })
        else answer(null, state)
      },
    },
  )
  port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
})
afterAll(() => server.forceShutdown())

/** The one field of the request, by the rules of protocol buffers. */
function readService(message: Buffer): string {
  if (message.length === 0) return ''
  expect(message[0]).toBe(0x0a)
  const two = ((message[1] ?? 0) & 0x80) !== 0
  const length = two ? ((message[1] ?? 0) & 0x7f) + (message[2] ?? 0) * 128 : (message[1] ?? 0)
  const text = message.subarray(two ? 3 : 2)
  expect(text.length).toBe(length)
  return text.toString('utf8')
}

const check = (service: string, changes: object = {}) =>
  checkHealth({ host: '127.0.0.1', port, service, timeoutMs: 5_000, clock: systemClock, ...changes })

describe('a gRPC health check', () => {
  test('of what serves, and of what does not', async () => {
    expect(await check('')).toEqual({ ok: true, message: 'service is SERVING' })
    expect(await check(`long-${'x'.repeat(300)}`)).toMatchObject({ ok: true })
    expect(await check('down')).toEqual({ ok: false, message: 'service is NOT_SERVING' })
    expect(await check('other')).toEqual({ ok: false, message: `127.0.0.1:${port} knows no service "other"` })
    expect(asked).toHaveLength(4)
  })

  test('of what takes too long, and of nobody', async () => {
    expect(await check('slow', { timeoutMs: 200 })).toEqual({
      ok: false,
      message: `no answer from 127.0.0.1:${port} within 200 ms`,
    })
    const nobody = await check('', { port: 1 })
    expect(nobody.ok).toBe(false)
    expect(nobody.message).toContain('127.0.0.1:1')
  })

  test('of a program without the health service', async () => {
    const plain = new Server()
    const bound = await new Promise<number>((resolve) => {
      plain.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, found) => resolve(found))
    })
    try {
      expect(await check('', { port: bound })).toEqual({
        ok: false,
        message: `127.0.0.1:${bound} does not offer the gRPC health service`,
      })
    } finally {
      plain.forceShutdown()
    }
  })
})
