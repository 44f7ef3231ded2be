/**
 * `drover server`: joins the parts of the control plane.
 *
 *   etcd (child) ← store ← resources ← apiserver, dispatch          always
 *                                    ← controllers, scheduler       while leading
 */
import { mkdirSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { createApiServer, type TlsMaterial } from '../apiserver/server.ts'
import { systemClock } from '../base/clock.ts'
import { SECRET_KEYS_FILE, saveSecretKeys } from '../base/cluster_keys.ts'
import { DroverError } from '../base/errors.ts'
import { readIfExists, writeFileAtomic } from '../base/files.ts'
import { hostPort } from '../base/host_port.ts'
import { createLogger, type Logger } from '../base/log.ts'
import { Gauge, Registry, registerProcessMetrics } from '../base/metrics.ts'
import { certificateFacts } from '../base/pki.ts'
import { parseBytes } from '../base/quantity.ts'
import { systemRandom } from '../base/random.ts'
import { runServices, type Service } from '../base/service.ts'
import { createControllers } from '../controllers/manager.ts'
import { createDispatch } from '../dispatch/dispatch.ts'
import { createAllocationRepair } from '../resources/allocations.ts'
import { ensureBuiltins } from '../resources/builtins.ts'
import { createResources } from '../resources/create.ts'
import { ensureDefaultRoles } from '../resources/default_roles.ts'
import { createEventRecorder, createEventSweeper } from '../resources/events.ts'
import type { Resources } from '../resources/resources.ts'
import { createSecretKeys, isSecretKey } from '../resources/secret_keys.ts'
import { createServiceAccountTokens } from '../resources/service_account_tokens.ts'
import { hostOf } from '../rpc/client.ts'
import { openPeerLine } from '../rpc/peer_line.ts'
import type { TlsFiles } from '../rpc/server.ts'
import { createScheduler } from '../scheduler/loop.ts'
import { createPlacementPort } from '../scheduler/port.ts'
import { createCompactor } from '../store/compactor.ts'
import { createEncryptedStore } from '../store/encrypted.ts'
import type { EtcdTls } from '../store/etcd/connection.ts'
import { createEtcdServer } from '../store/etcd/server.ts'
import { createEtcdStore, type RenewableStore } from '../store/etcd/store.ts'
import { SecretCipher } from '../store/secret_cipher.ts'
import type { Fence, Store } from '../store/store.ts'
import { createCertificateRenewal } from './certificates.ts'
import { type HostPort, parseHostPort, parsePortRange, type RoleContext, type ServerFlags } from './flags.ts'
import { ensureClusterInfo, firstJoinLine } from './join_line.ts'
import { renderKubeconfig } from './kubeconfig.ts'
import { createLeader } from './leader.ts'
import { createLeaderWatch } from './leader_watch.ts'
import { type NetworkPlan, planNetwork } from './network_plan.ts'
import { createPresence, liveTokenKeys } from './presence.ts'
import { dialableAddresses, openServerPki, type ServerLeaves, type ServerPki } from './server_pki.ts'
import { checkSharedPki, tokenKeysOf } from './shared_pki.ts'
import { readTokens } from './tokens.ts'

const environment = { clock: systemClock, random: systemRandom }
const DAY_MS = 86_400_000
const MIN_QUOTA_BYTES = 16 << 20
/** A leader whose cache does not follow tries again, and does nothing meanwhile. */
const CATCH_UP_MS = 5_000
/** Longer than a small change takes from request to running: its events are written when it is done, not beside it. */
const GATHER_EVENTS_MS = 75
/** A node that was away for longer joins again. */
const MAX_NODE_CERTIFICATE_MS = 90 * DAY_MS

/** A name for this server that survives its restarts: the store tells its writers apart by it. */
function serverIdentity(dataDir: string): string {
  const path = join(dataDir, 'server-id')
  const existing = readIfExists(path)?.trim()
  if (existing) return existing
  const id = systemRandom.uuid()
  writeFileAtomic(path, `${id}\n`)
  return id
}

interface Etcd {
  services: Service[]
  connect(signal: AbortSignal): Promise<RenewableStore>
  /** The client certificate as it stands on disk; undefined without TLS. */
  tls(): EtcdTls | undefined
}

/** A child etcd, or connections to the one that was named. */
function openEtcd(
  flags: ServerFlags,
  pki: ServerPki,
  shared: { serverId: string; quotaBytes: number; log: Logger; registry: Registry },
): Etcd {
  const { serverId: writerId, log, registry } = shared
  const options = { ...environment, writerId, log: log.child({ part: 'store' }), registry }
  const read = (path: string | undefined, option: string): string => {
    const text = path === undefined ? undefined : readIfExists(path)
    if (text === undefined) throw new DroverError('invalid', `${option}: cannot read ${path ?? '(not given)'}`)
    return text
  }
  if (flags.etcd !== undefined) {
    const endpoints = flags.etcd.split(',')
    const secure = endpoints.some((endpoint) => endpoint.startsWith('https://'))
    const tls = (): EtcdTls | undefined =>
      secure
        ? {
            ca: read(flags.etcdCa, '--etcd-ca'),
            cert: read(flags.etcdCert, '--etcd-cert'),
            key: read(flags.etcdKey, '--etcd-key'),
          }
        : undefined
    const connect = () => {
      const own = tls()
      return createEtcdStore({ ...options, endpoints, ...(own === undefined ? {} : { tls: own }) })
    }
    return { services: [], connect, tls }
  }
  const { files } = pki
  const server = createEtcdServer({
    ...environment,
    log: log.child({ part: 'etcd' }),
    dataDir: join(flags.dataDir, 'etcd'),
    quotaBytes: shared.quotaBytes,
    pki: {
      caFile: files.certPath('ca'),
      serverCertFile: files.certPath('etcd'),
      serverKeyFile: files.keyPath('etcd'),
      clientCertFile: files.certPath('etcd-client'),
      clientKeyFile: files.keyPath('etcd-client'),
    },
  })
  const tls = (): EtcdTls => ({
    ca: files.ca.certPem,
    cert: read(files.certPath('etcd-client'), 'etcd-client'),
    key: read(files.keyPath('etcd-client'), 'etcd-client'),
    serverName: 'localhost',
  })
  return {
    services: [server],
    connect: async (signal) => createEtcdStore({ ...options, endpoints: [await server.endpoint(signal)], tls: tls() }),
    tls,
  }
}

function readQuota(text: string): number {
  const bytes = parseBytes(text)
  if (bytes >= MIN_QUOTA_BYTES) return bytes
  throw new DroverError('invalid', `--etcd-quota: "${text}" is less than etcd needs to work; give 16Mi or more`)
}

export async function runServer(flags: ServerFlags, { version, signal }: RoleContext): Promise<void> {
  const listen = flags.listen.map((text) => parseHostPort(text, '--listen'))
  const nodeListen = parseHostPort(flags.nodeListen, '--node-listen')
  const network = planNetwork(flags)
  const nodePortRange = parsePortRange(flags.nodePortRange)
  const leafMs = Number(flags.certificateDays) * DAY_MS
  if (!(leafMs > 0))
    throw new DroverError('invalid', `--certificate-days takes a number, not "${flags.certificateDays}"`)
  const quotaBytes = readQuota(flags.etcdQuota)
  const log = createLogger('server', flags.logLevel)
  const registry = new Registry()
  registerProcessMetrics(registry)
  mkdirSync(flags.dataDir, { recursive: true, mode: 0o700 })
  mkdirSync(flags.runDir, { recursive: true })
  const serverId = serverIdentity(flags.dataDir)
  const nodeAddresses = advertisedAddresses(flags.advertise ?? [], nodeListen)
  const pki = await openServerPki({
    dataDir: flags.dataDir,
    clusterName: flags.clusterName,
    listen: [...listen, nodeListen].map(({ host }) => host),
    advertise: nodeAddresses.map(hostOf),
    clock: systemClock,
    lives: { leafMs },
  })
  const leaves = await pki.ensure()

  const runner = { ...environment, log }
  const etcd = openEtcd(flags, pki, { serverId, quotaBytes, log, registry })
  const etcdStop = new AbortController()
  const etcdRunning = runServices(etcd.services, runner, etcdStop.signal)
  try {
    const store = await etcd.connect(signal)
    try {
      await serve({
        flags,
        listen,
        nodeListen,
        network,
        nodePortRange,
        serverId,
        pki,
        leaves,
        leafMs,
        nodeAddresses,
        store,
        etcdTls: etcd.tls,
        quotaBytes: flags.etcd === undefined ? quotaBytes : undefined,
        registry,
        log,
        version,
        signal,
      })
    } finally {
      await store.close()
    }
  } finally {
    etcdStop.abort()
    await etcdRunning
  }
}

interface Serving {
  flags: ServerFlags
  listen: { host: string; port: number }[]
  nodeListen: { host: string; port: number }
  network: NetworkPlan
  nodePortRange: { from: number; to: number }
  serverId: string
  pki: ServerPki
  leaves: ServerLeaves
  leafMs: number
  /** `host:port` where agents reach us. */
  nodeAddresses: string[]
  store: RenewableStore
  etcdTls: () => EtcdTls | undefined
  /** Of an etcd of our own. */
  quotaBytes: number | undefined
  registry: Registry
  log: Logger
  version: string
  signal: AbortSignal
}

async function serve(serving: Serving): Promise<void> {
  const { flags, pki, leaves, store, registry, log, serverId, signal } = serving
  const { network, nodePortRange, nodeListen, version } = serving
  const { clusterCidr, serviceCidr, overlay } = network
  const runner = { ...environment, log }
  const tokenKeys = tokenKeysOf(pki.signingKeys)
  const announced = { nodeAddresses: serving.nodeAddresses, apiEndpoints: apiEndpoints(serving), tokenKeys }
  const presence = createPresence({ store, serverId, ...announced, log, registry })
  const pkiDir = join(flags.dataDir, 'pki')
  const cipher = new SecretCipher(pki.secretKeys)
  const secretKeys = createSecretKeys({
    store,
    cipher,
    serverId,
    clock: systemClock,
    log: log.child({ part: 'secret-keys' }),
    file: join(pkiDir, SECRET_KEYS_FILE),
    save: (keys) => saveSecretKeys(pkiDir, keys),
    liveServers: presence.ids,
  })
  await secretKeys.check()
  const others = await liveTokenKeys(store, serverId)
  const forgetTokenKey = flags.forgetTokenKey === true
  await checkSharedPki({ store, caPem: pki.files.ca.certPem, tokenKeys, others, forgetTokenKey })
  const resources = createResources({
    ...environment,
    store: createEncryptedStore(store, cipher, isSecretKey),
    log: log.child({ part: 'resources' }),
    registry,
    serviceCidr,
    nodePortRange,
  })
  const told = { ...environment, resources, log: log.child({ part: 'events' }), gatherMs: GATHER_EVENTS_MS }
  const recorder = (component: string) => createEventRecorder({ ...told, component })
  const events = {
    dispatch: recorder('drover-agent'),
    scheduler: recorder('drover-scheduler'),
    controllers: recorder('drover-controllers'),
  }
  const serviceAccounts = createServiceAccountTokens({ ...environment, resources, keys: pki.signingKeys })
  let current = leaves
  const dispatch = createDispatch({
    ...environment,
    resources,
    events: events.dispatch,
    log: log.child({ part: 'dispatch' }),
    registry,
    listen: nodeListen,
    tls: nodeTls(serving, leaves),
    cluster: {
      clusterName: flags.clusterName,
      clusterCidr,
      serviceCidr,
      nodePortRange,
      clusterDomain: 'cluster.local',
      overlay,
    },
    serverId,
    notReadyAfterMs: Number(flags.notReadyAfter),
    isServerAlive: presence.servers.isAlive,
    presenceTerm: presence.term,
    peers: { servers: presence.servers, tls: () => peerTls(serving, current) },
    issueToken: (wish) => serviceAccounts.issueToken(wish),
    join: {
      ca: pki.files.ca,
      certificateMs: Math.min(MAX_NODE_CERTIFICATE_MS, serving.leafMs),
      clusterName: flags.clusterName,
      servers: presence.servers.nodeAddresses,
    },
  })
  const api = createApiServer({
    ...environment,
    resources,
    gateway: dispatch.gateway,
    placement: createPlacementPort(resources),
    tls: apiTls(serving, leaves),
    listen: serving.listen,
    tokens: readTokens(flags.tokenFile),
    serviceAccounts,
    secretKeys,
    database: store.database(serving.quotaBytes),
    log: log.child({ part: 'apiserver' }),
    registry,
    version,
    network,
    readiness: () => readiness(store, dispatch.address),
  })
  const renewal = createCertificateRenewal({
    pki,
    current: leaves,
    clock: systemClock,
    log: log.child({ part: 'certificates' }),
    registry,
    onRenewed(renewed) {
      current = renewed
      api.setTls(apiTls(serving, renewed))
      dispatch.setTls(nodeTls(serving, renewed))
      const etcdTls = serving.etcdTls()
      if (etcdTls !== undefined) store.setTls(etcdTls)
      writeKubeconfig(serving, renewed)
    },
  })
  const isLeader = new Gauge({
    name: 'leader_election_master_status',
    help: '1 while this server leads',
    registers: [registry],
  })
  const leaderServices = (fence: Fence): Service[] => {
    const leading = { ...environment, resources, registry, fence }
    const scheduler = createScheduler({ ...leading, events: events.scheduler, log: log.child({ part: 'scheduler' }) })
    return [
      ...createControllers({
        ...leading,
        desk: scheduler.desk,
        events: events.controllers,
        log: log.child({ part: 'controllers' }),
        clusterCidr,
        nodeCidrPrefixLength: network.nodeCidrPrefixLength,
        serviceCidr,
        apiEndpoints: presence.apiEndpoints,
        tokenSigner: { tokens: serviceAccounts, caPem: pki.files.ca.certPem },
      }),
      scheduler,
      createAllocationRepair({ ...leading, store, log: log.child({ part: 'allocations' }) }),
      secretKeys.migration(fence),
      createEventSweeper({ ...leading, log: log.child({ part: 'events' }) }),
      createCompactor({ ...environment, store, log: log.child({ part: 'compactor' }) }),
    ]
  }
  const stop = new AbortController()
  const stopping = AbortSignal.any([signal, stop.signal])
  const first = runServices([resources], runner, stopping)
  try {
    await resources.ready()
    await ensureBuiltins(resources)
    await ensureDefaultRoles(resources)
    const leader = createLeader({
      ...runner,
      store,
      serverId,
      isLeader,
      services: leaderServices,
      caughtUp: async () => resources.waitForRevision(await resources.currentRevision(), CATCH_UP_MS),
    })
    const leaderWatch = createLeaderWatch({
      store,
      serverId,
      clock: systemClock,
      log: log.child({ part: 'leader-watch' }),
      addressesOf: presence.servers.addressesOf,
      dial: (address, handlers) => openPeerLine(address, peerTls(serving, current), handlers),
    })
    const services = [
      ...Object.values(events),
      ...presence.services,
      secretKeys.service,
      dispatch.service,
      leader,
      leaderWatch,
      api,
      renewal,
    ]
    const rest = runServices(services, runner, stopping)
    try {
      // A port in use is for the user to mend: no use in trying again and again.
      await api.listening()
      writeKubeconfig(serving, leaves)
      await announce(serving, resources)
      log.info({ addresses: api.addresses(), nodes: nodeListen }, 'serving')
    } catch (error) {
      stop.abort()
      throw error
    } finally {
      await rest
    }
  } finally {
    stop.abort()
    await first
  }
}

async function readiness(store: Store, address: () => unknown) {
  const check = async (name: string, attempt: () => unknown) => {
    try {
      await attempt()
      return { name, ok: true }
    } catch (error) {
      return { name, ok: false, message: DroverError.from(error).message }
    }
  }
  return Promise.all([check('etcd', () => store.health()), check('node-sessions', address)])
}

const nodeTls = ({ pki }: Serving, { server }: ServerLeaves): TlsFiles => ({
  ca: pki.files.ca.certPem,
  cert: server.certPem,
  key: server.keyPem,
})

/** Who we are to other servers. */
const peerTls = ({ pki }: Serving, { admin }: ServerLeaves): TlsFiles => ({
  ca: pki.files.ca.certPem,
  cert: admin.certPem,
  key: admin.keyPem,
})

const apiTls = ({ pki }: Serving, { server }: ServerLeaves): TlsMaterial => ({
  cert: server.certPem,
  key: server.keyPem,
  clientCa: pki.files.ca.certPem,
})

/** Tells those who may join where and how. The line goes to standard output alone: logs hold no secrets. */
async function announce({ flags, pki, serverId, nodeAddresses }: Serving, resources: Resources): Promise<void> {
  const caPem = pki.files.ca.certPem
  const { publicKeySha256 } = certificateFacts(caPem)
  const own = { clusterName: flags.clusterName, caPem, caHash: publicKeySha256, nodeAddresses, serverId }
  await ensureClusterInfo(resources, own)
  const line = flags.joinLine ? await firstJoinLine(resources, own, systemClock) : undefined
  if (line !== undefined) process.stdout.write(line)
}

/** Where agents reach the node listener: what was named, else the first address that others can dial. */
function advertisedAddresses(named: readonly string[], { host, port }: HostPort): string[] {
  if (named.length === 0) {
    const dialable = dialableAddresses([host])
    const address = dialable.find((candidate) => !candidate.startsWith('127.') && candidate !== '::1') ?? dialable[0]
    return [hostPort(address ?? host, port)]
  }
  return named.map((text) => {
    if (isIP(text) !== 0 || !/:\d+$/.test(text)) return hostPort(text, port)
    const parsed = parseHostPort(text, '--advertise')
    return hostPort(parsed.host, parsed.port)
  })
}

/** Where pods reach the API: what it listens on, but for loopback; where that is everything, the address that nodes are told. */
function apiEndpoints({ listen, nodeAddresses }: Serving): { address: string; port: number }[] {
  const [advertised = ''] = nodeAddresses.map(hostOf)
  const found = listen.flatMap(({ host, port }) => {
    const address = host === '0.0.0.0' || host === '::' ? advertised : host
    return isIP(address) === 4 && !address.startsWith('127.') ? [{ address, port }] : []
  })
  return found.filter(({ address }, index) => found.findIndex((other) => other.address === address) === index)
}

function writeKubeconfig({ flags, pki, listen }: Serving, { admin }: ServerLeaves): void {
  const [first] = listen
  if (first === undefined) return
  const host = first.host === '0.0.0.0' || first.host === '::' ? '127.0.0.1' : first.host
  const content = renderKubeconfig({
    clusterName: flags.clusterName,
    server: `https://${hostPort(host, first.port)}`,
    caPem: pki.files.ca.certPem,
    user: 'admin',
    credentials: admin,
  })
  const path = flags.kubeconfigOut ?? join(flags.dataDir, 'kubeconfig')
  if (readIfExists(path) !== content) writeFileAtomic(path, content, 0o600)
}
