/**
 * Pod and PodTemplate: schemas and types. Source: Kubernetes v1 `PodSpec`, `Container`, `PodStatus`.
 * Defaults and rules are in pod_rules.ts, columns and the kind in pod_kind.ts.
 */
import Type, { type Static } from 'typebox'
import { Condition, LabelSelector, TemplateMeta, typeMeta } from './meta.ts'
import { NodeSelector } from './node_selector.ts'
import { PodDnsConfig } from './pod_dns.ts'
import {
  ATOMIC,
  atomicStringMap,
  bool,
  count,
  ignored,
  ignoredAll,
  int32,
  int64,
  intOrString,
  kept,
  listByKey,
  object,
  oneOf,
  opt,
  portNumber,
  protocol,
  quantity,
  quantityMap,
  text,
  time,
  unhonoured,
} from './schema.ts'

const KeySelector = object({ name: opt(text), key: text, optional: opt(bool) }, ATOMIC)
const LocalReference = object({ name: opt(text), optional: opt(bool) })

export const EnvVar = object({
  name: text,
  value: opt(text),
  valueFrom: opt(
    object({
      configMapKeyRef: opt(KeySelector),
      secretKeyRef: opt(KeySelector),
      fieldRef: opt(object({ apiVersion: opt(text), fieldPath: text }, ATOMIC)),
      resourceFieldRef: opt(object({ containerName: opt(text), resource: text, divisor: opt(quantity) }, ATOMIC)),
      fileKeyRef: ignored(),
    }),
  ),
})
export type EnvVar = Static<typeof EnvVar>

export const EnvFromSource = object({
  prefix: opt(text),
  configMapRef: opt(LocalReference),
  secretRef: opt(LocalReference),
})
export type EnvFromSource = Static<typeof EnvFromSource>

const HttpGet = object({
  path: opt(text),
  port: intOrString,
  host: opt(text),
  scheme: opt(oneOf('HTTP', 'HTTPS')),
  httpHeaders: opt(Type.Array(object({ name: text, value: text }))),
})

const actions = {
  exec: opt(object({ command: opt(Type.Array(text)) })),
  httpGet: opt(HttpGet),
  tcpSocket: opt(object({ port: intOrString, host: opt(text) })),
}

export const Probe = object({
  ...actions,
  grpc: opt(object({ port: portNumber, service: opt(text) })),
  initialDelaySeconds: opt(count),
  timeoutSeconds: opt(count),
  periodSeconds: opt(count),
  successThreshold: opt(count),
  failureThreshold: opt(count),
  terminationGracePeriodSeconds: opt(int64),
})
export type Probe = Static<typeof Probe>

export const LifecycleHandler = object({ ...actions, sleep: opt(object({ seconds: int64 })) })
export type LifecycleHandler = Static<typeof LifecycleHandler>

const Lifecycle = object({ postStart: opt(LifecycleHandler), preStop: opt(LifecycleHandler), stopSignal: opt(text) })

const Capabilities = object({ add: opt(Type.Array(text)), drop: opt(Type.Array(text)) })

export const SeccompProfile = object({
  type: oneOf('RuntimeDefault', 'Unconfined', 'Localhost'),
  /** Of a file below the node's directory for profiles. */
  localhostProfile: opt(text),
})
export type SeccompProfile = Static<typeof SeccompProfile>

export const SecurityContext = object({
  runAsUser: opt(int64),
  runAsGroup: opt(int64),
  runAsNonRoot: opt(bool),
  privileged: opt(bool),
  readOnlyRootFilesystem: opt(bool),
  allowPrivilegeEscalation: opt(bool),
  capabilities: opt(Capabilities),
  seccompProfile: opt(SeccompProfile),
  appArmorProfile: ignored(),
  seLinuxOptions: ignored(),
  procMount: ignored(),
  windowsOptions: ignored(),
})
export type SecurityContext = Static<typeof SecurityContext>

const ContainerPort = object({
  name: opt(text),
  containerPort: portNumber,
  hostPort: opt(portNumber),
  protocol: opt(protocol),
  hostIP: opt(text),
})

export const VolumeMount = object({
  name: text,
  mountPath: text,
  readOnly: opt(bool),
  subPath: opt(text),
  subPathExpr: opt(text),
  mountPropagation: opt(oneOf('None', 'HostToContainer', 'Bidirectional')),
  recursiveReadOnly: opt(oneOf('Disabled', 'IfPossible', 'Enabled')),
})
export type VolumeMount = Static<typeof VolumeMount>

export const ResourceRequirements = object({
  requests: opt(quantityMap),
  limits: opt(quantityMap),
  claims: ignored(),
})
export type ResourceRequirements = Static<typeof ResourceRequirements>

export const Container = object({
  name: text,
  image: opt(text),
  imagePullPolicy: opt(oneOf('Always', 'IfNotPresent', 'Never')),
  command: opt(Type.Array(text)),
  args: opt(Type.Array(text)),
  workingDir: opt(text),
  ports: opt(listByKey(ContainerPort, 'containerPort', 'containerPort', 'protocol')),
  env: opt(listByKey(EnvVar, 'name')),
  envFrom: opt(Type.Array(EnvFromSource)),
  resources: opt(ResourceRequirements),
  volumeMounts: opt(listByKey(VolumeMount, 'mountPath')),
  livenessProbe: opt(Probe),
  readinessProbe: opt(Probe),
  startupProbe: opt(Probe),
  securityContext: opt(SecurityContext),
  stdin: opt(bool),
  stdinOnce: opt(bool),
  tty: opt(bool),
  terminationMessagePath: opt(text),
  terminationMessagePolicy: opt(oneOf('File', 'FallbackToLogsOnError')),
  lifecycle: opt(Lifecycle),
  resizePolicy: ignored(),
  /** Of init containers alone: one that is started again and again runs beside the others (a sidecar). */
  restartPolicy: opt(oneOf('Always')),
  volumeDevices: ignored(),
  restartPolicyRules: ignored(),
})
export type Container = Static<typeof Container>

const KeyToPath = object({ key: text, path: text, mode: opt(int32) })

const DownwardFile = object({
  path: text,
  fieldRef: opt(object({ apiVersion: opt(text), fieldPath: text }, ATOMIC)),
  resourceFieldRef: opt(object({ containerName: opt(text), resource: text, divisor: opt(quantity) }, ATOMIC)),
  mode: opt(int32),
})
export type DownwardFile = Static<typeof DownwardFile>

const keysOf = { name: opt(text), items: opt(Type.Array(KeyToPath)), optional: opt(bool) }

const ServiceAccountTokenFile = object({ audience: opt(text), expirationSeconds: opt(int64), path: text })
export type ServiceAccountTokenFile = Static<typeof ServiceAccountTokenFile>

const ProjectedSource = object({
  configMap: opt(object(keysOf)),
  secret: opt(object(keysOf)),
  downwardAPI: opt(object({ items: opt(Type.Array(DownwardFile)) })),
  serviceAccountToken: opt(ServiceAccountTokenFile),
  clusterTrustBundle: ignored(),
  podCertificate: ignored(),
})
export type ProjectedSource = Static<typeof ProjectedSource>

export const Volume = object({
  name: text,
  emptyDir: opt(object({ medium: opt(oneOf('', 'Memory')), sizeLimit: opt(quantity) })),
  hostPath: opt(
    object({
      path: text,
      type: opt(
        oneOf('', 'DirectoryOrCreate', 'Directory', 'FileOrCreate', 'File', 'Socket', 'CharDevice', 'BlockDevice'),
      ),
    }),
  ),
  configMap: opt(
    object({
      name: opt(text),
      items: opt(Type.Array(KeyToPath)),
      defaultMode: opt(int32),
      optional: opt(bool),
    }),
  ),
  secret: opt(
    object({
      secretName: opt(text),
      items: opt(Type.Array(KeyToPath)),
      defaultMode: opt(int32),
      optional: opt(bool),
    }),
  ),
  persistentVolumeClaim: opt(object({ claimName: text, readOnly: opt(bool) })),
  projected: opt(object({ sources: opt(Type.Array(ProjectedSource)), defaultMode: opt(int32) })),
  downwardAPI: opt(object({ items: opt(Type.Array(DownwardFile)), defaultMode: opt(int32) })),
  ...ignoredAll(
    ...['awsElasticBlockStore', 'azureDisk', 'azureFile', 'cephfs', 'cinder', 'fc', 'flexVolume', 'flocker'],
    ...['gcePersistentDisk', 'gitRepo', 'glusterfs', 'image', 'iscsi', 'photonPersistentDisk', 'portworxVolume'],
    ...['quobyte', 'rbd', 'scaleIO', 'storageos', 'vsphereVolume'],
  ),
  nfs: ignored(),
  csi: ignored(),
  ephemeral: ignored(),
})
export type Volume = Static<typeof Volume>

export const Toleration = object({
  key: opt(text),
  operator: opt(oneOf('Exists', 'Equal')),
  value: opt(text),
  effect: opt(oneOf('', 'NoSchedule', 'PreferNoSchedule', 'NoExecute')),
  tolerationSeconds: opt(int64),
})
export type Toleration = Static<typeof Toleration>

export const TopologySpreadConstraint = object({
  maxSkew: count,
  topologyKey: text,
  whenUnsatisfiable: oneOf('DoNotSchedule', 'ScheduleAnyway'),
  labelSelector: opt(LabelSelector),
  minDomains: ignored(),
  nodeAffinityPolicy: ignored(),
  nodeTaintsPolicy: ignored(),
  matchLabelKeys: ignored(),
})

export const Affinity = object({
  nodeAffinity: opt(
    object({
      requiredDuringSchedulingIgnoredDuringExecution: opt(NodeSelector),
      preferredDuringSchedulingIgnoredDuringExecution: ignored(),
    }),
  ),
  podAffinity: ignored(),
  podAntiAffinity: ignored(),
})
export type Affinity = Static<typeof Affinity>

/** No pod is ended to make room for another, whatever it says. */
export const PreemptionPolicy = unhonoured(oneOf('Never', 'PreemptLowerPriority'), 'PreemptLowerPriority')

export const PodSpec = object({
  containers: listByKey(Container, 'name'),
  initContainers: opt(listByKey(Container, 'name')),
  volumes: opt(listByKey(Volume, 'name')),
  restartPolicy: opt(oneOf('Always', 'OnFailure', 'Never')),
  terminationGracePeriodSeconds: opt(int64),
  nodeName: opt(text),
  nodeSelector: opt(atomicStringMap),
  affinity: opt(Affinity),
  tolerations: opt(Type.Array(Toleration)),
  topologySpreadConstraints: opt(
    listByKey(TopologySpreadConstraint, 'topologyKey', 'topologyKey', 'whenUnsatisfiable'),
  ),
  hostNetwork: opt(bool),
  hostname: opt(text),
  subdomain: opt(text),
  hostAliases: opt(listByKey(object({ ip: text, hostnames: opt(Type.Array(text)) }), 'ip')),
  dnsPolicy: opt(oneOf('ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None')),
  dnsConfig: opt(PodDnsConfig),
  schedulerName: opt(text),
  securityContext: opt(
    object({
      runAsUser: opt(int64),
      runAsGroup: opt(int64),
      runAsNonRoot: opt(bool),
      supplementalGroups: opt(Type.Array(int64)),
      fsGroup: opt(int64),
      sysctls: opt(Type.Array(object({ name: text, value: text }))),
      seccompProfile: opt(SeccompProfile),
      appArmorProfile: ignored(),
      seLinuxOptions: ignored(),
      fsGroupChangePolicy: opt(oneOf('Always', 'OnRootMismatch')),
      supplementalGroupsPolicy: opt(oneOf('Merge', 'Strict')),
      ...ignoredAll('seLinuxChangePolicy', 'windowsOptions'),
    }),
  ),
  imagePullSecrets: opt(listByKey(object({ name: opt(text) }), 'name')),
  enableServiceLinks: opt(bool),
  serviceAccountName: opt(text),
  serviceAccount: opt(text),
  automountServiceAccountToken: opt(bool),
  activeDeadlineSeconds: opt(int64),
  ephemeralContainers: ignored(),
  hostnameOverride: ignored(),
  hostIPC: opt(bool),
  hostPID: opt(bool),
  hostUsers: opt(bool),
  os: ignored(),
  overhead: opt(quantityMap),
  preemptionPolicy: PreemptionPolicy,
  priority: opt(int32),
  priorityClassName: opt(text),
  readinessGates: opt(Type.Array(object({ conditionType: text }))),
  resourceClaims: ignored(),
  resources: ignored(),
  runtimeClassName: opt(text),
  schedulingGates: ignored(),
  setHostnameAsFQDN: opt(bool),
  shareProcessNamespace: opt(bool),
})
export type PodSpec = Static<typeof PodSpec>

export const ContainerState = object({
  waiting: opt(object({ reason: opt(text), message: opt(text) })),
  running: opt(object({ startedAt: opt(time) })),
  terminated: opt(
    object({
      exitCode: int32,
      signal: opt(int32),
      reason: opt(text),
      message: opt(text),
      startedAt: opt(time),
      finishedAt: opt(time),
      containerID: opt(text),
    }),
  ),
})
export type ContainerState = Static<typeof ContainerState>

export const ContainerStatus = object({
  name: text,
  state: opt(ContainerState),
  lastState: opt(ContainerState),
  ready: bool,
  started: opt(bool),
  restartCount: count,
  image: text,
  imageID: text,
  containerID: opt(text),
  ...ignoredAll('allocatedResources', 'allocatedResourcesStatus', 'resources', 'stopSignal', 'user', 'volumeMounts'),
})
export type ContainerStatus = Static<typeof ContainerStatus>

export const PodStatus = object({
  phase: opt(oneOf('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown')),
  conditions: opt(listByKey(Condition, 'type')),
  message: opt(text),
  reason: opt(text),
  hostIP: opt(text),
  hostIPs: opt(listByKey(object({ ip: text }), 'ip')),
  podIP: opt(text),
  podIPs: opt(listByKey(object({ ip: text }), 'ip')),
  startTime: opt(time),
  containerStatuses: opt(Type.Array(ContainerStatus)),
  initContainerStatuses: opt(Type.Array(ContainerStatus)),
  qosClass: opt(text),
  observedGeneration: opt(int64),
  nominatedNodeName: kept(text),
  ...ignoredAll('ephemeralContainerStatuses', 'extendedResourceClaimStatus', 'resize', 'resourceClaimStatuses'),
})
export type PodStatus = Static<typeof PodStatus>

export const PodTemplateSpec = object({ metadata: opt(TemplateMeta), spec: PodSpec })
export type PodTemplateSpec = Static<typeof PodTemplateSpec>

export const Pod = object({ ...typeMeta('v1', 'Pod'), spec: PodSpec, status: opt(PodStatus) })
export type Pod = Static<typeof Pod>
