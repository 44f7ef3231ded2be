/**
 * Rules of the OCI runtime specification for the part of a configuration that concerns Linux, as a JSON schema of our own.
 * Nothing that is not named is allowed: a runtime ignores what it does not know, and so would hide our mistakes.
 * Source: opencontainers/runtime-spec 1.0.2 and 1.1, config.md, config-linux.md, glossary; capabilities(7).
 */

const strings = { type: 'array', items: { type: 'string' } }
const uint32 = { type: 'integer', minimum: 0, maximum: 0xffffffff }
const int64 = { type: 'integer', minimum: -(2 ** 53), maximum: 2 ** 53 }
const uint64 = { type: 'integer', minimum: 0, maximum: 2 ** 53 }
const absolute = { type: 'string', pattern: '^/' }
const absolutes = { type: 'array', items: absolute }
const capabilities = { type: 'array', uniqueItems: true, items: { type: 'string', pattern: '^CAP_[A-Z_]+$' } }
const object = (properties: object, required: readonly string[] = []) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const list = (items: object) => ({ type: 'array', items })
const idMap = list(object({ containerID: uint32, hostID: uint32, size: uint32 }, ['containerID', 'hostID', 'size']))

const process_ = object(
  {
    terminal: { type: 'boolean' },
    consoleSize: object({ height: uint32, width: uint32 }, ['height', 'width']),
    user: object({ uid: uint32, gid: uint32, umask: uint32, additionalGids: list(uint32) }, ['uid', 'gid']),
    args: { ...strings, minItems: 1 },
    env: list({ type: 'string', pattern: '^[^=]+=' }),
    cwd: absolute,
    capabilities: object({
      bounding: capabilities,
      effective: capabilities,
      permitted: capabilities,
      inheritable: capabilities,
      ambient: capabilities,
    }),
    rlimits: list(
      object({ type: { type: 'string', pattern: '^RLIMIT_[A-Z]+$' }, soft: uint64, hard: uint64 }, [
        'type',
        'soft',
        'hard',
      ]),
    ),
    noNewPrivileges: { type: 'boolean' },
    oomScoreAdj: { type: 'integer', minimum: -1000, maximum: 1000 },
    apparmorProfile: { type: 'string' },
    selinuxLabel: { type: 'string' },
  },
  ['cwd', 'args', 'user'],
)

const resources = object({
  devices: list(
    object(
      {
        allow: { type: 'boolean' },
        type: { enum: ['a', 'b', 'c'] },
        major: int64,
        minor: int64,
        access: { type: 'string', pattern: '^[rwm]{1,3}$' },
      },
      ['allow'],
    ),
  ),
  cpu: object({
    shares: { type: 'integer', minimum: 2, maximum: 262144 },
    quota: { type: 'integer', minimum: 1000 },
    period: { type: 'integer', minimum: 1000, maximum: 1000000 },
    cpus: { type: 'string' },
    mems: { type: 'string' },
  }),
  memory: object({
    limit: int64,
    reservation: int64,
    swap: int64,
    swappiness: { type: 'integer', minimum: 0, maximum: 100 },
  }),
  pids: object({ limit: int64 }, ['limit']),
  hugepageLimits: list(
    object({ pageSize: { type: 'string', pattern: '^[1-9][0-9]*[KMG]B$' }, limit: uint64 }, ['pageSize', 'limit']),
  ),
  unified: { type: 'object', additionalProperties: { type: 'string' } },
})

const seccomp = object(
  {
    defaultAction: {
      enum: [
        'SCMP_ACT_ALLOW',
        'SCMP_ACT_ERRNO',
        'SCMP_ACT_KILL',
        'SCMP_ACT_KILL_PROCESS',
        'SCMP_ACT_KILL_THREAD',
        'SCMP_ACT_LOG',
        'SCMP_ACT_TRACE',
        'SCMP_ACT_TRAP',
      ],
    },
    defaultErrnoRet: uint32,
    architectures: list({ type: 'string', pattern: '^SCMP_ARCH_[A-Z0-9_]+$' }),
    flags: list({ type: 'string', pattern: '^SECCOMP_FILTER_FLAG_[A-Z_]+$' }),
    syscalls: list(
      object(
        {
          names: { ...strings, minItems: 1 },
          action: { type: 'string', pattern: '^SCMP_ACT_[A-Z_]+$' },
          errnoRet: uint32,
          args: list(
            object(
              {
                index: { type: 'integer', minimum: 0, maximum: 5 },
                value: uint64,
                valueTwo: uint64,
                op: { type: 'string', pattern: '^SCMP_CMP_(NE|LT|LE|EQ|GE|GT|MASKED_EQ)$' },
              },
              ['index', 'value', 'op'],
            ),
          ),
        },
        ['names', 'action'],
      ),
    ),
  },
  ['defaultAction'],
)

export const OCI_SCHEMA = object(
  {
    ociVersion: { type: 'string', pattern: '^1\\.[0-9]+\\.[0-9]+' },
    process: process_,
    root: object({ path: { type: 'string', minLength: 1 }, readonly: { type: 'boolean' } }, ['path']),
    hostname: { type: 'string', maxLength: 64 },
    mounts: list(
      object(
        {
          destination: absolute,
          type: { type: 'string' },
          source: { type: 'string' },
          options: strings,
          uidMappings: idMap,
          gidMappings: idMap,
        },
        ['destination'],
      ),
    ),
    annotations: {
      type: 'object',
      propertyNames: { type: 'string', minLength: 1 },
      additionalProperties: { type: 'string' },
    },
    linux: object({
      cgroupsPath: { type: 'string', minLength: 1 },
      namespaces: list(
        object(
          { type: { enum: ['pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup', 'time'] }, path: absolute },
          ['type'],
        ),
      ),
      uidMappings: idMap,
      gidMappings: idMap,
      resources,
      sysctl: { type: 'object', additionalProperties: { type: 'string' } },
      devices: list(
        object(
          {
            path: absolute,
            type: { enum: ['c', 'b', 'u', 'p'] },
            major: int64,
            minor: int64,
            fileMode: { type: 'integer', minimum: 0, maximum: 0o7777 },
            uid: uint32,
            gid: uint32,
          },
          ['path', 'type'],
        ),
      ),
      maskedPaths: absolutes,
      readonlyPaths: absolutes,
      rootfsPropagation: { enum: ['private', 'shared', 'slave', 'unbindable', 'rprivate', 'rshared', 'rslave'] },
      mountLabel: { type: 'string' },
      seccomp,
    }),
  },
  ['ociVersion', 'process', 'root', 'linux'],
)
