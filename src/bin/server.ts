/**
 * `drover server`: joins the parts of the control plane.
 *
 *   etcd (child) ← store ← resources ← apiserver, dispatch          always
 *                                    ← controllers, scheduler       while leading
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createApiServer } from '../apiserver/server.ts'
import { systemClock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { readIfExists, writeFileAtomic } from '../base/files.ts'
import { createLogger, type Logger } from '../base/log.ts'
import { collectDefaultMetrics, Gauge, Registry } from '../base/metrics.ts'
import { systemRandom } from '../base/random.ts'
import { runServices, type Service } from '../base/service.ts'
import { createControllers } from '../controllers/manager.ts'
import { createDispatch } from '../dispatch/dispatch.ts'
import { createAllocationRepair } from '../resources/allocations.ts'
import { ensureBuiltins } from '../resources/builtins.ts'
import { createResources } from '../resources/create.ts'
import { createEventRecorder, createEventSweeper } from '../resources/events.ts'
import { createScheduler } from '../scheduler/loop.ts'
import { createCompactor } from '../store/compactor.ts'
import { createEtcdServer } from '../store/etcd/server.ts'
import { createEtcdStore } from '../store/etcd/store.ts'
import type { Fence, Store } from '../store/store.ts'
import { parseCidrOption, parseHostPort, parsePortRange, type RoleContext, type ServerFlags } from './flags.ts'
import { renderKubeconfig } from './kubeconfig.ts'
import { createLeader } from './leader.ts'
import { ensureServerPki, type ServerPki } from './server_pki.ts'
import { readTokens } from './tokens.ts'

const environment = { clock: systemClock, random: systemRandom }

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
  connect(signal: AbortSignal): Promise<Store>
}

/** A child etcd, or connections to the one that was named. */
function openEtcd(
  flags: ServerFlags,
  pki: ServerPki,
  shared: { serverId: string; log: Logger; registry: Registry },
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
    const tls = {
      ca: read(flags.etcdCa, '--etcd-ca'),
      cert: read(flags.etcdCert, '--etcd-cert'),
      key: read(flags.etcdKey, '--etcd-key'),
    }
    const secure = endpoints.some((endpoint) => endpoint.startsWith('https://'))
    return { services: [], connect: () => createEtcdStore({ ...options, endpoints, ...(secure ? { tls } : {}) }) }
  }
  const { files } = pki
  const server = createEtcdServer({
    ...environment,
    log: log.child({ part: 'etcd' }),
    dataDir: join(flags.dataDir, 'etcd'),
    pki: {
      caFile: files.certPath('ca'),
      serverCertFile: files.certPath('etcd'),
      serverKeyFile: files.keyPath('etcd'),
      clientCertFile: files.certPath('etcd-client'),
      clientKeyFile: files.keyPath('etcd-client'),
    },
  })
  return {
    services: [server],
    async connect(signal) {
      const client = await files.ensureLeaf({ file: 'etcd-client', commonName: 'drover', usages: ['client'] })
      const tls = { ca: files.ca.certPem, cert: client.certPem, key: client.keyPem, serverName: 'localhost' }
      return createEtcdStore({ ...options, endpoints: [await server.endpoint(signal)], tls })
    },
  }
}

export async function runServer(flags: ServerFlags, { version, signal }: RoleContext): Promise<void> {
  const listen = flags.listen.map((text) => parseHostPort(text, '--listen'))
  const nodeListen = parseHostPort(flags.nodeListen, '--node-listen')
  const clusterCidr = parseCidrOption(flags.clusterCidr, '--cluster-cidr')
  const serviceCidr = parseCidrOption(flags.serviceCidr, '--service-cidr')
  const nodePortRange = parsePortRange(flags.nodePortRange)
  const log = createLogger('server', flags.logLevel)
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  mkdirSync(flags.dataDir, { recursive: true, mode: 0o700 })
  mkdirSync(flags.runDir, { recursive: true })
  const serverId = serverIdentity(flags.dataDir)
  const pki = await ensureServerPki(
    flags.dataDir,
    flags.clusterName,
    [...listen, nodeListen].map(({ host }) => host),
    systemClock,
  )

  const runner = { ...environment, log }
  const etcd = openEtcd(flags, pki, { serverId, log, registry })
  const etcdStop = new AbortController()
  const etcdRunning = runServices(etcd.services, runner, etcdStop.signal)
  try {
    const store = await etcd.connect(signal)
    try {
      await serve({
        flags,
        listen,
        nodeListen,
        clusterCidr,
        serviceCidr,
        nodePortRange,
        serverId,
        pki,
        store,
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
  clusterCidr: string
  serviceCidr: string
  nodePortRange: { from: number; to: number }
  serverId: string
  pki: ServerPki
  store: Store
  registry: Registry
  log: Logger
  version: string
  signal: AbortSignal
}

async function serve(serving: Serving): Promise<void> {
  const { flags, pki, store, registry, log, serverId, signal } = serving
  const { clusterCidr, serviceCidr, nodePortRange, nodeListen, version } = serving
  const runner = { ...environment, log }
  const resources = createResources({
    ...environment,
    store,
    log: log.child({ part: 'resources' }),
    registry,
    serviceCidr,
    nodePortRange,
  })
  const recorder = (component: string) =>
    createEventRecorder({ ...environment, resources, log: log.child({ part: 'events' }), component })
  const events = {
    dispatch: recorder('drover-agent'),
    scheduler: recorder('drover-scheduler'),
    controllers: recorder('drover-controllers'),
  }
  const dispatch = createDispatch({
    ...environment,
    resources,
    events: events.dispatch,
    log: log.child({ part: 'dispatch' }),
    registry,
    listen: nodeListen,
    tls: { ca: pki.files.ca.certPem, cert: pki.server.certPem, key: pki.server.keyPem },
    cluster: {
      clusterName: flags.clusterName,
      clusterCidr,
      serviceCidr,
      nodePortRange,
      clusterDomain: 'cluster.local',
    },
    serverId,
    notReadyAfterMs: Number(flags.notReadyAfter),
  })
  const api = createApiServer({
    ...environment,
    resources,
    gateway: dispatch.gateway,
    tls: { cert: pki.server.certPem, key: pki.server.keyPem, clientCa: pki.files.ca.certPem },
    listen: serving.listen,
    tokens: readTokens(flags.tokenFile),
    log: log.child({ part: 'apiserver' }),
    registry,
    version,
    readiness: () => readiness(store, dispatch.address),
  })
  const isLeader = new Gauge({
    name: 'leader_election_master_status',
    help: '1 while this server leads',
    registers: [registry],
  })
  const leaderServices = (fence: Fence): Service[] => {
    const leading = { ...environment, resources, registry, fence }
    return [
      ...createControllers({
        ...leading,
        events: events.controllers,
        log: log.child({ part: 'controllers' }),
        clusterCidr,
        nodeCidrPrefixLength: Number(flags.nodeCidrLength),
      }),
      createScheduler({ ...leading, events: events.scheduler, log: log.child({ part: 'scheduler' }) }),
      createAllocationRepair({ ...leading, store, log: log.child({ part: 'allocations' }) }),
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
    const leader = createLeader({ ...runner, store, serverId, isLeader, services: leaderServices })
    const rest = runServices([...Object.values(events), dispatch.service, leader, api], runner, stopping)
    try {
      // A port in use is for the user to mend: no use in trying again and again.
      await api.listening()
      writeKubeconfig(serving)
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

function writeKubeconfig({ flags, pki, listen }: Serving): void {
  const [first] = listen
  if (first === undefined) return
  const host = first.host === '0.0.0.0' || first.host === '::' ? '127.0.0.1' : first.host
  const content = renderKubeconfig({
    clusterName: flags.clusterName,
    server: `https://${host.includes(':') ? `[${host}]` : host}:${first.port}`,
    caPem: pki.files.ca.certPem,
    user: 'admin',
    credentials: pki.admin,
  })
  const path = flags.kubeconfigOut ?? join(flags.dataDir, 'kubeconfig')
  if (readIfExists(path) !== content) writeFileAtomic(path, content, 0o600)
}
