/** Makes what a pod's containers share: sandbox, interface, volumes and files. Idempotent: an agent that comes back does it again. */
import { ANNOTATION } from '../../api/names.ts'
import type { Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import { settleAll } from '../../base/settle.ts'
import type { AgentContext } from '../context.ts'
import type { Sandbox } from '../runtime/runtime.ts'
import { startEarly } from './early.ts'
import { etcFiles, kernelHostname } from './etc_files.ts'
import type { Prepared } from './notes.ts'
import { podResources } from './pod_resources.ts'
import { ensureVolumes } from './pod_volumes.ts'

/** How a pod without a network finds itself in its own hosts file; it has no address to report. */
const LOOPBACK = '127.0.0.1'

/** Whether the pod has asked for no network; throws for a mode that there is not. */
function isCutOff({ metadata }: Pod): boolean {
  const mode = metadata.annotations?.[ANNOTATION.network]
  if (mode === undefined || mode === 'overlay' || mode === 'none') return mode === 'none'
  throw new DroverError('invalid', `annotation ${ANNOTATION.network} is "${mode}"; it takes overlay or none`)
}

/** Whoever awaits it may come late. */
function allDone(parts: readonly Promise<unknown>[]): Promise<unknown> {
  const done = settleAll(parts)
  done.catch(() => undefined)
  return done
}

/** What a pod is reached by: its address, known at once, and its interface, made once there is a namespace for it. */
function connect(agent: AgentContext, pod: Pod, sandboxMade: Promise<Sandbox>) {
  const { network } = agent.drivers
  const namespace = sandboxMade.then(({ podUid, netNamespacePath }) => {
    if (netNamespacePath === undefined) throw new DroverError('internal', `pod ${podUid} has no network namespace`)
    return netNamespacePath
  })
  // Whoever needs it meets the failure; a pod that shares the host's network has none.
  namespace.catch(() => undefined)
  if (pod.spec.hostNetwork === true) return { known: Promise.resolve(agent.nodeAddress), done: sandboxMade }
  if (isCutOff(pod)) {
    return { known: Promise.resolve(LOOPBACK), done: namespace.then((path) => network.ensureLoopback(path)) }
  }
  return startEarly<string>(async (tell) => {
    const { address } = await network.ensurePod(pod.metadata.uid ?? '', namespace, tell)
    return address
  })
}

async function makeEtcFiles(
  agent: AgentContext,
  pod: Pod,
  podIP: Promise<string>,
  tell: (paths: ReadonlyMap<string, string>) => void,
) {
  const { files: host } = agent
  const [hostResolvConf, hostHosts] = await Promise.all([host.read('/etc/resolv.conf'), host.read('/etc/hosts')])
  const files = etcFiles(pod, {
    podIP: await podIP,
    clusterDomain: agent.clusterDomain(),
    hostResolvConf,
    hostHosts,
    dns: agent.drivers.dns,
  })
  return agent.drivers.volumes.ensureEtcFiles(pod.metadata.uid ?? '', files, tell)
}

/** Everything side by side. Nothing is waited for of which it is known what it will be: sandbox, interface, files. */
export async function prepare(agent: AgentContext, pod: Pod, handler: string | undefined): Promise<Prepared> {
  const cutOff = pod.spec.hostNetwork !== true && isCutOff(pod)
  const request = {
    podUid: pod.metadata.uid ?? '',
    namespace: pod.metadata.namespace ?? '',
    podName: pod.metadata.name ?? '',
    hostname: kernelHostname(pod, agent.clusterDomain()),
    hostNetwork: pod.spec.hostNetwork === true,
    ...(pod.spec.shareProcessNamespace === true ? { shareProcesses: true } : {}),
    ...(pod.spec.hostUsers === false ? { ownUsers: true } : {}),
    resources: podResources(pod),
  }
  const ofSandbox = startEarly<Sandbox>((tell) => agent.drivers.runtime.ensureSandbox(request, tell))
  const { known, done } = connect(agent, pod, ofSandbox.done)
  const volumesMade = ensureVolumes(agent, pod)
  const files = startEarly<ReadonlyMap<string, string>>((tell) => makeEtcFiles(agent, pod, known, tell))
  const needed = [ofSandbox.done, files.done]
  const connected = allDone([...needed, done, volumesMade.then(({ written }) => written)])
  // Whoever waits for these alone hears of a failure after those who wait for all.
  const prerequisites = Promise.all(needed).catch((error: unknown) => connected.finally(() => Promise.reject(error)))
  prerequisites.catch(() => undefined)
  const parts = [ofSandbox.known, known, volumesMade, files.known] as const
  const [sandbox, podIP, madeVolumes, etcPaths] = await Promise.all(parts).catch(async (error: unknown) => {
    // What is under way comes to its end first: a clean-up may follow at once and must not miss what came later.
    await Promise.allSettled([...parts, connected])
    throw error
  })
  return {
    sandbox,
    prerequisites,
    ...(handler === undefined ? {} : { handler }),
    connected,
    podIP: cutOff ? '' : podIP,
    ...madeVolumes,
    etcFiles: etcPaths,
  }
}
