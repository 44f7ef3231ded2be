/** Who runs a pod: its runtime class names a handler, and this node has it or says why not. */
import type { Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import type { AgentContext } from '../context.ts'

/** Undefined: the node's main runtime. Throws `unsupported`, in words that say what is missing. */
export async function handlerOf(
  { desired, drivers }: Pick<AgentContext, 'desired' | 'drivers'>,
  { spec }: Pod,
): Promise<string | undefined> {
  const { runtimeClassName } = spec
  if (runtimeClassName === undefined) return undefined
  const handler = desired.runtimeClass(runtimeClassName)?.handler
  if (handler === undefined) throw new DroverError('unsupported', `RuntimeClass "${runtimeClassName}" not found`)
  const found = (await drivers.runtime.handlers()).find(({ name }) => name === handler)
  if (found !== undefined && found.problem === undefined) return handler
  const why = found?.problem ?? 'it was given no such handler (drover agent --runtime-handler)'
  throw new DroverError(
    'unsupported',
    `RuntimeClass "${runtimeClassName}" wants the handler "${handler}", which this node cannot use: ${why}`,
  )
}
