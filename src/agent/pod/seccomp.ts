/** The seccomp profile that a container asks for: the runtime's own, none, or a file of the node's. */
import { join } from 'node:path'
import type { Container, Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { AgentContext } from '../context.ts'
import type { SeccompRequest } from '../runtime/runtime.ts'

/** Undefined: the runtime's own. Throws `notFound` or `invalid` for a file that is missing or no profile. */
export async function seccompOf(
  { files, seccompDir }: Pick<AgentContext, 'files' | 'seccompDir'>,
  pod: Pod,
  container: Container,
): Promise<SeccompRequest | undefined> {
  const profile = container.securityContext?.seccompProfile ?? pod.spec.securityContext?.seccompProfile
  if (profile === undefined || profile.type === 'RuntimeDefault') return undefined
  if (profile.type === 'Unconfined') return 'unconfined'
  const name = profile.localhostProfile ?? ''
  const path = join(seccompDir, name)
  const text = await files.read(path)
  if (text === '') throw new DroverError('notFound', `seccomp profile "${name}" is not on this node (${path})`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new DroverError('invalid', `seccomp profile "${name}" is no JSON`, { cause: error })
  }
  if (!isObject(value) || typeof value.defaultAction !== 'string' || !Array.isArray(value.syscalls ?? [])) {
    throw new DroverError('invalid', `seccomp profile "${name}" is none in the form of the OCI runtime specification`)
  }
  return value
}
