/** The image driver: references to unpacked layers. It knows registries and archives, nothing of pods. */

export interface ImageConfig {
  env: readonly string[]
  entrypoint: readonly string[]
  cmd: readonly string[]
  workingDirectory: string
  /** `user`, `uid`, `user:group` as in the image; resolved against its /etc/passwd by `resolveUser`. */
  user: string
  stopSignal: string
  exposedPorts: readonly string[]
  labels: Readonly<Record<string, string>>
}

export interface Image {
  /** `sha256:…` of the image's configuration: its identity. */
  id: string
  /** `sha256:…` of the manifest, where it came with one. */
  digest: string
  /** Normalized references, e.g. `docker.io/library/busybox:latest`. */
  names: readonly string[]
  sizeBytes: number
  createdAt: string
  config: ImageConfig
  /** Directories of the unpacked layers, lowest first, as overlayfs takes them. */
  layerDirectories: readonly string[]
}

export interface PullProgress {
  /** One line for people. */
  message: string
  doneBytes: number
  totalBytes: number
}

export interface RegistryCredentials {
  username: string
  password: string
}

/** Those that may be sent to a host for a repository, in the order in which they are tried. None: it is asked without. */
export type CredentialsFor = (registryHost: string, repository: string) => readonly RegistryCredentials[]

export interface PullOptions {
  signal: AbortSignal
  credentials?: CredentialsFor
  onProgress?: (progress: PullProgress) => void
}

export interface ResolvedUser {
  uid: number
  gid: number
  additionalGids: readonly number[]
  home: string
}

export interface ImageDriver {
  initialize(): Promise<void>
  /** The image for a reference as people write it, if it is here. */
  find(reference: string): Promise<Image | undefined>
  list(): Promise<Image[]>
  /** Fetches from the registry; several pulls of one image share the work. Rejects with `notFound`, `unauthorized`, … */
  pull(reference: string, options: PullOptions): Promise<Image>
  /** Reads a docker-archive or OCI-archive (plain or gzip). Rejects with `invalid`; nothing half-done stays. */
  load(archive: AsyncIterable<Uint8Array>, reference: string | undefined, signal: AbortSignal): Promise<Image[]>
  /** Gives an image that is here one more name, without a digest. Rejects with `notFound`. */
  tag(reference: string, name: string): Promise<Image>
  /** Sends an image to the registry that its name says; resolves with the digest it has there. */
  push(reference: string, options: PullOptions): Promise<string>
  /** The image as an archive that `load`, Docker and skopeo read. */
  save(reference: string): Promise<AsyncIterable<Uint8Array>>
  /** Makes an image of one layer from a tar of a root file system. */
  importRootfs(archive: AsyncIterable<Uint8Array>, reference: string, signal: AbortSignal): Promise<Image>
  /** Removes a name, and the image with the layers no other needs when it was the last. Rejects with `notFound`. */
  remove(reference: string): Promise<void>
  /**
   * Looks names up in the image's own /etc/passwd and /etc/group; numbers are ids, whatever is in there. Rejects with `invalid`
   * when there is no such user.
   */
  resolveUser(image: Image, user: string): Promise<ResolvedUser>
}
