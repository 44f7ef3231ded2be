import { defineConfig } from 'vitest/config'

/**
 * Layers of tests, cheapest first. `unit` is pure; `integration` uses real programs (etcd, kubectl) on loopback;
 * `node` needs root and a kernel (runc, namespaces, nftables); `e2e` runs whole clusters from the built program; `machine`
 * looks at the whole machine before and after, and so runs while nothing else does.
 */
const layer = (name: string, order: number, options: object) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], sequence: { groupOrder: order }, ...options },
})

export default defineConfig({
  test: {
    pool: 'forks',
    reporters: ['default'],
    projects: [
      layer('unit', 0, { maxWorkers: 2, testTimeout: 30_000 }),
      layer('integration', 1, { maxWorkers: 2, testTimeout: 60_000, hookTimeout: 60_000 }),
      layer('node', 2, { maxWorkers: 2, testTimeout: 60_000, hookTimeout: 60_000 }),
      layer('e2e', 3, { maxWorkers: 2, testTimeout: 180_000, hookTimeout: 180_000 }),
      layer('machine', 4, { maxWorkers: 1, testTimeout: 180_000, hookTimeout: 180_000 }),
    ],
  },
})
