/** Builds the archives that images come in: from entries written out in a test, or from busybox. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { type Header, pack } from 'tar-stream'

export type Entry = Partial<Header> & { name: string; content?: string | Uint8Array }

/** A tar of the entries, as they stand: nothing is checked or put right. */
export async function tar(entries: readonly Entry[]): Promise<Buffer> {
  const packing = pack()
  for (const { content = '', ...header } of entries) packing.entry(header, Buffer.from(content))
  packing.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of packing) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

export async function* chunked(bytes: Uint8Array, size = 64 << 10): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** The entries of a small root file system: busybox with the applets named, and users root and web. */
export async function busyboxEntries(
  applets: readonly string[] = ['sh', 'echo', 'sleep', 'cat', 'ls'],
): Promise<Entry[]> {
  return [
    ...['bin', 'etc', 'proc', 'sys', 'dev'].map((name): Entry => ({ name, type: 'directory', mode: 0o755 })),
    { name: 'tmp', type: 'directory', mode: 0o1777 },
    { name: 'bin/busybox', mode: 0o755, content: await readFile('/bin/busybox') },
    ...applets.map((name): Entry => ({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' })),
    {
      name: 'etc/passwd',
      mode: 0o644,
      content: 'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/home/web:/bin/sh\n',
    },
    { name: 'etc/group', mode: 0o644, content: 'root:x:0:\nweb:x:1001:\nlogs:x:1002:root,web\n' },
  ]
}

/** A tar of a root file system. */
export async function rootfsTar(applets?: readonly string[]): Promise<Buffer> {
  return tar(await busyboxEntries(applets))
}

export interface ImageSpec {
  tags: readonly string[]
  /** Plain tars, lowest first. */
  layers: readonly Uint8Array[]
  config?: Record<string, unknown>
  architecture?: string
}

function configOf(spec: ImageSpec): Buffer {
  const architectures: Record<string, string> = { x64: 'amd64', arm64: 'arm64' }
  return Buffer.from(
    JSON.stringify({
      created: '2024-01-02T03:04:05Z',
      architecture: spec.architecture ?? architectures[process.arch] ?? process.arch,
      os: 'linux',
      config: { Cmd: ['/bin/sh'], ...spec.config },
      rootfs: { type: 'layers', diff_ids: spec.layers.map(digestOf) },
    }),
  )
}

/** What `docker save` writes. */
export async function dockerArchive(images: readonly ImageSpec[]): Promise<Buffer> {
  const entries = new Map<string, Entry>()
  const manifest = images.map((spec) => {
    const config = configOf(spec)
    const configName = `${digestOf(config).slice(7)}.json`
    entries.set(configName, { name: configName, content: config })
    const layers = spec.layers.map((layer) => {
      const name = `${digestOf(layer).slice(7, 19)}/layer.tar`
      entries.set(name, { name, content: layer })
      return name
    })
    return { Config: configName, RepoTags: spec.tags, Layers: layers }
  })
  return tar([...entries.values(), { name: 'manifest.json', content: JSON.stringify(manifest) }])
}

/** An OCI image layout in a tar, with gzip layers. */
export async function ociArchive(images: readonly ImageSpec[], more: readonly Entry[] = []): Promise<Buffer> {
  const blobs = new Map<string, Entry>()
  const blob = (content: Uint8Array, mediaType: string) => {
    const digest = digestOf(content)
    const name = `blobs/sha256/${digest.slice(7)}`
    blobs.set(name, { name, content })
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest, size: content.length }
  }
  const manifests = images.flatMap((spec) => {
    const manifest = {
      schemaVersion: 2,
      config: blob(configOf(spec), 'config.v1+json'),
      layers: spec.layers.map((layer) => blob(gzipSync(layer), 'layer.v1.tar+gzip')),
    }
    const descriptor = blob(Buffer.from(JSON.stringify(manifest)), 'manifest.v1+json')
    const names = spec.tags.length === 0 ? [{}] : spec.tags.map((tag) => ({ 'org.opencontainers.image.ref.name': tag }))
    return names.map((annotations) => ({ ...descriptor, annotations }))
  })
  return tar([
    { name: 'index.json', content: JSON.stringify({ schemaVersion: 2, manifests }) },
    { name: 'oci-layout', content: '{"imageLayoutVersion":"1.0.0"}' },
    ...blobs.values(),
    ...more,
  ])
}
