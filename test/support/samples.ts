/** One rich, valid object of each kind, as a user writes it. */
import type { KubeObject } from '../../src/api/meta.ts'

const template = {
  metadata: { labels: { app: 'web' } },
  spec: {
    containers: [
      {
        name: 'web',
        image: 'nginx:1.27',
        ports: [{ name: 'http', containerPort: 80 }],
        env: [
          { name: 'A', value: 'b' },
          { name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        ],
        resources: { requests: { cpu: '100m' }, limits: { cpu: 1, memory: '64Mi' } },
        readinessProbe: { httpGet: { port: 'http' } },
        volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }],
      },
    ],
    volumes: [{ name: 'tmp' }, { name: 'config', configMap: { name: 'c' } }],
    tolerations: [{ operator: 'Exists' as const }],
  },
}
const selector = { matchLabels: { app: 'web' } }

export const SAMPLES: Readonly<Record<string, KubeObject>> = {
  Namespace: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } },
  Node: {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1', labels: { 'kubernetes.io/hostname': 'n1' } },
    spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] },
  },
  Pod: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'default' }, spec: template.spec },
  Service: {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { type: 'NodePort', selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] },
  },
  ConfigMap: {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'c', namespace: 'default', annotations: { 'x.dev/y': 'z' } },
    ...{ data: { a: 'b' }, binaryData: { c: 'AAEC' } },
  },
  Secret: {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's', namespace: 'default' },
    ...{ stringData: { password: 'ä' }, data: { x: 'eA==' } },
  },
  ServiceAccount: {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'builder', namespace: 'default' },
    ...{ imagePullSecrets: [{ name: 'registry' }], automountServiceAccountToken: false },
  },
  Role: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name: 'reader', namespace: 'default' },
    ...{ rules: [{ apiGroups: [''], resources: ['pods', 'pods/log'], resourceNames: ['web'], verbs: ['get'] }] },
  },
  RoleBinding: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name: 'readers', namespace: 'default' },
    ...{
      subjects: [
        { kind: 'User', name: 'ann' },
        { kind: 'ServiceAccount', name: 'builder', namespace: 'default' },
      ],
      roleRef: { kind: 'Role', name: 'reader' },
    },
  },
  ClusterRole: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'system:metrics-reader' },
    ...{ rules: [{ nonResourceURLs: ['/metrics'], verbs: ['get'] }] },
  },
  ClusterRoleBinding: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'metrics' },
    ...{ subjects: [{ kind: 'Group', name: 'ops' }], roleRef: { kind: 'ClusterRole', name: 'system:metrics-reader' } },
  },
  Event: {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: 'e', namespace: 'default' },
    ...{ involvedObject: { kind: 'Pod', name: 'web' }, reason: 'R', lastTimestamp: '2026-01-01T00:00:00Z' },
  },
  Deployment: {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector, template, strategy: { rollingUpdate: { maxSurge: '50%' } } },
  },
  ReplicaSet: {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector, template, replicas: 3 },
  },
  StatefulSet: {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'db', namespace: 'default' },
    spec: {
      selector,
      serviceName: 'db',
      template: {
        ...template,
        spec: {
          containers: [{ name: 'db', image: 'db:1', volumeMounts: [{ name: 'data', mountPath: '/data' }] }],
        },
      },
      updateStrategy: { rollingUpdate: { partition: 1 } },
      volumeClaimTemplates: [
        {
          metadata: { name: 'data' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
        },
      ],
    },
  },
  DaemonSet: {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector, template, updateStrategy: { rollingUpdate: { maxUnavailable: '10%' } } },
  },
  ControllerRevision: {
    apiVersion: 'apps/v1',
    kind: 'ControllerRevision',
    metadata: { name: 'db-x', namespace: 'default' },
    ...{ revision: 1, data: { spec: { template } } },
  },
  Job: {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'pi', namespace: 'default' },
    spec: {
      template: { spec: { ...template.spec, restartPolicy: 'Never' } },
      completionMode: 'Indexed',
      completions: 3,
      podFailurePolicy: {
        rules: [
          { action: 'FailJob', onExitCodes: { operator: 'In', values: [42] } },
          { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget' }] },
        ],
      },
    },
  },
  CronJob: {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: 'nightly', namespace: 'default' },
    spec: {
      schedule: '*/5 2 * JAN-MAR mon,FRI',
      timeZone: 'Europe/Berlin',
      jobTemplate: { spec: { template: { spec: { ...template.spec, restartPolicy: 'OnFailure' } } } },
    },
  },
  PodDisruptionBudget: {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector, minAvailable: '50%' },
  },
  PersistentVolume: {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'disk' },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      local: { path: '/mnt/disk' },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n1'] }] },
          ],
        },
      },
    },
  },
  PersistentVolumeClaim: {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data', namespace: 'default' },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, storageClassName: 'local' },
  },
  StorageClass: {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'local' },
    ...{ provisioner: 'local.drover.dev', volumeBindingMode: 'WaitForFirstConsumer' },
  },
  RuntimeClass: {
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata: { name: 'fast' },
    ...{
      handler: 'crun',
      overhead: { podFixed: { cpu: '10m', memory: '8Mi' } },
      scheduling: {
        nodeSelector: { 'runtime.drover.dev/crun': 'true' },
        tolerations: [{ key: 'fast', operator: 'Exists' as const }],
      },
    },
  },
  PriorityClass: {
    apiVersion: 'scheduling.k8s.io/v1',
    kind: 'PriorityClass',
    metadata: { name: 'high' },
    ...{ value: 1000, globalDefault: false, description: 'What earns money', preemptionPolicy: 'Never' as const },
  },
  EndpointSlice: {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-x', namespace: 'default' },
    ...{
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: true } }],
      ports: [{ port: 80 }],
    },
  },
  NetworkPolicy: {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      podSelector: selector,
      ingress: [
        { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }, { namespaceSelector: {} }] },
        {
          from: [{ podSelector: selector }],
          ports: [
            { port: 80, endPort: 90 },
            { port: 'http', protocol: 'UDP' },
          ],
        },
      ],
      egress: [{ to: [{ podSelector: selector, namespaceSelector: {} }] }],
      policyTypes: ['Ingress', 'Egress'],
    },
  },
  Lease: {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name: 'operator', namespace: 'default' },
    spec: {
      holderIdentity: 'operator-0',
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:00:10.123456Z',
      leaseTransitions: 1,
    },
  },
}
