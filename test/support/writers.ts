/**
 * Append-only writers: exclusive pods that write to a file of the machine, whichever host they run on. The file's order is the
 * order of the writes, so it shows whether two copies ever wrote.
 */
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ANNOTATION } from '../../src/api/names.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { LocalCluster } from './local_cluster.ts'

export interface Copy {
  uid: string
  /** When it wrote, by the machine's uptime, in order. */
  times: number[]
}

/** Longer than any line. */
const TAIL_BYTES = 200

export class Writer {
  readonly name: string
  readonly #directory: string
  readonly #kind: 'StatefulSet' | 'Deployment'

  constructor(directory: string, name: string, kind: 'StatefulSet' | 'Deployment' = 'StatefulSet') {
    this.name = name
    this.#directory = directory
    this.#kind = kind
  }

  static directory(): { path: string; remove(): void } {
    const path = mkdtempSync(join(tmpdir(), 'drvt-writers-'))
    return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
  }

  get #path(): string {
    return join(this.#directory, this.name)
  }

  /** Twenty times a second: the machine's uptime, whatever the host, and who writes. No two writers share a host. */
  workload(): object {
    const script = `while :; do read up rest < /proc/uptime; echo "$up $POD_UID" >> /shared/${this.name}; sleep 0.05; done`
    const exclusive = this.#kind === 'Deployment' ? { annotations: { [ANNOTATION.exclusive]: 'true' } } : {}
    const apart = { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { writer: 'true' } } }
    const template = {
      metadata: { labels: { app: this.name, writer: 'true' }, ...exclusive },
      spec: {
        terminationGracePeriodSeconds: 1,
        affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [apart] } },
        containers: [
          {
            name: 'writer',
            image: 'drover.local/hello:1',
            command: ['sh', '-c', script],
            env: [{ name: 'POD_UID', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } }],
            volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
          },
        ],
        volumes: [{ name: 'shared', hostPath: { path: this.#directory } }],
      },
    }
    const spec = { replicas: 1, selector: { matchLabels: { app: this.name } }, template }
    return {
      apiVersion: 'apps/v1',
      kind: this.#kind,
      metadata: { name: this.name },
      spec: { ...spec, ...(this.#kind === 'StatefulSet' && { serviceName: this.name }) },
    }
  }

  /** The one that runs and is to stay. */
  async pod(cluster: LocalCluster): Promise<Pod | undefined> {
    const { items } = await cluster.json<{ items: Pod[] }>('get', 'pods', '-l', `app=${this.name}`)
    return items.find(({ metadata, status }) => metadata.deletionTimestamp === undefined && status?.phase === 'Running')
  }

  /** How far the file has grown. */
  get bytes(): number {
    try {
      return statSync(this.#path).size
    } catch {
      return 0
    }
  }

  /** The last line that is whole. */
  last(): { atMs: number; uid: string } | undefined {
    return this.#read(Math.max(0, this.bytes - TAIL_BYTES)).at(-1)
  }

  /** Who has written since the file had so many bytes, in the order in which each wrote first. */
  copiesSince(bytes: number): Copy[] {
    const found = new Map<string, number[]>()
    for (const { uid, atMs } of this.#read(bytes)) {
      const times = found.get(uid)
      if (times === undefined) found.set(uid, [atMs])
      else times.push(atMs)
    }
    return [...found].map(([uid, times]) => ({ uid, times }))
  }

  #read(from: number): { atMs: number; uid: string }[] {
    let file: number
    try {
      file = openSync(this.#path, 'r')
    } catch {
      return []
    }
    try {
      const buffer = Buffer.alloc(Math.max(0, fstatSync(file).size - from))
      const text = buffer.subarray(0, readSync(file, buffer, 0, buffer.length, from)).toString()
      const lines = text.split('\n')
      // What follows the last line break is being written; what stands before the first may be half a line.
      const whole = lines.slice(from === 0 || text.startsWith('\n') ? 0 : 1, -1)
      return whole.flatMap((line) => {
        const [up = '', uid] = line.split(' ')
        return uid === undefined ? [] : [{ atMs: Math.round(Number(up) * 1000), uid }]
      })
    } finally {
      closeSync(file)
    }
  }
}
