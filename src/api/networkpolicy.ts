/** NetworkPolicy. Source: Kubernetes networking.k8s.io/v1. */
import Type, { type Static } from 'typebox'
import { cidrContains, parseCidr } from '../base/cidr.ts'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { LabelSelector, typeMeta } from './meta.ts'
import { isDnsLabel } from './names.ts'
import { object, oneOf, opt, text } from './schema.ts'
import { selectorCell, selectorErrors } from './selector.ts'

export const IPBlock = object({ cidr: text, except: opt(Type.Array(text)) })
export type IPBlock = Static<typeof IPBlock>

export const NetworkPolicyPeer = object({
  podSelector: opt(LabelSelector),
  namespaceSelector: opt(LabelSelector),
  ipBlock: opt(IPBlock),
})
export type NetworkPolicyPeer = Static<typeof NetworkPolicyPeer>

const portOrName = Type.Unsafe<number | string>({
  anyOf: [{ type: 'integer', minimum: 1, maximum: 65535 }, { type: 'string' }],
  'x-kubernetes-int-or-string': true,
})

export const NetworkPolicyPort = object({
  protocol: opt(oneOf('TCP', 'UDP', 'SCTP')),
  port: opt(portOrName),
  endPort: opt(Type.Integer({ minimum: 1, maximum: 65535 })),
})
export type NetworkPolicyPort = Static<typeof NetworkPolicyPort>

export const NetworkPolicy = object({
  ...typeMeta('networking.k8s.io/v1', 'NetworkPolicy'),
  spec: opt(
    object({
      podSelector: opt(LabelSelector),
      ingress: opt(
        Type.Array(object({ from: opt(Type.Array(NetworkPolicyPeer)), ports: opt(Type.Array(NetworkPolicyPort)) })),
      ),
      egress: opt(
        Type.Array(object({ to: opt(Type.Array(NetworkPolicyPeer)), ports: opt(Type.Array(NetworkPolicyPort)) })),
      ),
      policyTypes: opt(Type.Array(oneOf('Ingress', 'Egress'))),
    }),
  ),
})
export type NetworkPolicy = Static<typeof NetworkPolicy>

/** IANA service name as Kubernetes takes it for a port: at most 15 characters, with a letter among them. */
function isPortName(name: string): boolean {
  return name.length <= 15 && isDnsLabel(name) && !name.includes('--') && /[a-z]/.test(name)
}

function blockErrors({ cidr, except = [] }: IPBlock, path: string): FieldError[] {
  const errors: FieldError[] = []
  const read = (value: string, where: string) => {
    try {
      return parseCidr(value)
    } catch {
      errors.push({ path: where, reason: 'Invalid', message: `"${value}" is not a CIDR range, e.g. 10.9.0.0/16` })
      return undefined
    }
  }
  const range = read(cidr, `${path}.cidr`)
  for (const [index, value] of except.entries()) {
    const where = `${path}.except[${index}]`
    const inner = read(value, where)
    if (range === undefined || inner === undefined) continue
    const within = cidrContains(range, { family: inner.family, value: inner.base })
    if (!within || inner.prefixLength <= range.prefixLength) {
      errors.push({ path: where, reason: 'Invalid', message: `"${value}" must be a part of ${cidr}, and smaller` })
    }
  }
  return errors
}

function peerErrors({ podSelector, namespaceSelector, ipBlock }: NetworkPolicyPeer, path: string): FieldError[] {
  const selects = podSelector !== undefined || namespaceSelector !== undefined
  if (!selects && ipBlock === undefined) {
    return [{ path, reason: 'Required', message: 'give podSelector, namespaceSelector or ipBlock' }]
  }
  if (selects && ipBlock !== undefined) {
    return [{ path, reason: 'Forbidden', message: 'ipBlock stands alone: give selectors as a peer of their own' }]
  }
  if (ipBlock !== undefined) return blockErrors(ipBlock, `${path}.ipBlock`)
  return [
    ...(podSelector === undefined ? [] : selectorErrors(podSelector, `${path}.podSelector`)),
    ...(namespaceSelector === undefined ? [] : selectorErrors(namespaceSelector, `${path}.namespaceSelector`)),
  ]
}

function portErrors({ port, endPort }: NetworkPolicyPort, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (typeof port === 'string' && !isPortName(port)) {
    errors.push({ path: `${path}.port`, reason: 'Invalid', message: `"${port}" is neither a port nor a port's name` })
  }
  if (endPort === undefined) return errors
  if (typeof port !== 'number') {
    errors.push({ path: `${path}.endPort`, reason: 'Invalid', message: 'goes only with a port given as a number' })
  } else if (endPort < port) {
    errors.push({ path: `${path}.endPort`, reason: 'Invalid', message: `${endPort} is less than port ${port}` })
  }
  return errors
}

interface Rule {
  peers: readonly NetworkPolicyPeer[]
  ports: readonly NetworkPolicyPort[]
  path: string
  word: 'from' | 'to'
}

function ruleErrors({ peers, ports, path, word }: Rule): FieldError[] {
  return [
    ...peers.flatMap((peer, index) => peerErrors(peer, `${path}.${word}[${index}]`)),
    ...ports.flatMap((port, index) => portErrors(port, `${path}.ports[${index}]`)),
  ]
}

function validatePolicy({ spec = {} }: NetworkPolicy): FieldError[] {
  const { podSelector = {}, ingress = [], egress = [], policyTypes = [] } = spec
  const errors = selectorErrors(podSelector, 'spec.podSelector')
  for (const [index, { from = [], ports = [] }] of ingress.entries()) {
    errors.push(...ruleErrors({ peers: from, ports, path: `spec.ingress[${index}]`, word: 'from' }))
  }
  for (const [index, { to = [], ports = [] }] of egress.entries()) {
    errors.push(...ruleErrors({ peers: to, ports, path: `spec.egress[${index}]`, word: 'to' }))
  }
  if (new Set(policyTypes).size < policyTypes.length) {
    errors.push({ path: 'spec.policyTypes', reason: 'Duplicate', message: 'names a direction twice' })
  }
  return errors
}

export const networkPolicyKind = defineKind<NetworkPolicy>({
  group: 'networking.k8s.io',
  version: 'v1',
  kind: 'NetworkPolicy',
  plural: 'networkpolicies',
  singular: 'networkpolicy',
  shortNames: ['netpol'],
  namespaced: true,
  schema: NetworkPolicy,
  hasGeneration: true,
  applyDefaults(policy) {
    policy.spec ??= {}
    const { spec } = policy
    spec.podSelector ??= {}
    // A policy without types isolates ingress, and egress where it has rules for it.
    spec.policyTypes ??= spec.egress === undefined || spec.egress.length === 0 ? ['Ingress'] : ['Ingress', 'Egress']
    for (const rule of [...(spec.ingress ?? []), ...(spec.egress ?? [])]) {
      for (const port of rule.ports ?? []) port.protocol ??= 'TCP'
    }
  },
  validate: validatePolicy,
  columns: [
    {
      name: 'Pod-Selector',
      type: 'string',
      description: 'Pods that it isolates',
      value: ({ spec }) => selectorCell(spec?.podSelector),
    },
  ],
})
