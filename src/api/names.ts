/**
 * Names and their rules, and every label, annotation, taint and condition that Drover gives a meaning.
 * Source: RFC 1035 §2.3.1, RFC 1123 §2.1, Kubernetes "Object Names and IDs", "Labels and Selectors".
 */

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const DNS_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/
const LABEL_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/
export const ENV_NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/
export const CONFIG_KEY = /^[-._a-zA-Z0-9]{1,253}$/

export const isDnsLabel = (name: string): boolean => name.length <= 63 && DNS_LABEL.test(name)
export const isDnsSubdomain = (name: string): boolean => name.length <= 253 && DNS_SUBDOMAIN.test(name)
export const isServiceName = (name: string): boolean => name.length <= 63 && DNS_1035.test(name)
export const isLabelValue = (value: string): boolean => value.length <= 63 && LABEL_VALUE.test(value)

/** `name` or `prefix/name`. */
export function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/')
  const name = key.slice(slash + 1)
  if (name.length > 63 || !LABEL_NAME.test(name)) return false
  return slash < 0 || isDnsSubdomain(key.slice(0, slash))
}

export const LABEL = {
  hostname: 'kubernetes.io/hostname',
  os: 'kubernetes.io/os',
  arch: 'kubernetes.io/arch',
  zone: 'topology.kubernetes.io/zone',
  region: 'topology.kubernetes.io/region',
  /** Of a node, followed by the name of a runtime handler: whether it is there. */
  runtimePrefix: 'runtime.drover.dev/',
  namespaceName: 'kubernetes.io/metadata.name',
  podTemplateHash: 'pod-template-hash',
  serviceName: 'kubernetes.io/service-name',
  endpointSliceManagedBy: 'endpointslice.kubernetes.io/managed-by',
} as const

export const ANNOTATION = {
  /** Of a pod: how long busy connections hold back its first signal. */
  drainSeconds: 'drover.dev/drain-seconds',
  /** Of a pod: the container that is meant where none is named. */
  defaultContainer: 'kubectl.kubernetes.io/default-container',
  /** Of a pod: whether two copies of it must never run. */
  exclusive: 'drover.dev/exclusive',
  /** Of a Node: since when its pods are being replaced elsewhere. */
  draining: 'drover.dev/draining',
  /** Of a Deployment or its namespace: a rollout that fails goes back. */
  autoRollback: 'drover.dev/auto-rollback',
  /** Of a Deployment: what its pods read of ConfigMaps and Secrets is part of its template. */
  rollOnConfigChange: 'drover.dev/roll-on-config-change',
  /** Of a pod template: the hash of that. */
  configHash: 'drover.dev/config-hash',
  /** Of a ReplicaSet: the revision under which all its pods were available. */
  completedRevision: 'drover.dev/completed-revision',
  /** Of a ReplicaSet whose rollout failed: the set that stands in for it, and why. */
  rolledBackTo: 'drover.dev/rolled-back-to',
  rolledBackReason: 'drover.dev/rolled-back-reason',
  rolledBackMessage: 'drover.dev/rolled-back-message',
  revision: 'deployment.kubernetes.io/revision',
  desiredReplicas: 'deployment.kubernetes.io/desired-replicas',
  maxReplicas: 'deployment.kubernetes.io/max-replicas',
  changeCause: 'kubernetes.io/change-cause',
  lastApplied: 'kubectl.kubernetes.io/last-applied-configuration',
  restartedAt: 'kubectl.kubernetes.io/restartedAt',
  /** Of a pod: `overlay` (the default), or `none` for a network namespace with nothing but `lo`. */
  network: 'drover.dev/network',
  /** Of a Node: the joining that its certificate must be of. */
  joinId: 'drover.dev/join-id',
  /** Of a Node: what its machine calls itself, so that it is known when it joins again. */
  machineId: 'drover.dev/machine-id',
} as const

export const TAINT = {
  notReady: 'node.kubernetes.io/not-ready',
  unreachable: 'node.kubernetes.io/unreachable',
  unschedulable: 'node.kubernetes.io/unschedulable',
  memoryPressure: 'node.kubernetes.io/memory-pressure',
  diskPressure: 'node.kubernetes.io/disk-pressure',
  pidPressure: 'node.kubernetes.io/pid-pressure',
} as const

export const NODE_CONDITION = {
  /**
   * The node has missed beats but is not given up yet. Nodes that are lost together fall silent within one interval of
   * each other, and who decides about moving pods must not take the first of them for the only one.
   */
  late: 'drover.dev/Late',
  /** Pods of some other node cannot be reached from here; the rest of the node works. */
  peersUnreachable: 'drover.dev/PeersUnreachable',
  memoryPressure: 'MemoryPressure',
  diskPressure: 'DiskPressure',
  pidPressure: 'PIDPressure',
} as const

/** By this label of its node a runtime handler is known to be there: `true` or `false`. */
export const handlerLabel = (handler: string): string => `${LABEL.runtimePrefix}${handler}`

/** The handler that a node must have to bear this label; undefined for any other label. */
export const handlerOfLabel = (key: string, value: string): string | undefined =>
  value === 'true' && key.startsWith(LABEL.runtimePrefix) ? key.slice(LABEL.runtimePrefix.length) : undefined

/** Makes directories on the node that the pod is placed on. */
export const LOCAL_PROVISIONER = 'local.drover.dev'
/** Holds a volume for as long as its claim is there. */
export const VOLUME_PROTECTION = 'kubernetes.io/pv-protection'
/** Says that a class has only the volumes that users declare. */
export const NO_PROVISIONER = 'kubernetes.io/no-provisioner'

/** Every namespace has a service account of this name; pods that name none run as it. */
export const DEFAULT_SERVICE_ACCOUNT = 'default'

/** Reason of the event on a pod that a disruption budget keeps on a drained node. */
export const DRAIN_WAITS = 'DrainWaits'

export const POD_CONDITION = {
  scheduled: 'PodScheduled',
  initialized: 'Initialized',
  /** Its namespaces, interface and volumes are there. */
  readyToStart: 'PodReadyToStartContainers',
  containersReady: 'ContainersReady',
  ready: 'Ready',
  /** Every live node routes to the pod. */
  routed: 'drover.dev/Routed',
  /** No live node routes to the pod any more. */
  drained: 'drover.dev/Drained',
  /** It ends, or has ended, by no fault of its own: job failure policies ask for it. */
  disruptionTarget: 'DisruptionTarget',
} as const

/** Before the join id in a node certificate's OU. */
export const JOIN_ID_PREFIX = 'drover:join:'

/** From this priority on a pod is critical to the cluster: a node that runs short never evicts it. */
export const CRITICAL_PRIORITY = 2_000_000_000
/** From this one on it is critical to its node: the kernel ends it last. */
export const NODE_CRITICAL_PRIORITY = CRITICAL_PRIORITY + 1_000
