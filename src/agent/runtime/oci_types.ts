/** The part of the OCI runtime specification that we write. Source: opencontainers/runtime-spec, config.md, config-linux.md. */

export interface OciMount {
  destination: string
  type: string
  source: string
  options: readonly string[]
}

export interface OciProcess {
  terminal: boolean
  user: { uid: number; gid: number; additionalGids: readonly number[] }
  args: readonly string[]
  env: readonly string[]
  cwd: string
  capabilities: Record<'bounding' | 'effective' | 'permitted', readonly string[]>
  noNewPrivileges: boolean
  oomScoreAdj: number
}

export interface OciDevice {
  path: string
  type: 'c' | 'b'
  major: number
  minor: number
  fileMode: number
  uid: number
  gid: number
}

export interface OciSeccomp {
  defaultAction: string
  defaultErrnoRet: number
  architectures: readonly string[]
  syscalls: readonly {
    names: readonly string[]
    action: string
    errnoRet?: number
    args?: readonly { index: number; value: number; valueTwo?: number; op: string }[]
  }[]
}

export interface OciResources {
  devices: readonly { allow: boolean; access: string }[]
  cpu: { shares: number; quota?: number; period?: number }
  memory?: { limit: number; swap?: number }
  pids?: { limit: number }
}

export interface OciIdMapping {
  containerID: number
  hostID: number
  size: number
}

export interface OciSpec {
  ociVersion: string
  process: OciProcess
  root: { path: string; readonly: boolean }
  hostname?: string
  mounts: readonly OciMount[]
  annotations: Readonly<Record<string, string>>
  linux: {
    cgroupsPath: string
    uidMappings?: readonly OciIdMapping[]
    gidMappings?: readonly OciIdMapping[]
    namespaces: readonly { type: string; path?: string }[]
    resources: OciResources
    devices: readonly OciDevice[]
    maskedPaths: readonly string[]
    readonlyPaths: readonly string[]
    rootfsPropagation?: 'rslave' | 'rshared'
    seccomp?: OciSeccomp | Readonly<Record<string, unknown>>
    sysctl?: Readonly<Record<string, string>>
  }
}
