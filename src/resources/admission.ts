/**
 * What admission does beyond rules: it takes scarce things (addresses, ports) before an object is written, gives them
 * back when the write did not happen, and releases them when the object lets go.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import type { WriteOptions } from './resources.ts'

/** What was taken for a write that has not happened yet. */
export interface Admitted {
  /** The write did not happen: give back what was taken for it. */
  undo(): Promise<void>
}

export interface Admission {
  /** May change `object`, a private copy. Throws `invalid` when what it asks for is taken. */
  admit(
    kind: KindDefinition,
    object: KubeObject,
    base: Stored<KubeObject> | undefined,
    options: WriteOptions,
  ): Promise<Admitted | undefined>
  /** After a write: releases what `before` held and `after` (undefined: deleted) no longer does. */
  release(kind: KindDefinition, before: Stored<KubeObject>, after: Stored<KubeObject> | undefined): Promise<void>
}
