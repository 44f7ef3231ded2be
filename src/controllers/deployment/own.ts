/**
 * What a pass writes to the deployment itself: its status, and the number of its revision, in one write where both are due.
 * Nobody waits for the number; a write of its own would keep the deployment busy just when its pods become ready.
 */
import { type Deployment, deploymentKind } from '../../api/deployment.ts'
import type { Stored } from '../../api/meta.ts'
import { isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import { withCollisions, writeStatus } from '../common/collisions.ts'
import type { ControllerContext } from '../common/context.ts'
import { changeObject } from '../common/writes.ts'
import type { DeploymentStatus } from './status.ts'

export interface Own {
  status: DeploymentStatus
  annotations: Readonly<Record<string, string>>
  /** It may wait for company. */
  patient: boolean
}

export async function writeOwn(
  context: ControllerContext,
  deployment: Stored<Deployment>,
  { status, annotations, patient }: Own,
): Promise<void> {
  const writeStatusAlone = () => writeStatus(context, deploymentKind, deployment, status, patient)
  const { annotations: present } = deployment.metadata
  if (Object.entries(annotations).every(([key, value]) => present?.[key] === value)) return writeStatusAlone()
  const noted = (current: Deployment): Deployment['metadata'] => ({
    ...current.metadata,
    annotations: { ...current.metadata.annotations, ...annotations },
  })
  const isDue = !jsonEqual(status, deployment.status)
  try {
    await changeObject(context, deploymentKind, deployment, {
      part: isDue ? 'all' : 'main',
      patient,
      change: (current) => ({
        ...current,
        metadata: noted(current),
        ...(isDue && { status: withCollisions(status, current) }),
      }),
    })
  } catch (error) {
    // A deployment that a newer rule dislikes still gets its status, which is judged alone.
    if (isCode(error, 'invalid')) await writeStatusAlone()
    throw error
  }
}
