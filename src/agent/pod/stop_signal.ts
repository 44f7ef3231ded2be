/** The signal that an image or a container names, as the runtime driver takes it. Pure. */
import { constants } from 'node:os'

const REAL_TIME = /^SIGRT(MIN(\+\d{1,2})?|MAX(-\d{1,2})?)$/
const FIRST_REAL_TIME = 34

/** `SIGTERM`, `TERM`, `15` and `SIGRTMIN+3` are all said; what is no signal is SIGTERM. */
export function signalName(text: string): NodeJS.Signals {
  const upper = text.trim().toUpperCase()
  const name = /^\d+$/.test(upper) ? nameOf(Number(upper)) : upper.startsWith('SIG') ? upper : `SIG${upper}`
  return (name in constants.signals || REAL_TIME.test(name) ? name : 'SIGTERM') as NodeJS.Signals
}

function nameOf(number: number): string {
  const named = Object.entries(constants.signals).find(([, value]) => value === number)?.[0]
  return named ?? `SIGRTMIN+${number - FIRST_REAL_TIME}`
}
