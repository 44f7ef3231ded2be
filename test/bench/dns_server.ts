/** A node's name server alone in a process, for the benchmark: `dns_server.js PORT SERVICES`. */
import { createDnsDriver } from '../../src/agent/dns/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { systemRandom } from '../../src/base/random.ts'
import { benchConfig, benchRow } from './dns_names.ts'

const [port, count] = process.argv.slice(2).map(Number)
const driver = createDnsDriver({
  clock: systemClock,
  random: systemRandom,
  log: silentLogger,
  registry: new Registry(),
  listenAddress: '127.0.0.1',
  plainListenAddress: '127.0.0.2',
  port: port ?? 0,
  upstreams: [],
})
driver.applyServices(
  Array.from({ length: count ?? 0 }, (_, index) => benchRow(index)),
  benchConfig,
)
await driver.initialize()
