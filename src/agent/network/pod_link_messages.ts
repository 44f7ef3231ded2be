/**
 * A pod's interface in messages to the kernel: what `ip -batch` was told before, in the same order. Pure.
 *
 *   in the host's namespace   the pair, its inner end in the pod's namespace; the outer named, on the bridge, raised; its port set
 *   in the pod's              lo and eth0 raised, the address, the routes; the default route comes last
 *
 * The indices of interfaces are not known here: each call says at which place of its message which interface's belongs.
 */
import {
  enterNetworkCall,
  fileNumber,
  interfaceIndex,
  type KernelCall,
  netlinkCall,
  ROUTE,
} from '../../base/kernel_calls.ts'
import { ASK, attribute, ipv4Bytes, macBytes, message, nest, text, u8, u16, u32 } from './netlink.ts'

const RTM = { newLink: 16, deleteLink: 17, newAddress: 20, newRoute: 24 } as const
const FAMILY = { any: 0, ipv4: 2, ipv6: 10 } as const
const IFLA = { address: 1, name: 3, mtu: 4, master: 10, info: 18, alias: 20, ofFamilies: 26, namespace: 28 } as const
const INFO = { kind: 1, data: 2, portKind: 4, portData: 5 } as const
const VETH_PEER = 1
const ADDRESS_GENERATION = { attribute: 8, none: 1 } as const
const BRIDGE_PORT = { hairpin: 4, isolated: 33 } as const
const IFA = { address: 1, local: 2 } as const
const RTA = { destination: 1, device: 4, gateway: 5 } as const
const ROUTE_TABLE_MAIN = 254
const ROUTE_BY_HAND = 3
const SCOPE = { universe: 0, link: 253 } as const
const UNICAST = 1
const RAISED = 1

/** Bytes of a message's head, and of the structure that follows it in one about links. */
const HEAD = 16
const LINK_BYTES = 16
/** Where a message about links says which it means. */
const LINK_INDEX = HEAD + 4

/** struct ifinfomsg: of no certain index, `up` raises it. */
function link(up = false): Buffer {
  const flags = up ? RAISED : 0
  return Buffer.concat([u8(FAMILY.any), u8(0), u16(0), u32(0), u32(flags), u32(flags)])
}

function bytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0)
}

export interface PodLink {
  /** The host's end. */
  name: string
  alias: string
  bridge: string
  mtu: number
  mac: string
  address: string
  gateway: string
  isolated: boolean
}

/** Makes it in the caller's network namespace and that of the file. Fails with `File exists` when the host's end is there. */
export function makePodLink(pod: PodLink, netNamespacePath: string): KernelCall[] {
  return [
    newPair(pod, netNamespacePath),
    joinBridge(pod),
    setPort(pod),
    enterNetworkCall(netNamespacePath),
    raise('lo'),
    newAddress(pod.address, 'eth0'),
    raise('eth0'),
    newRoute('route to the gateway', 'eth0', SCOPE.link, [attribute(RTA.destination, ipv4Bytes(pod.gateway))]),
    newRoute('default route', 'eth0', SCOPE.universe, [attribute(RTA.gateway, ipv4Bytes(pod.gateway))]),
  ]
}

/** Fails with `No such device` when there is none. */
export function deleteLink(name: string): KernelCall {
  const bytes = message(RTM.deleteLink, ASK.answer, link(), attribute(IFLA.name, text(name)))
  return netlinkCall(`delete link ${name}`, ROUTE, bytes)
}

export function raise(name: string): KernelCall {
  return netlinkCall(`raise ${name}`, ROUTE, message(RTM.newLink, ASK.answer, link(true)), [
    { offset: LINK_INDEX, value: interfaceIndex(name) },
  ])
}

function newPair({ name, mtu, mac }: PodLink, netNamespacePath: string): KernelCall {
  const outer = [attribute(IFLA.name, text(name)), attribute(IFLA.mtu, u32(mtu))]
  const inner = [
    link(),
    attribute(IFLA.name, text('eth0')),
    attribute(IFLA.address, macBytes(mac)),
    attribute(IFLA.mtu, u32(mtu)),
    attribute(IFLA.namespace, u32(0)),
  ]
  const kind = attribute(INFO.kind, text('veth'))
  const info = nest(IFLA.info, kind, nest(INFO.data, nest(VETH_PEER, ...inner)))
  const pair = message(RTM.newLink, ASK.answer | ASK.create | ASK.exclusive, link(), ...outer, info)
  // The last four bytes.
  const offset = pair.length - 4
  return netlinkCall(`add link ${name}`, ROUTE, pair, [{ offset, value: fileNumber(netNamespacePath) }])
}

function joinBridge({ name, alias, bridge }: PodLink): KernelCall {
  const none = attribute(ADDRESS_GENERATION.attribute, u8(ADDRESS_GENERATION.none))
  const before = [
    attribute(IFLA.name, text(name)),
    attribute(IFLA.alias, text(alias)),
    nest(IFLA.ofFamilies, nest(FAMILY.ipv6, none)),
  ]
  const bytesBefore = HEAD + LINK_BYTES + bytes(before)
  const set = message(RTM.newLink, ASK.answer, link(true), ...before, attribute(IFLA.master, u32(0)))
  return netlinkCall(`set link ${name} master ${bridge}`, ROUTE, set, [
    { offset: LINK_INDEX, value: interfaceIndex(name) },
    { offset: bytesBefore + 4, value: interfaceIndex(bridge) },
  ])
}

function setPort({ name, isolated }: PodLink): KernelCall {
  const data = [attribute(BRIDGE_PORT.hairpin, u8(1)), attribute(BRIDGE_PORT.isolated, u8(isolated ? 1 : 0))]
  const info = nest(IFLA.info, attribute(INFO.portKind, text('bridge')), nest(INFO.portData, ...data))
  const set = message(RTM.newLink, ASK.answer, link(), info)
  return netlinkCall(`set port ${name}`, ROUTE, set, [{ offset: LINK_INDEX, value: interfaceIndex(name) }])
}

/** struct ifaddrmsg: one address alone. */
function newAddress(address: string, device: string): KernelCall {
  const fixed = Buffer.concat([u8(FAMILY.ipv4), u8(32), u8(0), u8(SCOPE.universe), u32(0)])
  const value = ipv4Bytes(address)
  const flags = ASK.answer | ASK.create | ASK.exclusive
  const add = message(RTM.newAddress, flags, fixed, attribute(IFA.local, value), attribute(IFA.address, value))
  const index = { offset: HEAD + 4, value: interfaceIndex(device) }
  return netlinkCall(`add address ${address}`, ROUTE, add, [index])
}

/** struct rtmsg: to one address where a destination is among the attributes, else to all. */
function newRoute(what: string, device: string, scope: number, attributes: readonly Buffer[]): KernelCall {
  const bits = scope === SCOPE.link ? 32 : 0
  const fixed = [FAMILY.ipv4, bits, 0, 0, ROUTE_TABLE_MAIN, ROUTE_BY_HAND, scope, UNICAST].map(u8)
  const flags = ASK.answer | ASK.create | ASK.exclusive
  const parts = [...fixed, u32(0), attribute(RTA.device, u32(0)), ...attributes]
  const index = { offset: HEAD + 12 + 4, value: interfaceIndex(device) }
  return netlinkCall(`add ${what}`, ROUTE, message(RTM.newRoute, flags, ...parts), [index])
}
