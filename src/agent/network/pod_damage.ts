/** What is not as it should be of pods' interfaces and of the addresses given out. */
import type { Damage } from '../../base/damage.ts'
import type { NetworkDriver } from './network.ts'
import type { PodPorts } from './pods.ts'

export async function findPodDamage(
  driver: Pick<NetworkDriver, 'ensurePod' | 'removePod'>,
  ports: PodPorts,
  pods: readonly { podUid: string; netNamespacePath: string }[],
  known: ReadonlySet<string>,
): Promise<Damage[]> {
  const damage: Damage[] = []
  const interfaces = await ports.list()
  for (const { podUid, netNamespacePath } of pods) {
    if (await ports.isWhole(podUid, netNamespacePath)) continue
    damage.push({
      part: 'addresses',
      subject: `interface of pod ${podUid}`,
      problem: 'is missing or not as it was made',
      mend: async () => {
        await driver.ensurePod(podUid, netNamespacePath)
      },
    })
  }
  for (const link of await ports.nameless()) {
    damage.push({
      part: 'addresses',
      subject: `interface ${link}`,
      problem: 'looks like that of a pod and is none',
      mend: () => ports.deleteLink(link),
    })
  }
  const withInterface = new Set(interfaces.map(({ podUid }) => podUid))
  for (const [podUid, address] of Object.entries(ports.held())) {
    if (withInterface.has(podUid) || known.has(podUid)) continue
    damage.push({
      part: 'addresses',
      subject: `${address} of pod ${podUid}`,
      problem: 'is given out, though nobody knows the pod',
      mend: () => driver.removePod(podUid),
    })
  }
  return damage
}
