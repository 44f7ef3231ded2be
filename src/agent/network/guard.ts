/** Keeps what pods may send in the kernel. Pods that come and go at once share a write. */
import type { Logger } from '../../base/log.ts'
import { guardTransaction } from './guard_messages.ts'
import { createKernelTable } from './kernel_table.ts'
import { GUARD_SKELETON, planGuard } from './plan_guard.ts'
import { createSerial, type Programs } from './programs.ts'

export interface Guard {
  /** Resolves when the pods that there are can send under their own addresses alone. */
  ensure(): Promise<void>
  /** True when it had to write. `look`: compare with the kernel. */
  mend(look: boolean): Promise<boolean>
  /** The transaction that a look would bring about. */
  missing(): Promise<string>
  forget(): void
}

export interface GuardOptions {
  programs: Programs
  log: Logger
  /** Addresses given out, by pod. */
  held: () => Readonly<Record<string, string>>
}

export function createGuard(options: GuardOptions): Guard {
  const table = createKernelTable({ ...options, asMessage: guardTransaction })
  const serial = createSerial()
  let pending = false
  const bring = (look: boolean) => table.bring(GUARD_SKELETON, { look, plan: () => planGuard(options.held()) })
  return {
    ensure() {
      pending = true
      return serial(async () => {
        if (!pending) return
        pending = false
        await bring(false)
      })
    },
    mend: (look) => serial(() => bring(look)),
    missing: () => table.missing(GUARD_SKELETON, () => planGuard(options.held())),
    forget: table.forget,
  }
}
