/**
 * Pods' interfaces: a veth pair, its host end on the bridge, `eth0` in the pod's namespace. One process a pod, without a program
 * (pod_link_messages.ts); nothing is looked at first for a pod that is new here.
 *
 * The pod holds its address as a /32 and reaches everything through the bridge's address. With a /24 two pods of one
 * node would answer each other directly at layer 2, past the translation of a service address (unless br_netfilter is
 * loaded, which a host need not have), and the client would drop the answer.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { settleAll } from '../../base/settle.ts'
import { type Allocations, adopt, allocate, isFull, release } from './addresses.ts'
import { linkAlias, parseAlias, parseLinks } from './links.ts'
import { BRIDGE, POD_LINK, podLink } from './names.ts'
import type { PodInterface } from './network.ts'
import { addressMac, gatewayAddress } from './plan_node.ts'
import { deleteLink as deleteLinkCall, makePodLink, type PodLink } from './pod_link_messages.ts'
import { createSerial, type Programs } from './programs.ts'

export interface PortForm {
  mtu: number
  /** See `NodeFacts`. */
  isolate: boolean
}

export interface PodPorts {
  /** Reads what exists; the range and the ports' form hold for pods made from now on. */
  start(podCidr: string, form: PortForm, interfaces: readonly PodInterface[]): Promise<void>
  ensure(
    podUid: string,
    netNamespacePath: string | Promise<string>,
    onAddress?: (address: string) => void,
  ): Promise<PodInterface>
  list(): Promise<PodInterface[]>
  /** Whether the pod's interface is whole; false too when it has none. */
  isWhole(podUid: string, netNamespacePath: string): Promise<boolean>
  /** Links that look like a pod's, but are not that of the pod that they name. */
  nameless(): Promise<string[]>
  deleteLink(link: string): Promise<void>
  /** Addresses given out, by pod. */
  held(): Readonly<Record<string, string>>
  /** Pods that hold an address. */
  uids(): string[]
  /** The address that the pod holds. */
  addressOf(podUid: string): string | undefined
  /** Whether no address is left for a further pod. */
  isFull(): boolean
  remove(podUid: string): Promise<void>
  /** Deletes every pod's link in `links` and forgets the addresses. */
  clear(links: readonly string[]): Promise<void>
}

const FILE = 'addresses.json'
/** Uids are Kubernetes' (UUIDs); the alias and file hold them as they are. */
const UID = /^[A-Za-z0-9._-]{1,128}$/

function checkPod(podUid: string): void {
  if (!UID.test(podUid)) throw new DroverError('invalid', `"${podUid}" is no pod uid`)
}

function checkNamespace(netNamespacePath: string): void {
  if (!/^\/[^\s'"\\]+$/.test(netNamespacePath)) {
    throw new DroverError('invalid', `network namespace path "${netNamespacePath}" must be absolute, without spaces`)
  }
}

function isMissing(error: unknown): boolean {
  return /cannot find device|does not exist|no such device/i.test(DroverError.from(error).message)
}

function isPresent(error: unknown): boolean {
  return /file exists/i.test(DroverError.from(error).message)
}

export function createPodPorts(options: { programs: Programs; dataDir: string; log: Logger }): PodPorts {
  const { programs, dataDir, log } = options
  const path = join(dataDir, FILE)
  const writing = createSerial()
  const perPod = new Map<string, Promise<unknown>>()
  let current: Allocations | undefined
  let dirty = false
  let mtu = 0
  let isolate = false
  /** Namespaces of pods that this process has seen to, for changes inside them. */
  const namespaces = new Map<string, string>()

  const held = (): Allocations => {
    if (current === undefined)
      throw new DroverError('internal', 'ensureNode must resolve before pods are given addresses')
    return current
  }
  const read = async (): Promise<Allocations | undefined> => {
    try {
      return JSON.parse(await readFile(path, 'utf8')) as Allocations
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      // The kernel holds what matters; only the order of reuse is lost.
      if (!missing) log.warn({ err: error, path }, 'address file cannot be read; addresses are read from interfaces')
      return undefined
    }
  }
  /** Callers that wait at once share a write. */
  const save = (): Promise<void> => {
    dirty = true
    return writing(async () => {
      if (!dirty) return
      dirty = false
      await writeFile(`${path}.new`, JSON.stringify(held()))
      await rename(`${path}.new`, path)
    })
  }
  const exclusive = <T>(podUid: string, work: () => Promise<T>): Promise<T> => {
    const next = (perPod.get(podUid) ?? Promise.resolve()).then(work, work)
    const settled = next.then(
      () => undefined,
      () => undefined,
    )
    perPod.set(podUid, settled)
    void settled.then(() => {
      if (perPod.get(podUid) === settled) perPod.delete(podUid)
    })
    return next
  }

  const create = (pod: PodInterface, netNamespacePath: string): Promise<void> => {
    const link: PodLink = {
      name: podLink(pod.podUid),
      alias: linkAlias(pod),
      bridge: BRIDGE,
      mtu,
      mac: addressMac(pod.address),
      address: pod.address,
      gateway: gatewayAddress(held().podCidr),
      isolated: isolate,
    }
    return programs.calls(makePodLink(link, netNamespacePath))
  }

  /** Whether the pod's end is what `create` makes, seen from inside. The default route is made last. */
  const isComplete = async (pod: PodInterface, netNamespacePath: string): Promise<boolean> => {
    const inside = (args: readonly string[]) => programs.jsonIn(netNamespacePath, 'ip', ['-j', ...args]).catch(() => [])
    const [outer, inner, addresses, routes] = await Promise.all([
      programs.json('ip', ['-j', '-d', 'link', 'show', 'dev', podLink(pod.podUid)]).catch(() => []),
      inside(['link', 'show', 'dev', 'eth0']),
      inside(['-4', 'addr', 'show', 'dev', 'eth0']),
      inside(['route', 'show', 'default']),
    ])
    const [host] = parseLinks(outer)
    const [eth0] = parseLinks(inner, addresses)
    return (
      host?.master === BRIDGE &&
      host.up &&
      host.alias === linkAlias(pod) &&
      eth0?.mac === addressMac(pod.address) &&
      eth0.mtu === mtu &&
      eth0.addresses.some(({ address }) => address === pod.address) &&
      Array.isArray(routes) &&
      routes.length > 0
    )
  }

  const deleteLink = async (link: string): Promise<void> => {
    await programs.calls([deleteLinkCall(link)]).catch((error: unknown) => {
      if (!isMissing(error)) throw error
    })
  }

  const list = async (): Promise<PodInterface[]> => {
    const links = parseLinks(await programs.json('ip', ['-j', '-d', 'link', 'show', 'type', 'veth']))
    return links.flatMap(({ name, alias }) => (POD_LINK.test(name) ? (parseAlias(alias) ?? []) : []))
  }

  const ensure: PodPorts['ensure'] = async (podUid, namespace, onAddress) => {
    const known = held().held[podUid] !== undefined
    const allocated = allocate(held(), podUid)
    current = allocated.allocations
    const pod = { podUid, address: allocated.address }
    onAddress?.(pod.address)
    try {
      const netNamespacePath = await namespace
      checkNamespace(netNamespacePath)
      namespaces.set(podUid, netNamespacePath)
      if (known && (await isComplete(pod, netNamespacePath))) return pod
      if (known) await deleteLink(podLink(podUid))
      const made = create(pod, netNamespacePath).catch(async (error: unknown) => {
        // Left by a crash between two steps: nobody uses half an interface, so it is made anew.
        if (!isPresent(error)) throw error
        await deleteLink(podLink(podUid))
        await create(pod, netNamespacePath)
      })
      // Side by side: after a crash the interface tells of its address too. Both have settled before either is undone.
      await settleAll([made, save()])
      return pod
    } catch (error) {
      if (!known) {
        await deleteLink(podLink(podUid)).catch(() => undefined)
        namespaces.delete(podUid)
        current = release(held(), podUid)
        await save()
      }
      throw error
    }
  }

  /**
   * The underlay's MTU has changed. Pods whose namespace this process does not know keep theirs until they are ensured
   * again: the host tells them of the smaller one, packet by packet (path MTU discovery).
   */
  const adjust = async (podMtu: number): Promise<void> => {
    const changes = [...namespaces.values()].map((path) => programs.ipIn(path, [`link set dev eth0 mtu ${podMtu}`]))
    for (const result of await Promise.allSettled(changes)) {
      if (result.status === 'rejected') log.warn({ err: result.reason }, 'cannot set the MTU inside a pod')
    }
  }

  return {
    async start(podCidr, form, interfaces) {
      if (mtu !== form.mtu && mtu !== 0) await adjust(form.mtu)
      mtu = form.mtu
      isolate = form.isolate
      if (current?.podCidr === podCidr) return
      // Before anybody may be given an address, and so save.
      await mkdir(dataDir, { recursive: true })
      current = adopt(current ?? (await read()), podCidr, interfaces)
      await save()
    },
    ensure(podUid, netNamespacePath, onAddress) {
      checkPod(podUid)
      return exclusive(podUid, () => ensure(podUid, netNamespacePath, onAddress))
    },
    list,
    async isWhole(podUid, netNamespacePath) {
      const address = current?.held[podUid]
      return address !== undefined && (await isComplete({ podUid, address }, netNamespacePath))
    },
    async nameless() {
      const links = parseLinks(await programs.json('ip', ['-j', '-d', 'link', 'show', 'type', 'veth']))
      return links
        .filter(({ name, alias }) => POD_LINK.test(name) && podLink(parseAlias(alias)?.podUid ?? '') !== name)
        .map(({ name }) => name)
    },
    deleteLink,
    held: () => current?.held ?? {},
    uids: () => Object.keys(current?.held ?? {}),
    addressOf: (podUid) => current?.held[podUid],
    isFull: () => current !== undefined && isFull(current),
    remove(podUid) {
      checkPod(podUid)
      return exclusive(podUid, async () => {
        namespaces.delete(podUid)
        await deleteLink(podLink(podUid))
        if (current?.held[podUid] === undefined) return
        current = release(current, podUid)
        await save()
      })
    },
    async clear(links) {
      // One that goes by itself meanwhile, with its pod's namespace, must not keep the others.
      await programs.ip(links.map((link) => `link del ${link}`)).catch(async (error: unknown) => {
        if (!isMissing(error)) throw error
        for (const link of links) await deleteLink(link)
      })
      current = undefined
      await writing(() => rm(path, { force: true }))
    },
  }
}
