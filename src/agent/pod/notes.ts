/**
 * What a pod's worker remembers between looks. All of it may be lost: an agent that starts anew makes it again by the
 * same idempotent calls. Whether a container runs, and which attempt it is, is never kept here.
 */

import type { Sandbox } from '../runtime/runtime.ts'
import type { Begun } from './begin.ts'
import type { DrainFact, HookFact, ImageFact, NodeFailure, StopFact, Waiting } from './facts.ts'
import type { PodVolumes } from './pod_volumes.ts'
import type { Prober } from './prober.ts'
import type { UsageWatch } from './usage_watch.ts'

export interface Prepared extends PodVolumes {
  sandbox: Sandbox
  /** Resolves when the sandbox and the pod's own files are there: no container is created before. */
  prerequisites: Promise<unknown>
  /** What its runtime class has it run by; absent: the node's main runtime. */
  handler?: string
  /** Resolves when the pod's interface is there and bound by its policies, and its access files are written: nothing of the pod starts before. */
  connected: Promise<unknown>
  podIP: string
  /** Host path by path in the container. */
  etcFiles: ReadonlyMap<string, string>
}

export interface PodNotes {
  firstSeenMs: number
  prepared: Prepared | undefined
  /** Its first container, on the way before its start. */
  begun: Begun | undefined
  preparing: (Waiting & { failures: number }) | undefined
  images: Map<string, ImageFact>
  blocked: Map<string, Waiting & { failures: number }>
  stops: Map<string, StopFact>
  /** postStart hooks by container id. */
  hooks: Map<string, HookFact>
  /** The node has ended the pod, and why. */
  failed: NodeFailure | undefined
  /** See `exitTimes`. */
  exits: ReadonlyMap<string, number>
  probers: Map<string, Prober>
  usageWatch: UsageWatch | undefined
  /** Termination messages by container id. */
  messages: Map<string, string>
  /** Waits that an event was made of; one a restart. */
  backOffsTold: Set<string>
  looked: DrainFact['looked']
  released: boolean
  cleaned: boolean
  removed: boolean
}

export function newNotes(nowMs: number): PodNotes {
  return {
    firstSeenMs: nowMs,
    prepared: undefined,
    begun: undefined,
    preparing: undefined,
    images: new Map(),
    blocked: new Map(),
    stops: new Map(),
    hooks: new Map(),
    failed: undefined,
    exits: new Map(),
    probers: new Map(),
    usageWatch: undefined,
    messages: new Map(),
    backOffsTold: new Set(),
    looked: undefined,
    released: false,
    cleaned: false,
    removed: false,
  }
}
