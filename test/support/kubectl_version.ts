/** Which kubectl this machine has: some of what is tested needs 1.30, which speaks WebSockets and validates by OpenAPI v3. */
import { execFileSync } from 'node:child_process'

interface Version {
  clientVersion: { minor: string }
}

function minorVersion(): number {
  const text = execFileSync('kubectl', ['version', '--client', '-o', 'json'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return Number.parseInt((JSON.parse(text) as Version).clientVersion.minor, 10)
}

/** True when kubectl is older than 1.30: tests of what it cannot do are skipped by name. */
export const KUBECTL_IS_OLD = minorVersion() < 30
