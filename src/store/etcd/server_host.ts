/** What `server.ts` looks at on this machine: processes, ports, whether etcd answers. */
import { readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { createServer } from 'node:net'
import { basename } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { EtcdPki } from './server.ts'

export interface Ports {
  client: number
  peer: number
}

export interface FoundProcess {
  pid: number
  /** Without the program's name. */
  args: string[]
}

const PROBE_TIMEOUT_MS = 2_000

/** Every etcd on this machine that runs on this data directory. */
export async function findProcesses(etcdDir: string): Promise<FoundProcess[]> {
  const found: FoundProcess[] = []
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const args = await etcdArguments(Number(entry), etcdDir)
    if (args !== undefined) found.push({ pid: Number(entry), args })
  }
  return found
}

export async function isRunning(pid: number, etcdDir: string): Promise<boolean> {
  return (await etcdArguments(pid, etcdDir)) !== undefined
}

/** A process that has ended, or is a zombie, has no command line. */
async function etcdArguments(pid: number, etcdDir: string): Promise<string[] | undefined> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  const [program = '', ...args] = text.split('\0').slice(0, -1)
  const at = args.indexOf('--data-dir')
  return basename(program) === 'etcd' && at >= 0 && args[at + 1] === etcdDir ? args : undefined
}

/** The remembered ports, so that clients find etcd where it was; others when someone else has taken one. */
export async function portsFor(path: string, held: boolean): Promise<Ports> {
  const remembered = await readPorts(path)
  if (remembered !== undefined) {
    if (held || ((await isFree(remembered.client)) && (await isFree(remembered.peer)))) return remembered
  }
  const ports = { client: await bindOnce(0), peer: await bindOnce(0) }
  await writeFile(`${path}.new`, JSON.stringify(ports))
  await rename(`${path}.new`, path)
  return ports
}

async function readPorts(path: string): Promise<Ports | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (!isObject(value)) return undefined
    const { client, peer } = value
    return typeof client === 'number' && typeof peer === 'number' ? { client, peer } : undefined
  } catch {
    // Absent at the first start, or damaged: then new ones are chosen.
    return undefined
  }
}

function isFree(port: number): Promise<boolean> {
  return bindOnce(port).then(
    () => true,
    () => false,
  )
}

/** Binds and lets go again; answers with the port, which the kernel chooses for 0. */
function bindOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error) =>
      reject(new DroverError('unavailable', `port ${port} on 127.0.0.1 is taken`, { cause: error })),
    )
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : port))
    })
  })
}

/** Whether etcd says of itself that it is healthy: it has a leader and commits. A full one is: it serves reads, and is mended. */
export async function probeHealth(url: string, pki: EtcdPki): Promise<boolean> {
  try {
    const [ca, cert, key] = await Promise.all([
      readFile(pki.caFile),
      readFile(pki.clientCertFile),
      readFile(pki.clientKeyFile),
    ])
    return await new Promise((resolve) => {
      const probe = request(
        `${url}/health?exclude=NOSPACE`,
        { ca, cert, key, agent: false, timeout: PROBE_TIMEOUT_MS },
        (response) => {
          let text = ''
          response.setEncoding('utf8')
          response.on('data', (chunk: string) => {
            text += chunk
          })
          response.on('end', () => resolve(text.includes('true')))
          response.on('error', () => resolve(false))
        },
      )
      probe.on('timeout', () => probe.destroy())
      probe.on('error', () => resolve(false))
      probe.end()
    })
  } catch (error) {
    throw new DroverError('invalid', `cannot read etcd's client certificates: ${String(error)}`, { cause: error })
  }
}
