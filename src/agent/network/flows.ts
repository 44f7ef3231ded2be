/** Has the kernel forget UDP flows that lead where nothing leads any more, or past what leads somewhere now. */
import { isIPv4 } from 'node:net'
import { cidrContains, parseAddress, parseCidr } from '../../base/cidr.ts'
import type { Logger } from '../../base/log.ts'
import type { ServiceRow } from '../../rpc/tables.ts'
import type { NodeNetworkConfig } from './network.ts'
import type { HostPortTarget } from './plan_host_ports.ts'
import { failure, type Programs } from './programs.ts'
import { addressesOf, deleteArguments, type Flow, parseFlows, staleFlows, untranslatedFlows } from './stale_flows.ts'

export interface Flows {
  /** Those that lead to no endpoint, neither of a service nor of a host port. */
  forgetStale(
    config: NodeNetworkConfig,
    services: readonly ServiceRow[],
    hostPorts: readonly HostPortTarget[],
  ): Promise<void>
  /** Those to the host itself at ports that lead to pods now. */
  forgetUntranslated(ports: readonly number[]): Promise<void>
}

export function createFlows({ programs, log }: { programs: Programs; log: Logger }): Flows {
  const localAddresses = async () => addressesOf(await programs.json('ip', ['-j', '-4', 'addr', 'show']))
  const forget = async (flows: readonly Flow[]): Promise<void> => {
    for (const flow of flows) {
      const result = await programs.run('conntrack', deleteArguments(flow))
      // 1 with "0 flow entries": it ended by itself meanwhile.
      if (result.exitCode !== 0 && !/ 0 flow entries/.test(result.stderr)) {
        log.warn({ err: failure('conntrack -D', result) }, 'stale UDP flows remain')
      }
    }
  }
  return {
    async forgetStale({ cluster, podCidr }, services, hostPorts) {
      const [flows, local] = await Promise.all([
        programs.run('conntrack', ['-L', '-p', 'udp', '--dst-nat']),
        localAddresses(),
      ])
      const [serviceCidr, ownCidr] = [parseCidr(cluster.serviceCidr), parseCidr(podCidr)]
      const stale = staleFlows(parseFlows(flows.stdout), {
        services,
        hostPorts: hostPorts.filter(({ protocol }) => protocol === 'udp'),
        isOwnPod: (address) => isIPv4(address) && cidrContains(ownCidr, parseAddress(address)),
        isServiceAddress: (address) => isIPv4(address) && cidrContains(serviceCidr, parseAddress(address)),
        localAddresses: local,
        nodePortRange: cluster.nodePortRange,
      })
      await forget(stale)
    },
    async forgetUntranslated(ports) {
      if (ports.length === 0) return
      const local = await localAddresses()
      for (const port of ports) {
        const flows = await programs.run('conntrack', ['-L', '-p', 'udp', '--orig-port-dst', String(port)])
        await forget(untranslatedFlows(parseFlows(flows.stdout), local))
      }
    },
  }
}
