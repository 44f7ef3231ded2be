/**
 * Exit codes that scripts can trust: 0 done; 1 failed; 2 wrong usage or invalid input; 3 no such object; 4 the cluster
 * cannot be reached or refuses the credentials; 5 out of time; 6 `node fsck` found damage and mended it; 130 interrupted.
 * `exec` passes the program's own.
 */
import type { ErrorCode } from '../base/errors.ts'

/** Thrown to end with a code without a message. */
export class ExitCode extends Error {
  readonly code: number

  constructor(code: number) {
    super(`exit ${code}`)
    this.code = code
  }
}

const EXIT: Partial<Record<ErrorCode, number>> = {
  invalid: 2,
  notFound: 3,
  unavailable: 4,
  unauthorized: 4,
  timeout: 5,
  cancelled: 130,
}

export function exitCodeFor(code: ErrorCode): number {
  return EXIT[code] ?? 1
}
