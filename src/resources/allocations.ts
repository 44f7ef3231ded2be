/** Thin for now: no reservations yet. */
import type { Admission } from './admission.ts'

export function createAdmission(): Admission {
  return { admit: async () => undefined, release: async () => undefined }
}
