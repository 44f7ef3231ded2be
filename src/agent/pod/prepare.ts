/** Makes what a pod's containers share: sandbox, interface, volumes and files. Idempotent: an agent that comes back does it again. */
import { ANNOTATION } from '../../api/names.ts'
import type { Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import type { AgentContext } from '../context.ts'
import type { Sandbox } from '../runtime/runtime.ts'
import { startEarly } from './early.ts'
import { etcFiles, kernelHostname } from './etc_files.ts'
import type { Prepared } from './notes.ts'
import { ensureVolumes } from './pod_volumes.ts'
import { handlerOf } from './runtime_handler.ts'

/** How a pod without a network finds itself in its own hosts file; it has no address to report. */
const LOOPBACK = '127.0.0.1'

/** Whether the pod has asked for no network; throws for a mode that there is not. */
function isCutOff({ metadata }: Pod): boolean {
  const mode = metadata.annotations?.[ANNOTATION.network]
  if (mode === undefined || mode === 'overlay' || mode === 'none') return mode === 'none'
  throw new DroverError('invalid', `annotation ${ANNOTATION.network} is "${mode}"; it takes overlay or none`)
}

/** As `Promise.all`, but a failure is told only when none is under way any more; whoever awaits it may come late. */
function allDone(parts: readonly Promise<unknown>[]): Promise<void> {
  const done = Promise.allSettled(parts).then((results) => {
    const failed = results.find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
  })
  done.catch(() => undefined)
  return done
}

export async function prepare(agent: AgentContext, pod: Pod): Promise<Prepared> {
  const { runtime, network, volumes } = agent.drivers
  const podUid = pod.metadata.uid ?? ''
  const hostNetwork = pod.spec.hostNetwork === true
  const handler = await handlerOf(agent, pod)
  const withInterface = async (): Promise<{ sandbox: Sandbox; podIP: string; connected: Promise<unknown> }> => {
    const sandbox = await runtime.ensureSandbox({
      podUid,
      namespace: pod.metadata.namespace ?? '',
      podName: pod.metadata.name ?? '',
      hostname: kernelHostname(pod, agent.clusterDomain()),
      hostNetwork,
      ...(pod.spec.shareProcessNamespace === true ? { shareProcesses: true } : {}),
      ...(pod.spec.hostUsers === false ? { ownUsers: true } : {}),
    })
    const { netNamespacePath } = sandbox
    if (netNamespacePath === undefined) return { sandbox, podIP: agent.nodeAddress, connected: Promise.resolve() }
    if (isCutOff(pod)) return { sandbox, podIP: LOOPBACK, connected: network.ensureLoopback(netNamespacePath) }
    // The address is all that the files and the container's creation need: the interface is made beside them.
    const { known, done } = startEarly<string>(async (tell) => {
      const { address } = await network.ensurePod(podUid, netNamespacePath, tell)
      return address
    })
    return { sandbox, podIP: await known, connected: done }
  }
  const interfaceMade = withInterface()
  const volumesMade = ensureVolumes(agent, pod)
  const parts = [
    interfaceMade,
    volumesMade,
    agent.files.read('/etc/resolv.conf'),
    agent.files.read('/etc/hosts'),
  ] as const
  const [{ sandbox, podIP, connected }, madeVolumes, hostResolvConf, hostHosts] = await Promise.all(parts).catch(
    async (error: unknown) => {
      // What is under way comes to its end first: a clean-up may follow at once and must not miss what came later.
      await Promise.allSettled([
        ...parts,
        interfaceMade.then((made) => made.connected),
        volumesMade.then((made) => made.written),
      ])
      throw error
    },
  )
  const files = etcFiles(pod, {
    podIP,
    clusterDomain: agent.clusterDomain(),
    hostResolvConf,
    hostHosts,
    dns: agent.drivers.dns,
  })
  const ready = allDone([connected, madeVolumes.written])
  const etcPaths = await volumes.ensureEtcFiles(podUid, files).catch(async (error: unknown) => {
    await ready.catch(() => undefined)
    throw error
  })
  return {
    sandbox,
    ...(handler === undefined ? {} : { handler }),
    connected: ready,
    podIP: sandbox.netNamespacePath !== undefined && isCutOff(pod) ? '' : podIP,
    ...madeVolumes,
    etcFiles: etcPaths,
  }
}
