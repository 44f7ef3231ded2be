/**
 * System calls that Node has none for: mounts and namespaces. Several go together in one process of their own, started by
 * the launcher without any program (base/launcher.ts), so that each costs what the kernel takes, not what starting
 * mount(8) or unshare(1) takes: measured 0.7 ms beside 3 for an overlay, 1.5 beside 4 for a pod's namespaces.
 *
 * Source: mount(2), umount(2), unshare(2), setns(2), netdevice(7), netlink(7), user_namespaces(7), mount_setattr(2).
 */
import { DroverError } from './errors.ts'
import { callsOk, runCalls } from './process.ts'

/** Flags of mount(2). */
export const MOUNT = { nosuid: 2, nodev: 4, noexec: 8, bind: 4096, slave: 524_288 } as const

/** Namespaces as unshare(2) counts them. */
export const NAMESPACE = { uts: 0x4000000, ipc: 0x8000000, user: 0x10000000, net: 0x40000000 } as const

const DETACH = 2

/** As the launcher takes it: what to say of it, its number, how many values, the values. */
export type KernelCall = readonly string[]

interface Numbers {
  mount: number
  umount2: number
  unshare: number
  setns: number
}

const GENERIC: Numbers = { mount: 40, umount2: 39, unshare: 97, setns: 268 }

/** By Node's `process.arch`. Source: the kernel's system call tables. */
const NUMBERS: Readonly<Record<string, Numbers>> = {
  x64: { mount: 165, umount2: 166, unshare: 272, setns: 308 },
  arm64: GENERIC,
  riscv64: GENERIC,
  loong64: GENERIC,
  ppc64: { mount: 21, umount2: 52, unshare: 282, setns: 350 },
  s390x: { mount: 21, umount2: 52, unshare: 303, setns: 339 },
  arm: { mount: 21, umount2: 52, unshare: 337, setns: 375 },
  ia32: { mount: 21, umount2: 52, unshare: 310, setns: 346 },
}

function numbersHere(): Numbers {
  const numbers = NUMBERS[process.arch]
  if (numbers !== undefined) return numbers
  throw new DroverError('unsupported', `the kernel's calls are not known for the processor "${process.arch}"`)
}

/** `name`: a number of the kernel's, or what calls_script.ts has a sub for. */
export function wordCall(what: string, name: string, values: readonly (string | number)[]): KernelCall {
  const marked = values.map((value) => (typeof value === 'number' ? `n${value}` : `s${value}`))
  return [what, name, String(values.length), ...marked]
}

function call(what: string, name: keyof Numbers, ...values: (string | number)[]): KernelCall {
  return wordCall(what, String(numbersHere()[name]), values)
}

export interface MountOptions {
  source: string
  target: string
  /** File system; absent for a bind mount. */
  type?: string
  /** Bits of `MOUNT`, added. */
  flags?: number
  /** The file system's own options, separated by commas. */
  data?: string
}

export function mountCall({ source, target, type, flags = 0, data }: MountOptions): KernelCall {
  return call(`mount ${source} at ${target}`, 'mount', source, target, type ?? 0, flags, data ?? 0)
}

export function bindCall(source: string, target: string): KernelCall {
  return mountCall({ source, target, flags: MOUNT.bind })
}

/** `lazily`: it goes from the tree at once, and wholly when nobody uses it any more. Links are not followed. */
export function unmountCall(target: string, lazily = false): KernelCall {
  const NO_FOLLOW = 8
  return call(`unmount ${target}`, 'umount2', target, NO_FOLLOW | (lazily ? DETACH : 0))
}

/** What follows it runs in new namespaces. */
export function unshareCall(namespaces: readonly (keyof typeof NAMESPACE)[]): KernelCall {
  const flags = namespaces.reduce((sum, name) => sum | NAMESPACE[name], 0)
  return call(`new namespaces (${namespaces.join(', ')})`, 'unshare', flags)
}

export interface NewUsers {
  /** The first of the host's ids that the namespace's, from 0, stand for. */
  firstId: number
  size: number
  /** Files to pin the namespaces at; `user` among them. */
  pins: readonly { name: keyof typeof NAMESPACE; path: string }[]
}

/** A user namespace with others that belong to it, pinned, `lo` raised; the caller itself stays where it is. */
export function newUsersCall({ firstId, size, pins }: NewUsers): KernelCall {
  const { unshare, mount } = numbersHere()
  const flags = pins.reduce((sum, { name }) => sum | NAMESPACE[name], 0)
  const values = [unshare, mount, flags, firstId, size, ...pins.flatMap(({ name, path }) => [name, path])]
  return wordCall('new user namespace', 'users', values)
}

export interface IdmapOptions {
  source: string
  target: string
  /** File that holds the user namespace. */
  users: string
  /** `all`: with what is mounted below. */
  readOnly?: 'top' | 'all'
}

/** What is mounted at `source` and below it, at `target` too, with the ids of a user namespace. */
export function idmapCall({ source, target, users, readOnly }: IdmapOptions): KernelCall {
  const AT_EMPTY_PATH = 0x1000
  const AT_RECURSIVE = 0x8000
  const fixed = readOnly === undefined ? 0 : AT_EMPTY_PATH | (readOnly === 'all' ? AT_RECURSIVE : 0)
  return wordCall(`mount ${source} with the ids of a user namespace`, 'idmap', [source, target, users, fixed])
}

/** Writes to a file of the kernel's that may let its writer wait: Node would hold one of its few threads for as long. */
export function writeCall(path: string, text: string): KernelCall {
  return wordCall(`write ${path}`, 'put', [path, text])
}

/** Raises the loopback interface of the network namespace in which it is done. */
export function raiseLoopbackCall(): KernelCall {
  return ['raise lo', 'up', '1', 'slo']
}

/** What follows it happens in the network namespace of the file. */
export function enterNetworkCall(path: string): KernelCall {
  return wordCall(`enter ${path}`, 'enter', [numbersHere().setns, path, NAMESPACE.net])
}

/** Netlink's families: NETLINK_ROUTE and NETLINK_NETFILTER. */
export const ROUTE = 0
export const NETFILTER = 12

/** A number of 32 bits that only the process that tells the kernel can know, and where in the message it goes. */
export interface Place {
  offset: number
  value: string
}

/** The number under which the file is open, such as a message that names a namespace takes. */
export const fileNumber = (path: string): string => `file:${path}`

/** In the network namespace in which the message is sent. */
export const interfaceIndex = (name: string): string => `link:${name}`

/** Sends one message, or a batch, and fails with the error that the kernel's first answer holds. */
export function netlinkCall(
  what: string,
  family: typeof ROUTE | typeof NETFILTER,
  message: Uint8Array,
  places: readonly Place[] = [],
): KernelCall {
  const values = places.flatMap(({ offset, value }) => [offset, value])
  return wordCall(what, 'netlink', [family, Buffer.from(message).toString('hex'), ...values])
}

/** Does one after the other; the first that fails is told as `internal`, and those before it stay done. */
export async function kernelCalls(calls: readonly KernelCall[], options: { cwd?: string } = {}): Promise<void> {
  await callsOk(calls.flat(), options)
}

/** In the order given. Whether all went: one that is busy or no mount is no error here. */
export async function tryUnmount(targets: readonly string[], lazily = false): Promise<boolean> {
  if (targets.length === 0) return true
  const calls = targets.map((target) => {
    const [what = '', number = '', ...values] = unmountCall(target, lazily)
    return [what, `?${number}`, ...values]
  })
  return (await runCalls(calls.flat())).exitCode === 0
}
