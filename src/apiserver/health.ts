/** Health and version: open to everyone, cheap, and without anything that tells about the cluster's content. */
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { boolParam } from './query.ts'

/** The level of the Kubernetes protocol that is spoken; clients judge features by it. */
const KUBERNETES = { major: '1', minor: '33', patch: '0' } as const

export function sendVersion(context: ApiContext, exchange: Exchange): void {
  const { major, minor, patch } = KUBERNETES
  exchange.sendJson(200, {
    major,
    minor,
    gitVersion: `v${major}.${minor}.${patch}+drover.${context.version}`,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: '',
    compiler: 'node',
    platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
    droverVersion: context.version,
  })
}

/** `/livez`: the process answers. `/readyz`, `/healthz`: it can serve too. `/readyz/NAME`: one check. */
export async function sendHealth(context: ApiContext, exchange: Exchange): Promise<void> {
  const [, endpoint = '', only] = exchange.path.split('/')
  if (endpoint === 'livez') {
    exchange.send(200, 'ok', 'text/plain; charset=utf-8')
    return
  }
  const all = await context.readiness()
  const checks = only === undefined || only === '' ? all : all.filter(({ name }) => name === only)
  if (only && checks.length === 0) {
    exchange.send(404, `no check is called ${only}\n`, 'text/plain; charset=utf-8')
    return
  }
  const failed = checks.filter(({ ok }) => !ok)
  if (failed.length === 0 && !boolParam(exchange.query, 'verbose')) {
    exchange.send(200, 'ok', 'text/plain; charset=utf-8')
    return
  }
  const lines = checks.map(({ name, ok, message }) =>
    ok ? `[+]${name} ok` : `[-]${name} failed: ${message ?? 'no reason given'}`,
  )
  lines.push(`${endpoint} check ${failed.length === 0 ? 'passed' : 'failed'}`, '')
  exchange.send(failed.length === 0 ? 200 : 503, lines.join('\n'), 'text/plain; charset=utf-8')
}
