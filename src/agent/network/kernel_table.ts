/**
 * One nft table of ours in the kernel: brought from what it holds to what is desired. What was written last is believed until
 * somebody looks or the kernel refuses a change that it should have taken.
 */
import type { KernelCall } from '../../base/kernel_calls.ts'
import type { Logger } from '../../base/log.ts'
import { failure, type Programs } from './programs.ts'
import { parseTable, planTable, type Skeleton, type TableState } from './table.ts'

export interface KernelTable {
  /** What the kernel holds as far as we know; undefined when it must be read first. */
  readonly state: TableState | undefined
  /** True when anything was written. `look`: read the table first. `plan` is given what was found, if that is a table of ours. */
  bring(
    skeleton: Skeleton,
    options: { look: boolean; plan: (observed: TableState | undefined) => TableState },
  ): Promise<boolean>
  /** The transaction that a look would bring about; empty when there is nothing to mend. */
  missing(skeleton: Skeleton, plan: (observed: TableState | undefined) => TableState): Promise<string>
  forget(): void
}

export interface KernelTableOptions {
  programs: Programs
  log: Logger
  /** The transaction as a message, where it can be one. */
  asMessage?(observed: TableState, desired: TableState): KernelCall | undefined
}

export function createKernelTable({ programs, log, asMessage }: KernelTableOptions): KernelTable {
  let state: TableState | undefined

  const read = async (skeleton: Skeleton): Promise<TableState | undefined> => {
    const result = await programs.run('nft', ['-j', 'list', 'table', ...skeleton.table.split(' ')])
    if (result.exitCode === 0) return parseTable(JSON.parse(result.stdout), skeleton)
    if (/no such file/i.test(result.stderr)) return undefined
    throw failure('nft list table', result)
  }

  return {
    get state() {
      return state
    },
    async bring(skeleton, { look, plan }) {
      const trusted = !look && state !== undefined
      const observed = trusted ? state : await read(skeleton)
      const desired = plan(observed)
      const message = observed === undefined ? undefined : asMessage?.(observed, desired)
      const script = message === undefined ? planTable(observed, desired, skeleton) : ''
      try {
        if (message !== undefined) await programs.transact(message)
        else if (script !== '') await programs.nft(script)
      } catch (error) {
        state = undefined
        if (!trusted) throw error
        // Somebody changed the table since: compare with the kernel and do what is left.
        log.warn({ err: error }, 'rules were not as left; reading them again')
        const again = planTable(await read(skeleton), desired, skeleton)
        if (again !== '') await programs.nft(again)
      }
      state = desired
      return message !== undefined || script !== ''
    },
    async missing(skeleton, plan) {
      const observed = await read(skeleton)
      return planTable(observed, plan(observed), skeleton)
    },
    forget() {
      state = undefined
    },
  }
}
