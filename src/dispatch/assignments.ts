/**
 * What each connected node is given to run: its bound pods, the ConfigMaps, Secrets and runtime classes that they name, no
 * others, and the volumes that lie on it.
 * One small table a node, filled when its session begins and kept current from events for as long as it lasts.
 */

import { findCondition, isTerminating } from '../api/conditions.ts'
import type { ConfigMap } from '../api/configmap.ts'
import { configMapKind } from '../api/configmap.ts'
import { keyOf, splitKey } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { DEFAULT_SERVICE_ACCOUNT, POD_CONDITION } from '../api/names.ts'
import { nodeKind } from '../api/node.ts'
import { matchesNodeSelector } from '../api/node_selector.ts'
import { type PersistentVolume, persistentVolumeKind, VOLUME_NODE_LABEL } from '../api/persistentvolume.ts'
import type { Pod, PodStatus } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { podReferences } from '../api/pod_references.ts'
import { type RuntimeClass, runtimeClassKind } from '../api/runtimeclass.ts'
import { type Secret, secretKind } from '../api/secret.ts'
import { serviceAccountKind } from '../api/serviceaccount.ts'
import { NO_ENDPOINTS } from '../api/termination.ts'
import type { ResourceEvent, Resources } from '../resources/resources.ts'
import { jsonBytes } from '../rpc/messages.ts'
import { RowTable } from './row_table.ts'

const FINISHED = new Set(['Succeeded', 'Failed'])

/**
 * The pod as its node needs it. Status is the agent's own to report, so it is left out, and its echo sends nothing;
 * but for what others say there and the agent must heed: that the pod is over, and that it may be stopped.
 */
export function assignedPod(pod: Pod, needsDrain: (pod: Pod) => boolean = () => false, automount = false): Pod {
  const { managedFields: _fields, resourceVersion: _version, ...metadata } = pod.metadata
  const status: PodStatus = {}
  const { phase, reason, message, startTime } = pod.status ?? {}
  if (phase !== undefined && FINISHED.has(phase)) {
    status.phase = phase
    if (reason !== undefined) status.reason = reason
    if (message !== undefined) status.message = message
  }
  // An agent that comes back counts on from there.
  if (startTime !== undefined && pod.spec.activeDeadlineSeconds !== undefined) status.startTime = startTime
  const drained = findCondition(pod.status?.conditions, POD_CONDITION.drained)
  if (drained !== undefined) status.conditions = [drained]
  else if (isTerminating(pod) && !needsDrain(pod)) {
    status.conditions = [{ type: POD_CONDITION.drained, status: 'True', reason: NO_ENDPOINTS }]
  }
  // Whether the pod finds a token in its files is settled here: agents know pods, not accounts.
  const spec = { ...pod.spec, automountServiceAccountToken: automount }
  return { apiVersion: pod.apiVersion, kind: pod.kind, metadata, spec, status }
}

type Named = ConfigMap | Secret | RuntimeClass

/** Rows that a pod needs beside its own. */
function namedBy(pod: Pod): Set<string> {
  const { runtimeClassName } = pod.spec
  const references = podReferences(pod)
  return runtimeClassName === undefined ? references : references.add(`runtimeclass/${runtimeClassName}`)
}

function assignedConfig(object: Named): KubeObject {
  const { managedFields: _fields, ...metadata } = object.metadata
  return { ...object, metadata }
}

const volumeKey = ({ metadata }: Stored<PersistentVolume>): string => `volume/${metadata.name}`

export interface AssignmentOptions {
  /** Whether a pod that ends has to leave traffic before it may be stopped. */
  needsDrain(pod: Pod): boolean
  /** Whether this server can give tokens to pods. */
  signsTokens: boolean
}

interface NodeTable {
  table: RowTable
  references: Map<string, Set<string>>
  /** How many pods name each reference. */
  uses: Map<string, number>
  onChange: () => void
}

export class Assignments {
  readonly #resources: Resources
  readonly #options: AssignmentOptions
  readonly #nodes = new Map<string, NodeTable>()

  constructor(resources: Resources, options: AssignmentOptions) {
    this.#resources = resources
    this.#options = options
  }

  /** The node's table, filled; `onChange` is called after every change until `close`. */
  open(nodeName: string, onChange: () => void): RowTable {
    const node: NodeTable = {
      table: new RowTable(Math.max(1, this.#resources.revision())),
      references: new Map(),
      uses: new Map(),
      onChange,
    }
    this.#nodes.set(nodeName, node)
    for (const volume of this.#resources.list(persistentVolumeKind)) this.#putVolume(nodeName, node, volume)
    for (const pod of this.#resources.podsOnNode(nodeName)) this.#putPod(node, pod as Stored<Pod>)
    return node.table
  }

  close(nodeName: string, table: RowTable): void {
    if (this.#nodes.get(nodeName)?.table === table) this.#nodes.delete(nodeName)
  }

  /** Follows events; returns how to stop. */
  subscribe(): () => void {
    const stops = [
      this.#resources.subscribe(podKind, (event) => this.#onPod(event)),
      this.#resources.subscribe(configMapKind, (event) => this.#onConfig('configmap', event)),
      this.#resources.subscribe(secretKind, (event) => this.#onConfig('secret', event)),
      this.#resources.subscribe(runtimeClassKind, (event) => this.#onConfig('runtimeclass', event)),
      this.#resources.subscribe(persistentVolumeKind, (event) => this.#onVolume(event)),
    ]
    return () => {
      for (const stop of stops) stop()
      this.#nodes.clear()
    }
  }

  #onPod(event: ResourceEvent<Pod>): void {
    const node = this.#nodes.get(event.object.spec.nodeName ?? '')
    if (node === undefined) return
    const changed = event.type === 'DELETED' ? this.#removePod(node, event.object) : this.#putPod(node, event.object)
    if (changed) node.onChange()
  }

  #onConfig(table: 'configmap' | 'secret' | 'runtimeclass', event: ResourceEvent<Named>): void {
    const key = `${table}/${keyOf(event.object)}`
    const json = event.type === 'DELETED' ? undefined : jsonBytes(assignedConfig(event.object))
    for (const node of this.#nodes.values()) {
      if (node.uses.has(key) && node.table.apply([[key, json]])) node.onChange()
    }
  }

  #onVolume({ type, object }: ResourceEvent<PersistentVolume>): void {
    for (const [nodeName, node] of this.#nodes) {
      const changed =
        type === 'DELETED'
          ? node.table.apply([[volumeKey(object), undefined]])
          : this.#putVolume(nodeName, node, object)
      if (changed) node.onChange()
    }
  }

  /** Only volumes that the node could mount: ours say where they are, others by their node affinity. */
  #putVolume(nodeName: string, node: NodeTable, volume: Stored<PersistentVolume>): boolean {
    const home = volume.metadata.labels?.[VOLUME_NODE_LABEL]
    const required = volume.spec.nodeAffinity?.required
    const labels = this.#resources.get(nodeKind, '', nodeName)?.metadata.labels ?? {}
    const isHere =
      home === undefined
        ? required === undefined || matchesNodeSelector(required, { name: nodeName, labels })
        : home === nodeName
    return isHere && node.table.apply([[volumeKey(volume), jsonBytes(volume)]])
  }

  #putPod(node: NodeTable, stored: Stored<Pod>): boolean {
    const pod = this.#withPullSecrets(stored)
    const key = `pod/${keyOf(pod)}`
    const wanted = namedBy(pod)
    const rows: (readonly [string, Uint8Array | undefined])[] = []
    // What a pod needs goes before the pod in the same change.
    for (const reference of wanted) {
      if (node.references.get(key)?.has(reference)) continue
      const uses = node.uses.get(reference) ?? 0
      node.uses.set(reference, uses + 1)
      if (uses === 0) rows.push([reference, this.#configBytes(reference)])
    }
    rows.push(...this.#release(node, key, wanted))
    node.references.set(key, wanted)
    rows.push([key, jsonBytes(assignedPod(pod, this.#options.needsDrain, this.#automounts(pod)))])
    return node.table.apply(rows)
  }

  /** A pod that names no pull secrets has its account's, as in Kubernetes. */
  #withPullSecrets(pod: Stored<Pod>): Stored<Pod> {
    const { metadata, spec } = pod
    if ((spec.imagePullSecrets ?? []).length > 0) return pod
    const account = spec.serviceAccountName ?? DEFAULT_SERVICE_ACCOUNT
    const { imagePullSecrets = [] } = this.#resources.get(serviceAccountKind, metadata.namespace ?? '', account) ?? {}
    return imagePullSecrets.length === 0 ? pod : { ...pod, spec: { ...spec, imagePullSecrets } }
  }

  /** The pod's word counts first, then its account's. */
  #automounts({ metadata, spec }: Stored<Pod>): boolean {
    if (!this.#options.signsTokens) return false
    const account = spec.serviceAccountName ?? DEFAULT_SERVICE_ACCOUNT
    const wanted = spec.automountServiceAccountToken
    return (
      wanted ??
      this.#resources.get(serviceAccountKind, metadata.namespace ?? '', account)?.automountServiceAccountToken ??
      true
    )
  }

  #removePod(node: NodeTable, pod: Stored<Pod>): boolean {
    const key = `pod/${keyOf(pod)}`
    const rows = this.#release(node, key, new Set())
    node.references.delete(key)
    return node.table.apply([[key, undefined], ...rows])
  }

  /** Gives up the pod's references that are not in `kept`; rows that no other pod of the node uses are gone. */
  #release(node: NodeTable, key: string, kept: ReadonlySet<string>): (readonly [string, undefined])[] {
    const gone: (readonly [string, undefined])[] = []
    for (const reference of node.references.get(key) ?? []) {
      if (kept.has(reference)) continue
      const uses = (node.uses.get(reference) ?? 1) - 1
      if (uses > 0) node.uses.set(reference, uses)
      else {
        node.uses.delete(reference)
        gone.push([reference, undefined])
      }
    }
    return gone
  }

  #configBytes(reference: string): Uint8Array | undefined {
    const slash = reference.indexOf('/')
    const { namespace, name } = splitKey(reference.slice(slash + 1))
    const kinds = { secret: secretKind, configmap: configMapKind, runtimeclass: runtimeClassKind } as const
    const table = reference.slice(0, slash) as keyof typeof kinds
    const object: Stored<Named> | undefined = this.#resources.get<Named>(kinds[table], namespace, name)
    return object === undefined ? undefined : jsonBytes(assignedConfig(object))
  }
}
