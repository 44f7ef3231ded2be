/** What looks at an object at the door, before anything scarce is taken for it. */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import type { Admission } from './admission.ts'
import type { WriteOptions } from './resources.ts'

/** May change `object`, a private copy; `base` is what stands there. Throws `forbidden` for what may not come in. */
export type Check = (
  kind: KindDefinition,
  object: KubeObject,
  base: Stored<KubeObject> | undefined,
  options: WriteOptions,
) => void

/** The door with these in front, in this order. */
export function withChecks(admission: Admission, checks: readonly Check[]): Admission {
  return {
    async admit(kind, object, base, options) {
      for (const check of checks) check(kind, object, base, options)
      return admission.admit(kind, object, base, options)
    },
    release: (kind, before, after) => admission.release(kind, before, after),
  }
}
