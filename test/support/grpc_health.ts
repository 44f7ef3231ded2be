/** A program that offers the gRPC health service, as far as a probe sees it. */
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js'
import { decodeStatus, encodeRequest } from '../../src/rpc/health_client.ts'

export interface HealthServer {
  port: number
  serving: boolean
  /** Services that were asked for. */
  asked: string[]
  close(): void
}

const SERVING = 1
const NOT_SERVING = 2

export async function healthServer(): Promise<HealthServer> {
  const server = new Server()
  const health: HealthServer = { port: 0, serving: false, asked: [], close: () => server.forceShutdown() }
  const check = {
    path: '/grpc.health.v1.Health/Check',
    requestStream: false,
    responseStream: false,
    requestSerialize: (service: string) => encodeRequest({ service }),
    // A tag, a length below 128, the name.
    requestDeserialize: (message: Buffer) => ({ service: message.subarray(2).toString('utf8') }),
    responseSerialize: (state: number) => Buffer.from([0x08, state]),
    responseDeserialize: decodeStatus,
  }
  server.addService(
    { check },
    {
      check({ request }: ServerUnaryCall<{ service: string }, number>, answer: sendUnaryData<number>) {
        health.asked.push(request.service)
        answer(null, health.serving ? SERVING : NOT_SERVING)
      },
    },
  )
  health.port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  return health
}
