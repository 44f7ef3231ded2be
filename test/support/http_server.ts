/**
 * A server for containers that keeps connections and ends in good order: after SIGTERM it goes on answering, tells each
 * client to leave with its answer, and exits when the last has. It runs on this machine's own Node, whose program and
 * libraries are mounted into the container, so that no image has to be built or fetched.
 */
import { realpathSync } from 'node:fs'
import { dirname } from 'node:path'
import { output } from './local_cluster.ts'

const SCRIPT = `
const { createServer } = require('node:http')
const { hostname } = require('node:os')
let ending = false
let open = 0
const server = createServer((request, response) => {
  const ms = Number(new URL(request.url, 'http://x').searchParams.get('ms') ?? 0)
  setTimeout(() => {
    if (ending) response.setHeader('connection', 'close')
    response.end('hello from ' + hostname() + '\\n')
  }, ms)
})
server.keepAliveTimeout = 0
server.on('connection', (socket) => {
  open++
  socket.on('close', () => {
    open--
    if (ending && open === 0) process.exit(0)
  })
})
server.listen(8080)
process.on('SIGTERM', () => {
  ending = true
  if (open === 0) process.exit(0)
})
`

interface Mount {
  name: string
  mountPath: string
  readOnly: true
}

/** Container and volumes of a pod's spec. */
export async function keepAliveServer(image: string): Promise<{ container: object; volumes: object[] }> {
  const program = realpathSync(process.execPath)
  const libraries = (await output('ldd', [program])).match(/\/\S+(?= \()/g) ?? []
  const directories = [...new Set([dirname(program), ...libraries.map((path) => dirname(path))])]
  const volumeMounts: Mount[] = directories.map((mountPath, index) => ({
    name: `host-${index}`,
    mountPath,
    readOnly: true,
  }))
  const volumes = directories.map((path, index) => ({ name: `host-${index}`, hostPath: { path } }))
  const container = {
    name: 'main',
    image,
    command: [program, '-e', SCRIPT],
    ports: [{ containerPort: 8080 }],
    volumeMounts,
    readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
  }
  return { container, volumes }
}
