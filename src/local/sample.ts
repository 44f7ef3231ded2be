/** `drover up --sample`: the image is built and put on the nodes, the manifest applied, and the service tried. */
import { get } from 'node:http'
import { type Deployment, deploymentKind } from '../api/deployment.ts'
import type { Service } from '../api/service.ts'
import { serviceKind } from '../api/service.ts'
import { sleep } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { applyObject } from '../cli/apply.ts'
import { CliContext } from '../cli/context.ts'
import { IMAGES_PATH } from '../cli/image_transfer.ts'
import { readManifests } from '../cli/manifests.ts'
import { jsonLines, resourcePath } from '../cli/rest_client.ts'
import { rolloutState } from '../cli/rollout_status.ts'
import { waitFor } from '../cli/wait.ts'
import type { ClusterRecord } from './cluster.ts'
import type { HostsState } from './hosts_network.ts'
import { SAMPLE_IMAGE, sampleRootfs } from './sample_image.ts'
import type { LocalTools } from './up.ts'

const TIMEOUT_MS = 60_000
const TRY_MS = 50

/** Returns the URL that answers. */
export async function startSample(
  record: ClusterRecord,
  network: HostsState,
  tools: LocalTools,
  manifestPath: string,
): Promise<string> {
  const context = new CliContext(tools.io, { cluster: record.name, namespace: 'default' })
  try {
    await tools.progress.step(`image ${SAMPLE_IMAGE}, built from busybox`, () => loadImage(context, record))
    await tools.progress.step('deployment and service "hello"', async (update) => {
      await applyManifest(context, manifestPath)
      await waitForRollout(context, update)
    })
    const service = await context.client.call<Service>('GET', resourcePath(serviceKind, 'default', 'hello'))
    const url = `http://${network.hosts[0]?.address}:${service.spec.ports?.[0]?.nodePort}/`
    await tools.progress.step(url, async (update) => update(await firstAnswer(url, tools)))
    return url
  } finally {
    context.close()
  }
}

async function loadImage(context: CliContext, record: ClusterRecord): Promise<void> {
  const present = await context.client.call<{ items: { node: string; images: { names: string[] }[] }[] }>(
    'GET',
    IMAGES_PATH,
  )
  const lacking = record.hosts
    .map((host) => host.name)
    .filter(
      (name) =>
        !present.items.some(
          ({ node, images }) => node === name && images.some(({ names }) => names.includes(SAMPLE_IMAGE)),
        ),
    )
  if (lacking.length === 0) return
  const response = await context.client.open('POST', IMAGES_PATH, {
    query: { verb: 'import', reference: SAMPLE_IMAGE, node: lacking.join(',') },
    body: await sampleRootfs(),
    contentType: 'application/x-tar',
    timeoutMs: 0,
  })
  for await (const line of jsonLines<{ node: string; ok?: boolean; error?: string }>(response)) {
    if (line.ok === false) throw new DroverError('internal', `${line.node}: ${line.error}`)
  }
}

async function applyManifest(context: CliContext, path: string): Promise<void> {
  for (const manifest of await readManifests([path], false, context.io.stdin)) {
    await applyObject(context, manifest, { fieldManager: 'drover-apply', fieldValidation: 'Strict' })
  }
}

async function waitForRollout(context: CliContext, update: (detail: string) => void): Promise<void> {
  const request = {
    kind: deploymentKind,
    namespace: 'default',
    name: 'hello',
    what: 'deployment "hello" (see: drover describe deploy hello; drover events)',
    timeoutMs: TIMEOUT_MS,
  }
  await waitFor<Deployment>(context, request, (deployment) => {
    if (deployment === undefined) throw new DroverError('notFound', 'deployment "hello" was deleted')
    update(`${deployment.status?.availableReplicas ?? 0}/${deployment.spec.replicas} available`)
    const state = rolloutState(deployment)
    if (state.failed) throw new DroverError('internal', state.message)
    return state.done
  })
}

function fetchText(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url, { timeout: 2000 }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8').trim()))
      response.on('error', reject)
    })
    request.on('timeout', () => request.destroy(new Error('timed out')))
    request.on('error', reject)
  })
}

async function firstAnswer(url: string, { io }: LocalTools): Promise<string> {
  const deadline = io.clock.monotonicMs() + TIMEOUT_MS
  for (;;) {
    try {
      return await fetchText(url)
    } catch (error) {
      if (io.clock.monotonicMs() > deadline) {
        throw new DroverError('timeout', `${url} does not answer: ${(error as Error).message}`, { cause: error })
      }
      await sleep(io.clock, TRY_MS, io.signal)
    }
  }
}
