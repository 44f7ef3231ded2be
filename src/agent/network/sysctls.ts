/**
 * Kernel settings of the host's network namespace. They belong to the machine: changed only where the driver may
 * (`manage`), with the former values kept in a file before the change, and put back at teardown.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { BRIDGE } from './names.ts'
import { failure, type Programs } from './programs.ts'

export interface Sysctls {
  /** True when it changed any. Throws `unsupported` when one that pods cannot do without may not be set. */
  ensure(): Promise<boolean>
  /** The bridge's own settings; call whenever it may be new. Loopback's packets may pass it: host ports on 127.0.0.1. */
  ensureBridge(): Promise<void>
  /**
   * Whether frames between ports of a bridge pass the IP hooks (br_netfilter). Then the kernel also bridges a translated
   * packet straight to its new port.
   */
  bridgedIsFiltered(): Promise<boolean>
  /** Whether the kernel tells pods of shorter ways to each other; after `ensure`, only where settings are not ours. */
  sendsRedirects(): Promise<boolean>
  restore(): Promise<void>
}

const BRIDGED = 'net.bridge.bridge-nf-call-iptables'
const FORWARDING = 'net.ipv4.ip_forward'
/**
 * Pods of one host reach each other through it by design. Redirects that tell them of a shorter way would be wrong, and
 * use up the budget of ICMP messages to a pod, so that a refused UDP service would time out instead.
 */
const ALL_REDIRECTS = 'net.ipv4.conf.all.send_redirects'
const WANTED: Readonly<Record<string, string>> = { [FORWARDING]: '1', [ALL_REDIRECTS]: '0' }
const FILE = 'sysctls.json'

export function createSysctls(options: { programs: Programs; dataDir: string; manage: boolean }): Sysctls {
  const { programs, dataDir, manage } = options
  const path = join(dataDir, FILE)

  const sysctl = async (args: readonly string[]): Promise<void> => {
    const result = await programs.run('sysctl', args)
    if (result.exitCode !== 0) throw failure(`sysctl ${args.join(' ')}`, result)
  }
  const load = async (): Promise<Record<string, string>> => {
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '{}'
      throw error
    })
    const saved: unknown = JSON.parse(text)
    return isObject(saved)
      ? Object.fromEntries(Object.entries(saved).map(([name, value]) => [name, String(value)]))
      : {}
  }

  return {
    async ensure() {
      const names = Object.keys(WANTED)
      const values = await programs.settings(names)
      const current = new Map(names.map((name, i) => [name, values[i] ?? '']))
      const wrong = names.filter((name) => current.get(name) !== WANTED[name])
      if (wrong.length === 0) return false
      if (!manage) {
        if (!wrong.includes(FORWARDING)) return false
        throw new DroverError(
          'unsupported',
          `${FORWARDING} is 0 on this host, so pods would reach nothing; set it: sysctl -w ${FORWARDING}=1`,
        )
      }
      // What was saved by an earlier run is the machine's own value; ours must not replace it.
      const saved = { ...Object.fromEntries(wrong.map((name) => [name, current.get(name) ?? ''])), ...(await load()) }
      await mkdir(dataDir, { recursive: true })
      await writeFile(`${path}.new`, JSON.stringify(saved))
      await rename(`${path}.new`, path)
      await sysctl(['-q', '-w', ...wrong.map((name) => `${name}=${WANTED[name]}`)])
      return true
    },
    async ensureBridge() {
      const settings = { send_redirects: 0, route_localnet: 1 }
      const words = Object.entries(settings).map(([name, value]) => `net.ipv4.conf.${BRIDGE}.${name}=${value}`)
      await sysctl(['-q', '-w', ...words])
    },
    async bridgedIsFiltered() {
      return (await programs.settings([BRIDGED]))[0] === '1'
    },
    async sendsRedirects() {
      return (await programs.settings([ALL_REDIRECTS]))[0] !== '0'
    },
    async restore() {
      const saved = Object.entries(await load())
      // Forwarding first: setting it resets others (Documentation/networking/ip-sysctl).
      saved.sort(([a], [b]) => Number(a !== FORWARDING) - Number(b !== FORWARDING))
      if (saved.length > 0) await sysctl(['-q', '-w', ...saved.map(([name, value]) => `${name}=${value}`)])
      await rm(path, { force: true })
    },
  }
}
