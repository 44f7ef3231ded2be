const STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/** Whether an HTTP status sends on to the answer's `Location`. Source: RFC 9110 §15.4. */
export function isRedirect(status: number): boolean {
  return STATUSES.has(status)
}
